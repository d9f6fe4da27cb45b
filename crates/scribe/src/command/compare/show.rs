//! `scribe compare show`: how many comparisons there are, whose they are, and how far people agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use clap::Args;
use comparisons::agreement::{Agreement, MeanTau, Rankings};
use comparisons::store::Snapshot;
use comparisons::{CandidateId, Comparison, Ranking, Relation};
use serde::Serialize;

use super::{RoundArguments, counted, list};
use crate::command::Failure;
use crate::terminal::Terminal;

/// Examples of the command.
pub(super) const EXAMPLES: &str = "Examples:\n  scribe compare show --run \
    runs/tiny\n  scribe compare show --run runs/tiny --list\n\nAlpha is Krippendorff's, over \
    pairs: 1 is agreement in all, 0 what chance would give. Tau is Kendall's tau-b: 1 is the \
    same order, -1 the opposite one.";

/// What stands where a figure cannot be said.
const NOT_ENOUGH: &str = "not enough";
/// The most pairs of labelers that are shown; JSON has all.
const PAIRS_SHOWN: usize = 20;
/// The most letters of a name in a table.
const NAME_LETTERS: usize = 30;

/// Which comparisons.
#[derive(Debug, Args)]
pub struct ShowArguments {
    #[command(flatten)]
    round: RoundArguments,

    /// List each comparison with its id instead
    #[arg(long)]
    list: bool,
}

/// `scribe compare show --json`.
#[derive(Debug, Default, Serialize)]
struct Report {
    schema: &'static str,
    file: PathBuf,
    comparisons: u64,
    /// Those that were skipped; they rank nothing.
    skipped: u64,
    /// Different prompts with their completions.
    candidates: usize,
    /// Pairs of which one is preferred, and those that are tied.
    pairs: u64,
    ties: u64,
    labelers: Vec<Labeler>,
    agreement: AgreementReport,
}

/// One who judged.
#[derive(Debug, Default, Serialize)]
struct Labeler {
    name: String,
    answers: u64,
    skips: u64,
    /// With the own answer to what was asked again.
    self_agreement: Tau,
}

/// Kendall's tau-b.
#[derive(Debug, Default, Serialize)]
struct Tau {
    /// Over how many candidates it is the mean.
    candidates: usize,
    /// Absent where there are not enough.
    tau: Option<f64>,
}

/// How far labelers agree; what is absent cannot be said.
#[derive(Debug, Default, Serialize)]
struct AgreementReport {
    shared_candidates: usize,
    alpha_nominal: Option<f64>,
    alpha_ordinal: Option<f64>,
    of_pairs: Vec<OfPair>,
}

/// How far two labelers agree.
#[derive(Debug, Serialize)]
struct OfPair {
    labelers: [String; 2],
    #[serde(flatten)]
    tau: Tau,
}

/// Does it.
pub(super) fn run(terminal: &mut Terminal, arguments: &ShowArguments) -> Result<(), Failure> {
    let file = arguments.round.file()?;
    let snapshot = arguments.round.snapshot(terminal)?;
    if arguments.list {
        return list::show(terminal, &file, &snapshot);
    }
    let report = Report::of(&file, &snapshot)?;
    if terminal.wants_json() {
        terminal.json(&report)?;
        return Ok(());
    }
    tell(terminal, &report)
}

impl Report {
    fn of(file: &Path, snapshot: &Snapshot<RealDisk>) -> Result<Self, Failure> {
        let mut report =
            Self { schema: "scribe.compare.show/1", file: file.to_owned(), ..Self::default() };
        let mut labelers: BTreeMap<String, Labeler> = BTreeMap::new();
        let mut candidates: BTreeSet<CandidateId> = BTreeSet::new();
        let mut rankings = Rankings::default();
        snapshot.for_each(|_, comparison| {
            let ranking = comparison.judgment().ranking.as_ref();
            let labeler = labelers.entry(comparison.judgment().labeler.clone()).or_default();
            *(if ranking.is_some() { &mut labeler.answers } else { &mut labeler.skips }) += 1;
            candidates.insert(comparison.candidate().id());
            rankings.add(&comparison);
            report.add(&comparison);
            Ok::<(), Failure>(())
        })?;
        report.candidates = candidates.len();
        report.set_agreement(labelers, rankings.agreement());
        Ok(report)
    }

    fn add(&mut self, comparison: &Comparison) {
        self.comparisons += 1;
        match &comparison.judgment().ranking {
            None => self.skipped += 1,
            Some(ranking) => {
                for relation in ranking.relations() {
                    match relation {
                        Relation::Preferred(_) => self.pairs += 1,
                        Relation::Tied(..) => self.ties += 1,
                    }
                }
            }
        }
    }

    fn set_agreement(&mut self, labelers: BTreeMap<String, Labeler>, agreement: Agreement) {
        let Agreement { shared_candidates, alpha_nominal, alpha_ordinal, .. } = agreement;
        let of_repeats = agreement.of_repeats;
        self.labelers = labelers
            .into_iter()
            .map(|(name, labeler)| {
                let self_agreement = of_repeats.get(&name).map(Tau::of).unwrap_or_default();
                Labeler { name, self_agreement, ..labeler }
            })
            .collect();
        let of_pairs = agreement.of_pairs.into_iter();
        let of_pairs =
            of_pairs.map(|((a, b), tau)| OfPair { labelers: [a, b], tau: Tau::of(&tau) });
        self.agreement = AgreementReport {
            shared_candidates,
            alpha_nominal,
            alpha_ordinal,
            of_pairs: of_pairs.collect(),
        };
    }
}

impl Tau {
    fn of(tau: &MeanTau) -> Self {
        Self { candidates: tau.candidates, tau: tau.mean() }
    }

    fn for_people(&self) -> String {
        match self.tau {
            Some(tau) => format!("{tau:.2} over {}", self.candidates),
            None => NOT_ENOUGH.to_owned(),
        }
    }
}

/// A ranking as people write it, completions numbered from 1: `2 > 1 = 3`.
pub(super) fn in_words(ranking: &Ranking) -> String {
    let numbers = |list: &Vec<usize>, between: &str| {
        list.iter().map(|number| (number + 1).to_string()).collect::<Vec<_>>().join(between)
    };
    let mut places: Vec<String> = ranking.groups().iter().map(|g| numbers(g, " = ")).collect();
    if !ranking.below().is_empty() {
        places.push(format!("({})", numbers(&ranking.below().to_vec(), ", ")));
    }
    places.join(" > ")
}

/// A name, cut where a table has no room for it.
pub(super) fn cut(text: &str, letters: usize) -> String {
    match text.chars().nth(letters) {
        None => text.to_owned(),
        Some(_) => text.chars().take(letters.saturating_sub(1)).chain(['…']).collect(),
    }
}

fn tell(terminal: &mut Terminal, report: &Report) -> Result<(), Failure> {
    terminal.line(format_args!(
        "{} of {}, {} skipped",
        counted(report.comparisons, "comparison"),
        counted(report.candidates as u64, "candidate"),
        report.skipped
    ))?;
    let (pairs, ties) = (counted(report.pairs, "pair"), counted(report.ties, "tie"));
    terminal.line(format_args!("{pairs} of which one is preferred, {ties}\n"))?;
    let row = |labeler: &Labeler| {
        vec![
            cut(&labeler.name, NAME_LETTERS),
            labeler.answers.to_string(),
            labeler.skips.to_string(),
            labeler.self_agreement.for_people(),
        ]
    };
    let rows: Vec<Vec<String>> = report.labelers.iter().map(row).collect();
    terminal.table(&["LABELER", "ANSWERS", "SKIPS", "SELF-AGREEMENT (TAU)"], &rows)?;
    tell_agreement(terminal, &report.agreement)
}

fn tell_agreement(terminal: &mut Terminal, agreement: &AgreementReport) -> Result<(), Failure> {
    let alpha = |alpha: Option<f64>| {
        alpha.map_or_else(|| NOT_ENOUGH.to_owned(), |alpha| format!("{alpha:.2}"))
    };
    let shared = counted(agreement.shared_candidates as u64, "candidate");
    terminal.line(format_args!("\nranked by two or more  {shared}"))?;
    terminal.line(format_args!("alpha, nominal         {}", alpha(agreement.alpha_nominal)))?;
    terminal.line(format_args!("alpha, ordinal         {}", alpha(agreement.alpha_ordinal)))?;
    if agreement.of_pairs.is_empty() {
        terminal.line(format_args!("tau                    {NOT_ENOUGH}"))?;
        return Ok(());
    }
    terminal.line("")?;
    let row = |pair: &OfPair| {
        let names = pair.labelers.each_ref().map(|name| cut(name, NAME_LETTERS / 2));
        vec![names.join(", "), pair.tau.for_people()]
    };
    let rows: Vec<Vec<String>> = agreement.of_pairs.iter().take(PAIRS_SHOWN).map(row).collect();
    terminal.table(&["LABELERS", "TAU"], &rows)?;
    if agreement.of_pairs.len() > PAIRS_SHOWN {
        let more = agreement.of_pairs.len() - PAIRS_SHOWN;
        terminal.note(format_args!("{more} more pairs of labelers; --json has all"));
    }
    Ok(())
}
