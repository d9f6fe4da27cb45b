//! `scribe config`: which settings hold, and where each comes from.

use clap::{Args, CommandFactory, Subcommand};
use serde::Serialize;

use super::{Cli, Failure, Session};
use crate::config::file::{Setting, Settings};

/// What to do with the settings.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  scribe config show --origin")]
pub enum ConfigCommand {
    /// Show the settings that hold without a command line
    #[command(after_help = "Examples:\n  scribe config show\n  scribe config show --origin \
                            --json\n\nSettings are read from scribe.toml in the current folder, \
                            then from config.toml in the XDG configuration folder \
                            (~/.config/scribe); an option's environment variable comes before both.")]
    Show(ShowArguments),
}

/// How to show them.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// Show where each value comes from
    #[arg(long)]
    origin: bool,
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
    let settings = Settings::read(&cli)?.list(&cli);
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(&Report { schema: "scribe.config.show/1", settings })?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = settings
        .into_iter()
        .map(|setting| {
            let command = if setting.command.is_empty() { "(all)".into() } else { setting.command };
            let value = setting.value.unwrap_or_else(|| "(decided at run time)".into());
            let mut row = vec![command, setting.key, value];
            if arguments.origin {
                row.push(setting.origin);
            }
            row
        })
        .collect();
    let header = ["COMMAND", "KEY", "VALUE", "ORIGIN"];
    terminal.table(&header[..if arguments.origin { 4 } else { 3 }], &rows)?;
    Ok(())
}
