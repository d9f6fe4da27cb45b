//! The command line: what can be typed, and which library does the work.

mod completions;
mod doctor;
mod failure;
mod models;
mod progress;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ColorChoice as ClapColor, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::GlobalOptions;
use crate::fetch::{Catalogue, Library};
use crate::terminal::Terminal;

pub use failure::{Exit, Failure};

/// Where `scribe serve` listens when nothing else is asked for.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// A ChatGPT of your own, in one program.
#[derive(Debug, Parser)]
#[command(
    name = "scribe",
    version,
    about,
    long_about = "A ChatGPT of your own, in one program.\n\nWithout a command, `scribe` serves the \
                  default model: it fetches the model if it is not here yet, and prints the address \
                  of the page.",
    after_help = "Examples:\n  scribe                     Chat in the browser at \
                  http://127.0.0.1:8080\n  scribe chat                Chat in this terminal\n  \
                  scribe models list         See which models there are",
    disable_help_subcommand = true,
    infer_subcommands = false,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Options that every command takes.
    #[command(flatten)]
    pub global: GlobalOptions,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// List, fetch, inspect and remove models
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Check this machine, and say what to do about each finding
    Doctor(doctor::DoctorOptions),
    /// Print a completion script for a shell
    Completions(completions::CompletionsOptions),
}

/// What every command is given besides its own options.
#[derive(Debug)]
pub struct Session {
    /// Where results and talk go.
    pub terminal: Terminal,
    /// Options that every command takes.
    pub global: GlobalOptions,
}

impl Session {
    /// The models folder with the catalogue in use.
    ///
    /// # Errors
    ///
    /// Fails without a data folder, or if `--catalogue` names no usable catalogue.
    pub fn library(&self) -> Result<Library, Failure> {
        let catalogue = match &self.global.catalogue {
            Some(path) => Catalogue::open(path)?,
            None => Catalogue::embedded()?,
        };
        Ok(Library::new(&self.global.data_folder()?, catalogue))
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os().collect()))
}

/// Runs one command line and returns the exit code.
fn run(arguments: Vec<OsString>) -> u8 {
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(error) => return tell_usage(&error),
    };
    let terminal = Terminal::of_process(cli.global.terminal());
    let mut session = Session { terminal, global: cli.global };
    let Some(command) = cli.command else { return Exit::Usage.code() };
    let result = match command {
        Command::Models(command) => models::run(&mut session, command),
        Command::Doctor(options) => doctor::run(&mut session, &options),
        Command::Completions(options) => completions::run(&mut session, &options),
    };
    match result {
        Ok(()) => 0,
        Err(failure) => {
            if let Some(error) = &failure.error {
                session.terminal.error(error, failure.hint.as_deref());
            }
            failure.exit.code()
        }
    }
}

/// Parses the command line.
fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let command = Cli::command().color(early_color(&arguments));
    Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// The color of help and usage errors, which are shown before the options are known.
fn early_color(arguments: &[OsString]) -> ClapColor {
    let mut words = arguments.iter().filter_map(|word| word.to_str());
    let mut choice = std::env::var("SCRIBE_COLOR").unwrap_or_default();
    while let Some(word) = words.next() {
        match word.strip_prefix("--color") {
            Some("") => choice = words.next().unwrap_or_default().to_owned(),
            Some(value) => choice = value.trim_start_matches('=').to_owned(),
            None => {}
        }
    }
    match choice.as_str() {
        "always" => ClapColor::Always,
        "never" => ClapColor::Never,
        _ => ClapColor::Auto,
    }
}

/// Shows help, version, or what is wrong with a command line.
fn tell_usage(error: &clap::Error) -> u8 {
    match error.kind() {
        // A closed pipe while showing help is nothing to report.
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            0
        }
        _ => {
            let _ = error.print();
            Exit::Usage.code()
        }
    }
}
