//! `scribe config`: which settings hold, and where each comes from.

use clap::{Args, CommandFactory, Subcommand};
use serde::Serialize;

use super::{Cli, Failure, Session};
use crate::config::file::{DEFAULT_ORIGIN, Setting, Settings};

/// What to do with the settings.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  scribe config show --all")]
pub enum ConfigCommand {
    /// Show the settings that are made in files and in the environment
    #[command(after_help = "Examples:\n  scribe config show\n  scribe config show --all \
                            --json\n\nSettings are read from scribe.toml in the current folder, \
                            then from config.toml in the XDG configuration folder \
                            (~/.config/scribe); an option's environment variable comes before both.")]
    Show(ShowArguments),
}

/// How to show them.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// Show every key, also where the default holds
    #[arg(long)]
    all: bool,
}

/// `scribe config show --json`.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    settings: Vec<Setting>,
}

/// Does it.
pub(super) fn run(session: &mut Session, command: &ConfigCommand) -> Result<(), Failure> {
    let ConfigCommand::Show(arguments) = command;
    let cli = Cli::command();
    let mut settings = Settings::read(&cli)?.list(&cli);
    if !arguments.all {
        settings.retain(|setting| setting.origin != DEFAULT_ORIGIN);
    }
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(&Report { schema: "scribe.config.show/1", settings })?;
        return Ok(());
    }
    if settings.is_empty() {
        terminal.note("every setting has its default; `scribe config show --all` lists them");
        return Ok(());
    }
    let mut rows: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for Setting { command, key, value, origin } in settings {
        let command = if command.is_empty() { "(all)".into() } else { command };
        let setting = vec![key, value.unwrap_or_else(|| "(when it runs)".into()), origin];
        // What holds for several commands alike is told once.
        match rows.iter_mut().find(|(known, _)| *known == setting) {
            Some((_, commands)) => commands.push(command),
            None => rows.push((setting, vec![command])),
        }
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(mut setting, commands)| {
            setting.push(commands.join(", "));
            setting
        })
        .collect();
    terminal.table(&["KEY", "VALUE", "ORIGIN", "COMMANDS"], &rows)?;
    Ok(())
}
