//! `scribe completions`: completion scripts for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure, Session};

/// Which shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scribe completions bash > \
                        ~/.local/share/bash-completion/completions/scribe\n  scribe completions \
                        zsh > ~/.zfunc/_scribe")]
pub struct CompletionsOptions {
    /// The shell to write the script for
    shell: Shell,
}

/// Prints the script.
pub(super) fn run(session: &mut Session, options: &CompletionsOptions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "scribe", &mut script);
    session.terminal.piece(&String::from_utf8_lossy(&script))?;
    Ok(())
}
