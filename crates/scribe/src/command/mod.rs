//! The command line: what can be typed, and which library does the work.

mod bench;
mod chat;
mod compare;
mod completions;
mod config;
mod corpus;
mod doctor;
mod eval;
mod export;
mod failure;
mod input;
mod interrupt;
mod locate;
mod log;
mod models;
mod people;
mod plan;
mod ppo;
mod pretrain;
mod progress;
mod reward;
mod rounds;
mod serve;
mod sft;
mod stage;
mod story;
mod tokenizer;
mod verify;
mod watch;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{
    ArgAction, ColorChoice as ClapColor, CommandFactory, FromArgMatches, Parser, Subcommand,
};

use crate::config::GlobalOptions;
use crate::config::file::Settings;
use crate::fetch::{Catalogue, Library};
use crate::terminal::{Terminal, TerminalOptions};

pub use failure::{Exit, Failure};

/// What people type who come from Ollama, and what it is here.
const HABITS: [(&str, &str); 7] = [
    ("pull", "scribe models pull"),
    ("list", "scribe models list"),
    ("ls", "scribe models list"),
    ("show", "scribe models show"),
    ("rm", "scribe models remove"),
    ("remove", "scribe models remove"),
    ("run", "scribe chat --model NAME"),
];

/// Where `scribe serve` listens when nothing else is asked for.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// A ChatGPT of your own, in one program.
#[derive(Debug, Parser)]
#[command(
    name = "scribe",
    version,
    about = "A ChatGPT of your own, in one program.",
    long_about = "A ChatGPT of your own, in one program.\n\nWithout a command, `scribe` serves the \
                  default model: it fetches the model if it is not here yet, and prints the \
                  address of the page. It takes all options of `scribe serve` then.",
    after_help = "Examples:\n  scribe                     Chat in the browser at \
                  http://127.0.0.1:8080\n  scribe chat                Chat in this terminal\n  \
                  scribe models list         See which models there are",
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
    /// Serve the page and the API (the default)
    Serve(serve::ServeOptions),
    /// Chat in this terminal
    Chat(chat::ChatOptions),
    /// List, fetch, inspect, convert and remove models
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Train a tokenizer, and see how text becomes tokens
    #[command(subcommand)]
    Tokenizer(tokenizer::TokenizerCommand),
    /// Turn files of text into a corpus that a model learns from
    #[command(subcommand)]
    Corpus(corpus::CorpusCommand),
    /// Train a model on text, from the first word to samples of its writing
    Pretrain(pretrain::PretrainOptions),
    /// Teach a model to answer, by conversations
    Sft(sft::SftOptions),
    /// Gather what people prefer: import, rank, show, export, delete
    #[command(subcommand)]
    Compare(compare::CompareCommand),
    /// Train a reward model on what people preferred
    Reward(reward::RewardOptions),
    /// Let the model learn from its reward model, by PPO
    Ppo(ppo::PpoOptions),
    /// Rank, reward model, PPO, gate: again and again
    Rounds(rounds::RoundsOptions),
    /// From raw text to a model that answers, in one command, with a report card
    Story(story::StoryOptions),
    /// Watch a run of training as it goes
    Watch(watch::WatchOptions),
    /// Make a stage of a run again and compare its bytes; tell its lineage
    Verify(verify::VerifyOptions),
    /// Measure how good a model is
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Measure how fast a model reads, writes and is served
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Print what a model will take: memory to run it, time and money to train it
    Plan(plan::PlanOptions),
    /// Check this machine, and say what to do about each finding
    Doctor(doctor::DoctorOptions),
    /// Show the settings that hold, and where they come from
    #[command(subcommand)]
    Config(config::ConfigCommand),
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
    ExitCode::from(run(&std::env::args_os().collect::<Vec<_>>()))
}

/// Runs one command line and returns the exit code.
fn run(arguments: &[OsString]) -> u8 {
    let settings = match Settings::read(&Cli::command()) {
        Ok(settings) => settings,
        Err(error) => {
            let mut terminal = Terminal::of_process(TerminalOptions::default());
            let hint = error.hint();
            terminal.error(&error.into(), Some(&hint));
            return Exit::Usage.code();
        }
    };
    let cli = match parse(arguments, &settings) {
        Ok(cli) => cli,
        Err(error) => return tell_usage(&error, early_color(arguments)),
    };
    let terminal = Terminal::of_process(cli.global.terminal());
    log::begin(terminal.verbosity());
    let mut session = Session { terminal, global: cli.global };
    let Some(command) = cli.command else { return Exit::Usage.code() };
    let result = match command {
        Command::Serve(options) => serve::run(&mut session, &options),
        Command::Chat(options) => chat::run(&mut session, &options),
        Command::Models(command) => models::run(&mut session, command),
        Command::Tokenizer(command) => tokenizer::run(&mut session, command),
        Command::Corpus(command) => corpus::run(&mut session, command),
        Command::Pretrain(options) => pretrain::run(&mut session, &options),
        Command::Sft(options) => sft::run(&mut session, &options),
        Command::Compare(command) => compare::run(&mut session, command),
        Command::Reward(options) => reward::run(&mut session, &options),
        Command::Ppo(options) => ppo::run(&mut session, &options),
        Command::Rounds(options) => rounds::run(&mut session, &options),
        Command::Story(options) => story::run(&mut session, &options),
        Command::Watch(options) => watch::run(&mut session, &options),
        Command::Verify(options) => verify::run(&mut session, &options),
        Command::Eval(command) => eval::run(&mut session, &command),
        Command::Bench(command) => bench::run(&mut session, command),
        Command::Plan(options) => plan::run(&mut session, &options),
        Command::Doctor(options) => doctor::run(&mut session, &options),
        Command::Config(command) => config::run(&mut session, &command),
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

/// Parses the command line; without a command, it is one for `serve`.
fn parse(arguments: &[OsString], settings: &Settings) -> Result<Cli, clap::Error> {
    let command = settings.apply(Cli::command().color(early_color(arguments)));
    let command = with_negative_numbers(command);
    match command.clone().try_get_matches_from(arguments) {
        Ok(matches) => {
            let cli = Cli::from_arg_matches(&matches)?;
            if cli.command.is_some() {
                return Ok(cli);
            }
        }
        Err(error) if is_option_of_serve(&error, arguments, &command) => {}
        Err(error) => return Err(with_habit(error, arguments, &command)),
    }
    let mut arguments = arguments.to_vec();
    arguments.insert(arguments.len().min(1), "serve".into());
    Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// The command with options that take `-1` as their value: that it is out of range is told by
/// whoever knows the range.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let takes = matches!(arg.get_action(), ArgAction::Set) && arg.get_long().is_some();
        arg.allow_negative_numbers(takes)
    });
    command.mut_subcommands(with_negative_numbers)
}

/// The error with the command that was meant, where a habit from elsewhere was typed in a command's
/// place. After a command, its own words are the better advice.
fn with_habit(
    mut error: clap::Error,
    arguments: &[OsString],
    command: &clap::Command,
) -> clap::Error {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let habit = HABITS.iter().find(|(habit, _)| habit == typed);
    if let Some((_, meant)) = habit.filter(|_| is_before_any_command(typed, arguments, command)) {
        let hint = format!("that is `{meant}` here").into();
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint]));
    }
    error
}

/// Whether an option is unknown that stands before every command: it may be one of `serve`.
fn is_option_of_serve(
    error: &clap::Error,
    arguments: &[OsString],
    command: &clap::Command,
) -> bool {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(unknown))) => {
            is_before_any_command(unknown, arguments, command)
        }
        _ => false,
    }
}

/// Whether no command stands before the word that begins so.
fn is_before_any_command(begin: &str, arguments: &[OsString], command: &clap::Command) -> bool {
    let words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    let mut before = words.take_while(|word| !word.starts_with(begin));
    !before.any(|word| command.find_subcommand(word.as_ref()).is_some())
}

/// An address as people write it: numeric, or `localhost`.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numeric.as_deref().unwrap_or(text).parse().map_err(|_| {
        "write it as ADDRESS:PORT with a numeric address, such as 127.0.0.1:8080".to_owned()
    })
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

/// Shows help, version, or what is wrong with a command line, in the words of all other errors.
fn tell_usage(error: &clap::Error, color: ClapColor) -> u8 {
    let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let text = error.render();
    let paint = |terminal: bool| match color {
        ClapColor::Always => true,
        ClapColor::Never => false,
        ClapColor::Auto => Terminal::wants_color(terminal),
    };
    let render = |terminal| {
        let text = if paint(terminal) { text.ansi().to_string() } else { text.to_string() };
        text.replace("tip:", "hint:")
    };
    // Nobody is left to be told that the pipe is closed.
    let _ = if help {
        let mut out = io::stdout();
        out.write_all(render(out.is_terminal()).as_bytes())
    } else {
        let mut err = io::stderr();
        err.write_all(render(err.is_terminal()).as_bytes())
    };
    if help { 0 } else { Exit::Usage.code() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_numeric_or_localhost() {
        assert_eq!(parse_address("localhost:80"), Ok(([127, 0, 0, 1], 80).into()));
        assert!(parse_address("[::1]:80").unwrap().is_ipv6());
        assert!(parse_address("example.org:80").unwrap_err().contains("127.0.0.1:8080"));
    }
}
