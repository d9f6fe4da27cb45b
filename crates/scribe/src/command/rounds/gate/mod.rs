//! The last part of a round: whether the new model takes the place of the old one.

mod people;
mod try_out;

use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder;
use evals::drift::is_refusal;
use evals::gold::SyntheticLabeler;
use serde::{Deserialize, Serialize};
use training::gate::{
    Blinded, Bounds, Decision, EProcess, Judgment, Measured, Tally, TestOptions, Verdict, judge,
    lengths_match,
};
use training::recipe::{LabelerKind, RoundsRecipe};

pub(in super::super) use self::try_out::{GateOptions, gate};

use super::super::progress::Progress;
use super::super::{Failure, Session, eval, locate};
use super::Table;
use super::pairs::{Answer, PART, Pair, Pairs};
use crate::labeling::GATE_FILE as FILE;

/// What was shown, and what follows from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gate {
    pub(super) round: usize,
    /// The new model, from the run's folder on.
    pub(super) checkpoint: PathBuf,
    /// What became of the pairs.
    pairs: Tally,
    /// The same of those whose answers are of nearly one length.
    length_matched: Tally,
    /// How much the pairs speak against a model that is no better; promoted from `1 / alpha` on.
    e_value: f64,
    old: Measured,
    new: Measured,
    pub(super) judgment: Judgment,
}

/// What a model answered, summed up.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answers {
    tokens: u32,
    refusals: u32,
    count: u32,
}

impl Gate {
    /// What the gate said before; `None` where the round is not over.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, Failure> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&artifacts::read_text(&path)?)?))
    }

    fn new(round: usize, checkpoint: PathBuf) -> Self {
        let measured = Answers::default().measured();
        Self {
            round,
            checkpoint,
            pairs: Tally::default(),
            length_matched: Tally::default(),
            e_value: 1.0,
            old: measured,
            new: measured,
            judgment: Judgment { decision: Decision::Wait, reasons: Vec::new() },
        }
    }

    fn count(&mut self, pair: &Pair, outcome: Blinded) {
        self.pairs.count(outcome);
        if lengths_match(pair.tokens()) {
            self.length_matched.count(outcome);
        }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), Failure> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(folder::land_bytes(&RealDisk, &folder.join(FILE), &bytes)?)
    }

    /// The shares of pairs that the new model won: of all, and of those of nearly one length.
    pub(super) fn win_rates(&self) -> [f64; 2] {
        [self.pairs.win_rate(), self.length_matched.win_rate()]
    }

    /// As a row of a table.
    pub(super) fn row(&self, is_taken_back: bool) -> Vec<String> {
        let reasons: Vec<String> = self.judgment.reasons.iter().map(ToString::to_string).collect();
        let decision = match reasons.as_slice() {
            [] if is_taken_back => "promoted, and taken back".to_owned(),
            [] => "promoted".to_owned(),
            reasons => format!("kept the old one: {}", reasons.join("; ")),
        };
        vec![
            self.round.to_string(),
            format!("{:.1} %", 100.0 * self.pairs.win_rate()),
            self.pairs.pairs().to_string(),
            format!("{:.3} -> {:.3}", self.old.bits_per_byte, self.new.bits_per_byte),
            format!("{:.0} -> {:.0}", self.old.completion_tokens, self.new.completion_tokens),
            decision,
        ]
    }
}

impl Table<'_> {
    /// Lets both models answer prompts that nobody learned from, and judges.
    pub(super) fn gate(
        &self,
        session: &mut Session,
        round: usize,
        (old, new): (&Path, &Path),
        command: &str,
    ) -> Result<Gate, Failure> {
        let recipe = self.ground.recipe.rounds()?.clone();
        let inside = new.strip_prefix(self.ground.run.path()).unwrap_or(new);
        let mut gate = Gate::new(round, inside.to_owned());
        let verdict = match recipe.labeler {
            LabelerKind::People => {
                self.ask_people(session, (old, new), &recipe, &mut gate, command)?
            }
            LabelerKind::Synthetic => {
                let pairs = self.pairs(session, (old, new))?;
                self.compare(session, &pairs, &recipe, &mut gate)?
            }
        };
        gate.old.bits_per_byte = self.bits(session, old)?;
        gate.new.bits_per_byte = self.bits(session, new)?;
        let bounds = Bounds {
            bits_per_byte_rise: recipe.bits_per_byte_rise,
            length_factor: recipe.length_factor,
            ..Bounds::default()
        };
        gate.judgment = judge(verdict, &gate.old, &gate.new, &bounds);
        Ok(gate)
    }

    /// Blinded pairs until they show something, or there are no more. All of them are answered: what
    /// the answers are like beside is known better from many than from the few that show who wins.
    fn compare(
        &self,
        session: &mut Session,
        pairs: &Pairs,
        recipe: &RoundsRecipe,
        gate: &mut Gate,
    ) -> Result<Verdict, Failure> {
        let options = TestOptions { alpha: recipe.gate_alpha, pairs: recipe.gate_pairs };
        let mut process = EProcess::new(options);
        let labeler = self.labeler(recipe);
        let (mut of_old, mut of_new) = (Answers::default(), Answers::default());
        let mut progress = Progress::new(&mut session.terminal);
        progress.begin_things("comparing", "pairs", 0, recipe.gate_pairs.into());
        for part in 0_u64.. {
            let seed = self.ground.recipe.seed().wrapping_add(gate.round as u64);
            let answered = self.answered(pairs, seed, part)?;
            for (number, pair) in (part * PART as u64..).zip(&answered) {
                of_old.add(&pair.old);
                of_new.add(&pair.new);
                // Doubts of their own, too, for the same two answers to the same prompt.
                let seed = labeler.seed.wrapping_add((number + 1) << 16);
                let outcome = pair.ranked_by(SyntheticLabeler { seed, ..labeler })?;
                if process.verdict() == Verdict::Undecided {
                    gate.count(pair, outcome);
                    let _ = process.observe(outcome);
                }
            }
            progress.advance(of_new.count.min(recipe.gate_pairs).into());
            if process.verdict() != Verdict::Undecided && of_new.count >= recipe.gate_pairs {
                break;
            }
        }
        progress.end();
        gate.e_value = process.e_value();
        (gate.old, gate.new) = (of_old.measured(), of_new.measured());
        Ok(process.verdict())
    }

    /// Bits per byte of the text that was held out of pretraining; none where a run begins with a model.
    fn bits(&self, session: &mut Session, checkpoint: &Path) -> Result<f64, Failure> {
        let corpus = self.ground.run.corpus();
        if !corpus.exists() {
            session.terminal.warn(
                "this run has no text of its own: whether the model predicts text worse is not seen",
            );
            return Ok(1.0);
        }
        let run = self.ground.run.path();
        let located = locate::checkpoint_of(session, run, checkpoint.to_owned())?;
        let bits = eval::held_out_bits(session, &located, &self.engine, &corpus)?;
        Ok(bits.map_or(1.0, |figure| figure.value()))
    }
}

impl Answers {
    fn add(&mut self, answer: &Answer) {
        self.tokens += u32::try_from(answer.tokens).unwrap_or(u32::MAX);
        self.refusals += u32::from(is_refusal(&answer.text));
        self.count += 1;
    }

    fn measured(self) -> Measured {
        let share = |part: u32| f64::from(part) / f64::from(self.count.max(1));
        let (completion_tokens, refusal_rate) = (share(self.tokens), share(self.refusals));
        Measured { bits_per_byte: f64::NAN, completion_tokens, refusal_rate }
    }
}
