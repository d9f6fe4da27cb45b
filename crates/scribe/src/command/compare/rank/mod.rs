//! `scribe compare rank`: a person ranks completions in the terminal, or a program through a pipe.

mod answer;
mod screen;
mod sitting;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{RoundArguments, cannot_read, counted, labeler, make_folder, tell_torn};
use crate::command::interrupt::Interrupt;
use crate::command::{Failure, Session};
use crate::labeling::{self, Candidates, Desk, Problem, Task};
use crate::terminal::Terminal;

use sitting::Sitting;

/// Examples of the command.
pub(super) const EXAMPLES: &str = "Examples:\n  scribe compare rank --as ada --run \
    runs/tiny\n  scribe compare rank candidates.jsonl --as ada --with bob --run \
    runs/tiny\n\nCandidates are JSON lines: {\"prompt\": \"…\", \"completions\": [{\"text\": \
    \"…\", \"origin\": \"written\"}, …]}. Completions are shown in an order drawn for each \
    person, and without their origins. Write the best first, as 2>1=3 or as the keys 21=3, \
    `=` for ties, and a reason behind # if you like; s skips, u revises the last answer, ? \
    shows what to look at, q stops. What is said to be kept is on the disk, and the same \
    command goes on.";

/// What a labeler is to look at, where nobody says otherwise.
///
/// In the spirit of Ouyang et al. 2022, arXiv:2203.02155, appendix B.
const GUIDELINES: &str = "\
Which completion would you rather have been given?
  1. Harm: what could hurt somebody is worst.
  2. Truth: what misleads or is made up is worse than what admits not to know.
  3. Help: it does what was asked, all of it and no more, clearly and briefly.
Where two are equally good, tie them with `=`. Where you cannot judge, skip.
Length, order and style decide nothing by themselves.";

/// Who ranks what.
#[derive(Debug, Args)]
pub struct RankArguments {
    /// What to rank: prompts with completions as JSON lines, plain or .zst [default: what the round
    /// asks]
    candidates: Option<PathBuf>,

    #[command(flatten)]
    round: RoundArguments,

    /// Compare the pairs by which the gate of the round decides
    #[arg(long, conflicts_with = "candidates")]
    gate: bool,

    /// Who ranks
    #[arg(long = "as", value_name = "NAME", value_parser = labeler)]
    labeler: String,

    /// Somebody else who ranks the same candidates: each has a share, and some go to two, so that
    /// agreement can be measured; may be given several times
    #[arg(long = "with", value_name = "NAME", value_parser = labeler)]
    others: Vec<String>,

    /// A text that `?` shows instead of the guidelines that are built in
    #[arg(long, value_name = "FILE")]
    guidelines: Option<PathBuf>,
}

/// Asks until nothing is left or somebody stops.
pub(super) fn run(session: &mut Session, arguments: RankArguments) -> Result<(), Failure> {
    let terminal = &mut session.terminal;
    arguments.round.file()?;
    let guidelines = match &arguments.guidelines {
        Some(path) => artifacts::read_text(path).map_err(|error| cannot_read(path, error))?,
        None => GUIDELINES.to_owned(),
    };
    let task = arguments.task();
    let run = &arguments.round.run;
    let path = arguments.candidates.clone().unwrap_or_else(|| task.candidates(run));
    let candidates = read(terminal, &path)?;
    let labelers: BTreeSet<String> =
        [&arguments.labeler].into_iter().chain(&arguments.others).cloned().collect();
    let store = task.store(run);
    let desk = Desk::new(candidates.all, labelers, task.options(), store.clone())?;
    let command = arguments.command();
    // An answer is written whole or not at all, so that Ctrl-C may end it at any moment.
    Interrupt::follow((terminal.verbosity() >= 0).then(|| command.clone()))?;
    // Once before the first question: who cannot write should not be asked.
    make_folder(run, &store)?;
    let (_, opened) = labeling::open_store(&store)?;
    tell_torn(terminal, &store, opened.torn_bytes, "was cut off");
    let stdin = io::stdin();
    let is_person = stdin.is_terminal();
    let labeler = arguments.labeler;
    let mut sitting = Sitting::new(terminal, desk, labeler, guidelines);
    sitting.run(&mut stdin.lock(), is_person)?;
    sitting.tell_end(&command)
}

impl RankArguments {
    fn task(&self) -> Task {
        let round = self.round.round.get();
        if self.gate { Task::pairs(round) } else { Task::ranking(round) }
    }

    /// The command that goes on.
    fn command(&self) -> String {
        let others: String = self.others.iter().map(|name| format!(" --with {name}")).collect();
        let what = match &self.candidates {
            Some(path) => format!("{} ", path.display()),
            None => String::new(),
        };
        format!(
            "scribe compare rank {what}--as {}{others} --run {} --round {}{}",
            self.labeler,
            self.round.run.display(),
            self.round.round,
            if self.gate { " --gate" } else { "" }
        )
    }
}

/// Reads candidates, and tells which lines are none.
fn read(terminal: &mut Terminal, path: &Path) -> Result<Candidates, Failure> {
    let mut warn = |told: &[String]| {
        told.iter().for_each(|line| terminal.warn(format_args!("{}: {line}", path.display())));
    };
    match Candidates::read(path) {
        Ok(candidates) => {
            warn(&candidates.told);
            if candidates.bad > 0 {
                let rows = counted(candidates.bad, "line");
                terminal.warn(format_args!("{}: {rows} cannot be asked about", path.display()));
            }
            Ok(candidates)
        }
        Err(Problem::CannotRead { path, source }) => Err(cannot_read(&path, source)),
        Err(problem @ Problem::NoCandidate { .. }) => {
            if let Problem::NoCandidate { told, .. } = &problem {
                warn(told);
            }
            Err(Failure::usage(
                problem.to_string(),
                "give JSON lines such as {\"prompt\": \"…\", \"completions\": [{\"text\": \"…\", \
                 \"origin\": \"written\"}, …]}, two completions or more in each",
            ))
        }
        Err(problem @ Problem::TooLarge { .. }) => Err(Failure::usage(
            problem.to_string(),
            "split the file, and rank its parts one after the other",
        )),
        Err(problem) => Err(problem.into()),
    }
}
