//! `scribe compare rank`: a person ranks completions in the terminal, or a program through a pipe.

mod answer;
mod candidates;
mod screen;
mod sitting;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use comparisons::queue::{Queue, QueueOptions, Waiting};

use super::{RoundArguments, cannot_read, labeler};
use crate::command::interrupt::Interrupt;
use crate::command::{Failure, Session};

use sitting::Sitting;

/// Examples of the command.
pub(super) const EXAMPLES: &str = "Examples:\n  scribe compare rank candidates.jsonl --as \
    ada --run runs/tiny\n  scribe compare rank candidates.jsonl --as ada --with bob --run \
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
    /// What to rank: prompts with completions as JSON lines, plain or .zst
    candidates: PathBuf,

    #[command(flatten)]
    round: RoundArguments,

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
    let candidates = candidates::read(terminal, &arguments.candidates)?;
    let waiting = candidates
        .values()
        .map(|candidate| Waiting { candidate: candidate.clone(), disagreement: 0.0 });
    let labelers: BTreeSet<String> =
        [&arguments.labeler].into_iter().chain(&arguments.others).cloned().collect();
    let queue = Queue::new(waiting.collect(), labelers, QueueOptions::default())?;
    let command = arguments.command();
    // An answer is written whole or not at all, so that Ctrl-C may end it at any moment.
    Interrupt::follow((terminal.verbosity() >= 0).then(|| command.clone()))?;
    let store = arguments.round.open(terminal)?;
    let stdin = io::stdin();
    let is_person = stdin.is_terminal();
    let labeler = arguments.labeler;
    let mut sitting = Sitting::new(terminal, store, queue, candidates, labeler, guidelines);
    sitting.run(&mut stdin.lock(), is_person)?;
    sitting.tell_end(&command)
}

impl RankArguments {
    /// The command that goes on.
    fn command(&self) -> String {
        let others: String = self.others.iter().map(|name| format!(" --with {name}")).collect();
        format!(
            "scribe compare rank {} --as {}{others} --run {} --round {}",
            self.candidates.display(),
            self.labeler,
            self.round.run.display(),
            self.round.round
        )
    }
}
