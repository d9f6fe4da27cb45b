//! Settings from files: which keys there are, and where each value comes from.
//!
//! `scribe.toml` in the current folder comes before the person's own `config.toml`. A key is a long
//! option's name with `_` for `-`; at the top of the file it holds for every command that has the
//! option, in a table named after a command (`[serve]`, `[models.pull]`) for that command alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use artifacts::{shown, shown_lines};
use clap::{ArgAction, Command};
use serde::Serialize;

use crate::nearest::nearest;

/// The project's own settings, in the current folder.
const PROJECT_FILE: &str = "scribe.toml";

/// The person's own settings, in the XDG configuration folder.
const USER_FILE: &str = "config.toml";

/// The origin of a value that nobody set.
pub const DEFAULT_ORIGIN: &str = "default";

/// Values from settings files: for each command path and key, the value and its file.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    values: BTreeMap<(String, String), (String, PathBuf)>,
}

/// One option of one command: the value that holds, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The command, as in `models pull`.
    pub command: String,
    /// The key in a settings file.
    pub key: String,
    /// The value; `None` = decided when the command runs.
    pub value: Option<String>,
    /// `environment`, a file's path, or [`DEFAULT_ORIGIN`].
    pub origin: String,
}

/// A settings file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the settings in `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or holds something that is no option's value.
    #[error("`{}`: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
    /// The file names something that no command knows.
    #[error("`{}`: no option is called `{key}`", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The nearest key that exists.
        suggestion: Option<String>,
    },
}

impl Error {
    /// What the person can do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => "give this user the right to read it, or remove it".into(),
            Self::Malformed { .. } => {
                "a setting is written `key = value`; `scribe config show --all` lists the keys"
                    .into()
            }
            Self::UnknownKey { suggestion: Some(near), .. } => {
                format!("did you mean `{near}`? `scribe config show --all` lists the keys")
            }
            Self::UnknownKey { suggestion: None, .. } => {
                "`scribe config show --all` lists the keys".into()
            }
        }
    }
}

impl Settings {
    /// Reads the settings files that exist and checks every key against the options of `command`.
    ///
    /// # Errors
    ///
    /// [`Error`]: a setting that is not understood is never passed over.
    pub fn read(command: &Command) -> Result<Self, Error> {
        let user = super::user_folder("XDG_CONFIG_HOME", ".config");
        let mut settings = Self::default();
        // Later files override earlier ones.
        for path in
            user.map(|folder| folder.join(USER_FILE)).into_iter().chain([PROJECT_FILE.into()])
        {
            match artifacts::read_text(&path) {
                Ok(text) => settings.add(&text, &path, command)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Unreadable { path, source }),
            }
        }
        Ok(settings)
    }

    /// Adds the settings of one file.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::UnknownKey`].
    pub fn add(&mut self, text: &str, path: &Path, command: &Command) -> Result<(), Error> {
        let table: toml::Table = toml::from_str(text)
            .map_err(|error| shown_lines(&error.to_string()))
            .map_err(|message| Error::Malformed { path: path.into(), message })?;
        self.add_table(&table, path, command, "")
    }

    /// The command with these settings as its options' defaults.
    #[must_use]
    pub fn apply(&self, command: Command) -> Command {
        if self.values.is_empty() { command } else { self.apply_at(command, "") }
    }

    /// Every option that a file can set, with the value that holds without a command line.
    #[must_use]
    pub fn list(&self, command: &Command) -> Vec<Setting> {
        let mut list = Vec::new();
        self.list_at(command, "", &mut list);
        list
    }

    fn add_table(
        &mut self,
        table: &toml::Table,
        path: &Path,
        command: &Command,
        at: &str,
    ) -> Result<(), Error> {
        for (key, value) in table {
            let subcommand = command.get_subcommands().find(|command| command.get_name() == key);
            if let (Some(subcommand), toml::Value::Table(table)) = (subcommand, value) {
                self.add_table(table, path, subcommand, &join(at, key))?;
                continue;
            }
            let known = keys(command, at.is_empty());
            if !known.contains(key) {
                let suggestion = nearest(key, known.iter().map(String::as_str)).map(str::to_owned);
                let key = shown(key);
                return Err(Error::UnknownKey { path: path.into(), key, suggestion });
            }
            let value = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Float(number) => number.to_string(),
                toml::Value::Boolean(truth) => truth.to_string(),
                _ => {
                    let message = format!("`{key}` must be a text, a number, true or false");
                    return Err(Error::Malformed { path: path.into(), message });
                }
            };
            self.values.insert((at.to_owned(), key.clone()), (value, path.to_owned()));
        }
        Ok(())
    }

    /// The setting of `key` for the command at `at`: its own table first, then the top of the file.
    fn get(&self, at: &str, key: &str) -> Option<&(String, PathBuf)> {
        let own = self.values.get(&(at.to_owned(), key.to_owned()));
        own.or_else(|| self.values.get(&(String::new(), key.to_owned())))
    }

    fn apply_at(&self, mut command: Command, at: &str) -> Command {
        let ids: Vec<_> =
            options(&command).map(|arg| (arg.get_id().clone(), key_of(arg))).collect();
        for (id, key) in ids {
            if let Some((value, _)) = self.get(at, &key) {
                command = command.mut_arg(id, |arg| arg.default_value(value.clone()));
            }
        }
        let names: Vec<String> =
            command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        for name in names {
            let path = join(at, &name);
            command = command.mut_subcommand(name, |command| self.apply_at(command, &path));
        }
        command
    }

    fn list_at(&self, command: &Command, at: &str, list: &mut Vec<Setting>) {
        for arg in options(command) {
            let key = key_of(arg);
            let environment = arg
                .get_env()
                .and_then(std::env::var_os)
                .map(|value| (value.to_string_lossy().into_owned(), "environment".to_owned()));
            let file = || {
                let (value, path) = self.get(at, &key)?;
                Some((value.clone(), path.display().to_string()))
            };
            let (value, origin) = match environment.or_else(file) {
                Some((value, origin)) => (Some(value), origin),
                None => {
                    let default = arg.get_default_values().first();
                    (
                        default.map(|value| value.to_string_lossy().into_owned()),
                        DEFAULT_ORIGIN.into(),
                    )
                }
            };
            list.push(Setting { command: at.replace('.', " "), key, value, origin });
        }
        for subcommand in command.get_subcommands() {
            self.list_at(subcommand, &join(at, subcommand.get_name()), list);
        }
    }
}

/// The options of a command that a file can set: those with a long name that take a value or can be
/// set from the environment.
fn options(command: &Command) -> impl Iterator<Item = &clap::Arg> {
    command.get_arguments().filter(|arg| {
        let takes = matches!(arg.get_action(), ArgAction::Set);
        arg.get_long().is_some() && (takes || arg.get_env().is_some())
    })
}

/// The keys that are known for a command, and at the top of a file for all commands.
fn keys(command: &Command, with_subcommands: bool) -> Vec<String> {
    let mut keys: Vec<String> = options(command).map(key_of).collect();
    if with_subcommands {
        for subcommand in command.get_subcommands() {
            keys.extend(self::keys(subcommand, true));
        }
    }
    keys
}

fn key_of(arg: &clap::Arg) -> String {
    arg.get_long().unwrap_or_default().replace('-', "_")
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;

    fn command() -> Command {
        let port = || Arg::new("port").long("port-number").default_value("8080");
        Command::new("scribe")
            .arg(Arg::new("data").long("data"))
            .subcommand(Command::new("serve").arg(port()))
            .subcommand(Command::new("chat").arg(port()))
    }

    fn settings(texts: &[&str]) -> Result<Settings, Error> {
        let mut settings = Settings::default();
        for (index, text) in texts.iter().enumerate() {
            settings.add(text, Path::new(&format!("{index}.toml")), &command())?;
        }
        Ok(settings)
    }

    #[test]
    fn a_command_s_own_table_comes_before_the_top_and_later_files_before_earlier_ones() {
        let settings =
            settings(&["port_number = 1\ndata = \"a\"\n[serve]\nport_number = 2", "data = \"b\""])
                .unwrap();
        let matches = settings.apply(command()).get_matches_from(["scribe", "serve"]);
        assert_eq!(matches.get_one::<String>("data").unwrap(), "b");
        let (_, serve) = matches.subcommand().unwrap();
        assert_eq!(serve.get_one::<String>("port").unwrap(), "2");
        let matches = settings.apply(command()).get_matches_from(["scribe", "chat"]);
        assert_eq!(matches.subcommand().unwrap().1.get_one::<String>("port").unwrap(), "1");
        let listed = settings.list(&command());
        let origins: Vec<_> = listed
            .iter()
            .map(|setting| {
                (setting.command.as_str(), setting.key.as_str(), setting.origin.as_str())
            })
            .collect();
        assert_eq!(
            origins,
            [
                ("", "data", "1.toml"),
                ("serve", "port_number", "0.toml"),
                ("chat", "port_number", "0.toml")
            ]
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let unknown = settings(&["port_numbre = 1"]).unwrap_err();
        assert_eq!(unknown.to_string(), "`0.toml`: no option is called `port_numbre`");
        assert!(unknown.hint().starts_with("did you mean `port_number`?"), "{}", unknown.hint());
        let list = settings(&["data = [1]"]).unwrap_err();
        assert_eq!(list.to_string(), "`0.toml`: `data` must be a text, a number, true or false");
        assert!(matches!(settings(&["data ="]), Err(Error::Malformed { .. })));
        assert!(matches!(settings(&["[servo]\nx = 1"]), Err(Error::UnknownKey { .. })));
    }
}
