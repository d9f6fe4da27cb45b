//! `scribe compare`: what people prefer, gathered beside a run, round by round.

mod compact;
mod delete;
mod export;
mod import;
mod list;
mod rank;
mod show;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use artifacts::disk::{Disk, RealDisk};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use comparisons::formats::Format;
use comparisons::store::{Snapshot, Store};
use training::run_folder::{self, ROUNDS_MAX};

use super::{Exit, Failure, Session};
use crate::config::count;
use crate::labeling;
use crate::terminal::Terminal;

/// What to do with comparisons.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  scribe compare import hh.jsonl --run runs/tiny\n  scribe compare \
                        show --run runs/tiny\n\nA comparison is one prompt, several completions, \
                        and one person's ranking of them. Each round of a run has its own."
)]
pub enum CompareCommand {
    /// Take in comparisons from files of other programs
    #[command(after_help = import::EXAMPLES)]
    Import(import::ImportArguments),
    /// Rank completions in this terminal, best first
    #[command(after_help = rank::EXAMPLES)]
    Rank(rank::RankArguments),
    /// Show how many comparisons there are, whose they are, and how far people agree
    #[command(after_help = show::EXAMPLES)]
    Show(show::ShowArguments),
    /// Write comparisons in a format of other programs
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArguments),
    /// Delete comparisons, and tell what was made from them
    #[command(after_help = delete::EXAMPLES)]
    Delete(delete::DeleteArguments),
    /// Take deleted and revised texts off the disk
    #[command(after_help = compact::EXAMPLES)]
    Compact(compact::CompactArguments),
}

/// Whose comparisons they are.
#[derive(Debug, Args)]
struct RoundArguments {
    /// The folder of the run
    #[arg(long, value_name = "DIR")]
    run: PathBuf,

    /// The round of the run
    #[arg(long, value_name = "N", value_parser = count::<ROUNDS_MAX>, default_value = "1")]
    round: NonZeroUsize,
}

/// Does it.
pub(super) fn run(session: &mut Session, command: CompareCommand) -> Result<(), Failure> {
    let terminal = &mut session.terminal;
    match command {
        CompareCommand::Import(arguments) => import::run(terminal, &arguments),
        CompareCommand::Rank(arguments) => rank::run(session, arguments),
        CompareCommand::Show(arguments) => show::run(terminal, &arguments),
        CompareCommand::Export(arguments) => export::run(terminal, &arguments),
        CompareCommand::Delete(arguments) => delete::run(terminal, &arguments),
        CompareCommand::Compact(arguments) => compact::run(terminal, &arguments),
    }
}

impl RoundArguments {
    /// The file of the comparisons. The run must be there; its lock is not taken, so that people
    /// can be asked while a model of it learns.
    fn file(&self) -> Result<PathBuf, Failure> {
        let run = &self.run;
        match run_folder::is_run(run) {
            true => Ok(run_folder::comparisons_of_round(run, self.round.get())),
            false => Err(Failure::not_found(
                format!("there is no run at `{}`", run.display()),
                format!("`scribe sft RECIPE --run {}` begins one", run.display()),
            )),
        }
    }

    /// The store, to be written; it is begun where it is not there.
    fn open(&self, terminal: &mut Terminal) -> Result<Store, Failure> {
        let file = self.file()?;
        make_folder(&self.run, &file)?;
        self.open_at(terminal, &file)
    }

    /// The store, to be written, where there is one.
    fn open_what_is_there(&self, terminal: &mut Terminal) -> Result<Store, Failure> {
        let file = self.file()?;
        self.check_there(&file)?;
        self.open_at(terminal, &file)
    }

    /// The store as it is now, to be read.
    fn snapshot(&self, terminal: &mut Terminal) -> Result<Snapshot<RealDisk>, Failure> {
        let file = self.file()?;
        self.check_there(&file)?;
        let snapshot = Snapshot::open(RealDisk, &file)?;
        tell_torn(terminal, &file, snapshot.opened().torn_bytes, "is passed over");
        Ok(snapshot)
    }

    fn open_at(&self, terminal: &mut Terminal, file: &Path) -> Result<Store, Failure> {
        let (store, opened) = labeling::open_store(file)?;
        tell_torn(terminal, file, opened.torn_bytes, "was cut off");
        Ok(store)
    }

    fn check_there(&self, file: &Path) -> Result<(), Failure> {
        if file.exists() {
            return Ok(());
        }
        let (run, round) = (self.run.display(), self.round);
        Err(Failure::not_found(
            format!("`{run}` has no comparisons of round {round} yet"),
            format!("`scribe compare import FILE --run {run} --round {round}` brings some"),
        ))
    }
}

/// A labeler's name, as the library takes it.
fn labeler(text: &str) -> Result<String, String> {
    comparisons::check_name(text).map_err(|refusal| refusal.to_string())?;
    Ok(text.to_owned())
}

/// Reads the name of a format.
fn format() -> impl TypedValueParser<Value = Format> {
    let names = PossibleValuesParser::new(Format::ALL.map(Format::name));
    names.try_map(|name| Format::of_name(&name).ok_or("it is no format"))
}

/// Makes the folder of the stage so that it survives a power cut: a file in it would go with it.
fn make_folder(run: &Path, file: &Path) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(run);
    let made = std::fs::create_dir_all(folder).and_then(|()| RealDisk.sync_folder(run));
    made.map_err(|error| {
        Failure::broken(error, "see to space and rights")
            .context(format!("cannot make the folder `{}`", folder.display()))
    })
}

/// Says what a crash left behind: it was never acknowledged.
fn tell_torn(terminal: &mut Terminal, file: &Path, bytes: u64, fate: &str) {
    if bytes > 0 {
        terminal.warn(format_args!(
            "{}: an unfinished line of {bytes} bytes at the end {fate}; nobody was told that it \
             was kept",
            file.display()
        ));
    }
}

/// The failure of a file that cannot be read, with the exit code that fits.
fn cannot_read(path: &Path, error: std::io::Error) -> Failure {
    let exit = match error.kind() {
        std::io::ErrorKind::NotFound => Exit::NotFound,
        std::io::ErrorKind::InvalidInput => Exit::Usage,
        _ => Exit::Broken,
    };
    let hint = "name a file of JSON lines that may be read, plain or .zst";
    let failure = Failure { exit, ..Failure::broken(error, hint) };
    failure.context(format!("cannot read `{}`", path.display()))
}

/// Counts with a word, in the plural where that is due: `1 comparison`, `2 comparisons`.
fn counted(count: u64, word: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {word}{ending}", crate::terminal::digits_for_people(count))
}
