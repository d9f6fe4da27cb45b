//! `scribe eval win-rate`: how often one model of a run answers better than another, as the synthetic
//! judge has it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use training::gate::{Blinded, Tally, lengths_match};
use training::reward::accuracy::Proportion;

use super::super::people::{self, Ground, PeopleArguments};
use super::super::ppo::DoctorArgument;
use super::super::progress::Progress;
use super::super::{Failure, Session};
use super::Table;
use super::pairs::{PART, Pair, Pairs};
use crate::locale::Language;

/// Pairs are drawn apart from those of any gate.
const SEED: u64 = 0x77_69_6e_73;
/// The most pairs.
const PAIRS_MAX: u64 = 1 << 20;

/// Which models, and how many pairs.
#[derive(Debug, Args)]
pub struct WinRateOptions {
    #[command(flatten)]
    people: PeopleArguments,

    /// A checkpoint of the run to compare with [default: what the run was taught, before all rounds]
    #[arg(long, value_name = "DIR")]
    old: Option<PathBuf>,

    /// The checkpoint whose wins are counted [default: the one that is served]
    #[arg(long, value_name = "DIR")]
    new: Option<PathBuf>,

    /// Pairs of answers
    #[arg(long, value_name = "N", default_value = "1000",
        value_parser = clap::value_parser!(u64).range(1..=PAIRS_MAX))]
    pairs: u64,
}

/// `scribe eval win-rate --json`.
#[derive(Debug, Serialize)]
struct Told<'a> {
    schema: &'static str,
    old: &'a Path,
    new: &'a Path,
    #[serde(flatten)]
    found: Found,
    win_rate: f64,
    length_matched_win_rate: f64,
}

/// What became of the pairs.
#[derive(Debug, Default, Serialize)]
struct Found {
    pairs: Tally,
    /// Those whose answers are of nearly one length.
    length_matched: Tally,
    /// Means over the answers of the old and of the new model.
    scores: [f64; 2],
    tokens: [f64; 2],
}

/// Counts.
pub(in super::super) fn win_rate(
    session: &mut Session,
    options: &WinRateOptions,
) -> Result<(), Failure> {
    let device = engine::Device::cpu(&options.people.device.options())?;
    let ground = Ground::open(session, &options.people, &device)?;
    let interrupt = super::Interrupt::follow(None)?;
    let table = Table {
        ground: &ground,
        device: &device,
        engine: people::engine(&options.people.device),
        interrupt: &interrupt,
        doctor: DoctorArgument::default(),
        language: Language::default(),
    };
    let old = options.old.clone().unwrap_or_else(|| ground.base.clone());
    let new = options.new.clone().map_or_else(|| table.served(), Ok)?;
    let pairs = table.pairs(session, (&old, &new))?;
    let found = table.count(session, &pairs, options.pairs)?;
    tell(session, found, (&old, &new))
}

impl Table<'_> {
    fn count(&self, session: &mut Session, pairs: &Pairs, count: u64) -> Result<Found, Failure> {
        let mut found = Found::default();
        let mut progress = Progress::new(&mut session.terminal);
        progress.begin_things("comparing", "pairs", 0, count);
        let seed = self.ground.recipe.seed() ^ SEED;
        for part in 0..count.div_ceil(PART as u64) {
            let left = usize::try_from(count - part * PART as u64).unwrap_or(PART);
            for pair in self.answered(pairs, seed, part)?.iter().take(left) {
                found.add(pair);
            }
            progress.advance(found.pairs.pairs().into());
        }
        progress.end();
        Ok(found.means())
    }
}

impl Found {
    fn add(&mut self, pair: &Pair) {
        let outcome: Blinded = pair.judged();
        self.pairs.count(outcome);
        if lengths_match(pair.tokens()) {
            self.length_matched.count(outcome);
        }
        let (scores, tokens) = (pair.scores(), pair.tokens());
        for side in 0..2 {
            self.scores[side] += scores[side];
            self.tokens[side] += f64::from(u32::try_from(tokens[side]).unwrap_or(u32::MAX));
        }
    }

    /// Sums become means.
    fn means(mut self) -> Self {
        let pairs = f64::from(self.pairs.pairs().max(1));
        for sum in self.scores.iter_mut().chain(&mut self.tokens) {
            *sum /= pairs;
        }
        self
    }
}

fn tell(session: &mut Session, found: Found, (old, new): (&Path, &Path)) -> Result<(), Failure> {
    let rates = [&found.pairs, &found.length_matched].map(Tally::win_rate);
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        return Ok(terminal.json(&Told {
            schema: "scribe.win-rate/1",
            old,
            new,
            win_rate: rates[0],
            length_matched_win_rate: rates[1],
            found,
        })?);
    }
    let row = |name: &str, tally: &Tally| {
        let pairs = tally.pairs();
        let successes = tally.win_rate() * f64::from(pairs);
        let interval = Proportion { successes, trials: pairs as usize }.interval();
        vec![
            name.to_owned(),
            pairs.to_string(),
            format!("{:.1} %", 100.0 * tally.win_rate()),
            format!("{:.1} to {:.1} %", 100.0 * interval.low, 100.0 * interval.high),
        ]
    };
    let rows = [row("all", &found.pairs), row("of nearly one length", &found.length_matched)];
    terminal.table(&["PAIRS", "COUNT", "WON", "95 % OF ALL CASES"], &rows)?;
    let ([old_score, new_score], [old_tokens, new_tokens]) = (found.scores, found.tokens);
    terminal.note(format_args!(
        "the synthetic judge's score: {old_score:.3} -> {new_score:.3}; tokens of an answer: \
         {old_tokens:.1} -> {new_tokens:.1}"
    ));
    Ok(())
}
