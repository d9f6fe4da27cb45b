//! What of a run waits for people: the answers of a round, or the pairs by which its gate decides.

use std::fmt;
use std::path::{Path, PathBuf};

use comparisons::queue::QueueOptions;
use training::run_folder::{ROUNDS_MAX, comparisons_of_round, ppo_of_round};

/// What the gate said, in the folder of a round.
pub(crate) const GATE_FILE: &str = "gate.json";
/// What people said of the pairs of the gate, beside it.
const PAIRS_FILE: &str = "pairs.jsonl";
/// What the name of a store has in place of its ending where it is of what may be asked.
const CANDIDATES_ENDING: &str = "candidates.jsonl";

/// Something to rank, with the files of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) kind: Kind,
    /// Counted from 1.
    pub(crate) round: usize,
}

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What a reward model learns from.
    Ranking,
    /// What the gate decides by.
    Pairs,
}

/// The name by which a page asks and answers.
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Ranking => "ranking",
            Kind::Pairs => "pairs",
        };
        write!(f, "{kind}-{}", self.round)
    }
}

impl Task {
    /// The task of that name; `None` for what is none.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let (kind, round) = name.split_once('-')?;
        let kind = match kind {
            "ranking" => Kind::Ranking,
            "pairs" => Kind::Pairs,
            _ => return None,
        };
        // `parse` alone would take a sign.
        let is_number = round.bytes().all(|byte| byte.is_ascii_digit());
        let round =
            round.parse().ok().filter(|round| is_number && (1..=ROUNDS_MAX).contains(round))?;
        Some(Self { kind, round })
    }

    /// What people are asked now: the pairs of the last round until its gate has decided, else the
    /// answers of that round. `None` where there is neither.
    pub(crate) fn current(run: &Path) -> Option<Self> {
        let asked = |round: &usize| Self::ranking(*round).candidates(run).exists();
        let round = (1..=ROUNDS_MAX).rev().find(asked)?;
        let pairs = Self { kind: Kind::Pairs, round };
        let is_decided = ppo_of_round(run, round).join(GATE_FILE).exists();
        let is_open = !is_decided && pairs.candidates(run).exists();
        Some(if is_open { pairs } else { Self::ranking(round) })
    }

    /// The answers of a round.
    pub(crate) fn ranking(round: usize) -> Self {
        Self { kind: Kind::Ranking, round }
    }

    /// The pairs of the gate of a round.
    pub(crate) fn pairs(round: usize) -> Self {
        Self { kind: Kind::Pairs, round }
    }

    /// The file of what may be asked.
    pub(crate) fn candidates(self, run: &Path) -> PathBuf {
        self.store(run).with_extension(CANDIDATES_ENDING)
    }

    /// The file of what people said.
    pub(crate) fn store(self, run: &Path) -> PathBuf {
        match self.kind {
            Kind::Ranking => comparisons_of_round(run, self.round),
            Kind::Pairs => ppo_of_round(run, self.round).join(PAIRS_FILE),
        }
    }

    /// How it is given out. Of the gate's pairs each counts once, so none is asked twice.
    pub(crate) fn options(self) -> QueueOptions {
        match self.kind {
            Kind::Ranking => QueueOptions::default(),
            Kind::Pairs => {
                QueueOptions { shared_percent: 0, repeated_percent: 0, ..QueueOptions::default() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_rounds_that_can_be() {
        for task in [Task::ranking(1), Task::pairs(ROUNDS_MAX)] {
            assert_eq!(Task::of_name(&task.to_string()), Some(task));
        }
        for name in ["", "ranking", "ranking-", "ranking-0", "ranking-+1", "pairs-1000", "gate-1"] {
            assert_eq!(Task::of_name(name), None, "{name}");
        }
    }

    #[test]
    fn the_pairs_of_the_last_round_are_asked_until_its_gate_has_decided() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = folder.path();
        assert_eq!(Task::current(run), None);
        let touch = |path: PathBuf| {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
            std::fs::write(path, "").expect("it is written");
        };
        for (file, expected) in [
            (Task::ranking(1).candidates(run), Task::ranking(1)),
            (Task::pairs(1).candidates(run), Task::pairs(1)),
            (ppo_of_round(run, 1).join(GATE_FILE), Task::ranking(1)),
            (Task::ranking(2).candidates(run), Task::ranking(2)),
        ] {
            touch(file);
            assert_eq!(Task::current(run), Some(expected));
        }
    }
}
