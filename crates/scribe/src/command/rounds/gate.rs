//! The last part of a round: whether the new model takes the place of the old one.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifacts::disk::RealDisk;
use artifacts::folder;
use comparisons::{Candidate, Completion, Origin, Prompt, Refusal};
use engine::random::Series;
use evals::drift::is_refusal;
use evals::gold::SyntheticLabeler;
use model::Model;
use serde::{Deserialize, Serialize};
use training::candidates::prompt_of;
use training::gate::{
    Blinded, Bounds, Decision, EProcess, Judgment, Measured, TestOptions, Verdict, judge,
};
use training::ppo::{Rollout, collect};
use training::recipe::{LabelerKind, RoundsRecipe};

use super::super::progress::Progress;
use super::super::{Failure, Session, eval, locate};
use super::Table;

/// What the gate said, in the folder of a round.
const FILE: &str = "gate.json";
/// Pairs between two looks at what they show.
const PAIRS: usize = 50;

/// What was shown, and what follows from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gate {
    pub(super) round: usize,
    /// The new model, from the run's folder on.
    pub(super) checkpoint: PathBuf,
    /// Pairs that the new model won, that were tied, and that it lost.
    wins: u32,
    ties: u32,
    losses: u32,
    /// How much the pairs speak against a model that is no better; promoted from `1 / alpha` on.
    e_value: f64,
    old: Measured,
    new: Measured,
    pub(super) judgment: Judgment,
}

/// Two models that answer the same prompts.
struct Pair {
    old: Arc<Model>,
    new: Arc<Model>,
    /// As a comparison has them, and in tokens.
    prompts: Vec<(Prompt, Vec<u32>)>,
}

/// What a model answered, summed up.
#[derive(Debug, Default, Clone, Copy)]
struct Answers {
    tokens: u32,
    refusals: u32,
    count: u32,
}

/// An answer.
struct Answer {
    text: String,
    tokens: usize,
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
            wins: 0,
            ties: 0,
            losses: 0,
            e_value: 1.0,
            old: measured,
            new: measured,
            judgment: Judgment { decision: Decision::Wait, reasons: Vec::new() },
        }
    }

    fn count(&mut self, outcome: Blinded) {
        match outcome {
            Blinded::Win => self.wins += 1,
            Blinded::Tie => self.ties += 1,
            Blinded::Loss => self.losses += 1,
        }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), Failure> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(folder::land_bytes(&RealDisk, &folder.join(FILE), &bytes)?)
    }

    /// As a row of a table.
    pub(super) fn row(&self, is_taken_back: bool) -> Vec<String> {
        let pairs = self.wins + self.ties + self.losses;
        let share = (f64::from(self.wins) + 0.5 * f64::from(self.ties)) / f64::from(pairs.max(1));
        let reasons: Vec<String> = self.judgment.reasons.iter().map(ToString::to_string).collect();
        let decision = match reasons.as_slice() {
            [] if is_taken_back => "promoted, and taken back".to_owned(),
            [] => "promoted".to_owned(),
            reasons => format!("kept the old one: {}", reasons.join("; ")),
        };
        vec![
            self.round.to_string(),
            format!("{:.1} %", 100.0 * share),
            pairs.to_string(),
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
    ) -> Result<Gate, Failure> {
        let recipe = self.ground.recipe.rounds()?.clone();
        if recipe.labeler == LabelerKind::People {
            return Err(Failure::usage(
                format!("the new model is at {}; people have to compare it first", new.display()),
                "the gate knows only the synthetic labeler so far: try the model with scribe chat \
                 --model and that path",
            ));
        }
        let pair = Pair {
            old: self.load(session, old)?,
            new: self.load(session, new)?,
            prompts: self.gate_prompts(session)?,
        };
        let inside = new.strip_prefix(self.ground.run.path()).unwrap_or(new);
        let mut gate = Gate::new(round, inside.to_owned());
        let verdict = self.compare(session, &pair, &recipe, &mut gate)?;
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

    /// Prompts that nobody learned from and that leave room for an answer.
    fn gate_prompts(&self, session: &mut Session) -> Result<Vec<(Prompt, Vec<u32>)>, Failure> {
        let ppo = self.ground.recipe.ppo()?;
        let encoding = self.ground.encoding(ppo);
        let mut prompts = Vec::new();
        for conversation in &self.prompts(session)?.validation {
            let tokens = encoding.prompt(conversation)?;
            let fits = tokens.len() + ppo.completion_tokens <= encoding.context_tokens;
            if let Some(prompt) = prompt_of(conversation).filter(|_| fits) {
                prompts.push((prompt, tokens));
            }
        }
        if prompts.is_empty() {
            return Err(Failure::usage(
                "no prompt is held out for the gate",
                "set `validation` in [prompts], or in [conversations], above 0",
            ));
        }
        Ok(prompts)
    }

    /// Blinded pairs until they show something, or there are no more.
    fn compare(
        &self,
        session: &mut Session,
        pair: &Pair,
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
            // Drawn anew for each pair: the test needs pairs that do not know of each other.
            let series = Series { seed, step: part, epoch: u32::MAX };
            let prompts: Vec<_> = (0..PAIRS).map(|place| pair.draw(&series, place)).collect();
            // The draws of the two are others.
            let old = self.answers(&pair.old, &prompts, (seed, 2 * part + 1))?;
            let new = self.answers(&pair.new, &prompts, (seed, 2 * part + 2))?;
            let answered = old.into_iter().zip(new).zip(prompts);
            for (number, ((old, new), (prompt, _))) in (part * PAIRS as u64..).zip(answered) {
                of_old.add(&old);
                of_new.add(&new);
                // Doubts of their own, too, for the same two answers to the same prompt.
                let seed = labeler.seed.wrapping_add((number + 1) << 16);
                let labeler = SyntheticLabeler { seed, ..labeler };
                let outcome = blinded(labeler, prompt, [old.text, new.text])?;
                if process.verdict() == Verdict::Undecided {
                    gate.count(outcome);
                    let _ = process.observe(outcome);
                }
            }
            progress.advance(process.pairs().into());
            if process.verdict() != Verdict::Undecided {
                break;
            }
        }
        progress.end();
        gate.e_value = process.e_value();
        (gate.old, gate.new) = (of_old.measured(), of_new.measured());
        Ok(process.verdict())
    }

    /// One answer to each prompt.
    fn answers(
        &self,
        model: &Arc<Model>,
        prompts: &[&(Prompt, Vec<u32>)],
        draws: (u64, u64),
    ) -> Result<Vec<Answer>, Failure> {
        let rollouts = self.ground.rollouts(self.ground.recipe.ppo()?);
        let tokens: Vec<Vec<u32>> = prompts.iter().map(|(_, tokens)| tokens.clone()).collect();
        let found = collect(Arc::clone(model), &tokens, &rollouts, draws)?;
        // What ends a turn stands for no text.
        let answer = |rollout: Rollout| Answer {
            text: self.ground.tokenizer.decode(&rollout.completion),
            tokens: rollout.completion.len(),
        };
        Ok(found.rollouts.into_iter().map(answer).collect())
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

impl Pair {
    /// The prompt of a pair.
    fn draw(&self, series: &Series, place: usize) -> &(Prompt, Vec<u32>) {
        let number = series.below(self.prompts.len() as u64, place as u64);
        &self.prompts[usize::try_from(number).unwrap_or(0)]
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

/// Which of two answers is preferred by somebody who does not know whose they are.
fn blinded(
    labeler: SyntheticLabeler,
    prompt: &Prompt,
    texts: [String; 2],
) -> Result<Blinded, Failure> {
    let completions = texts.map(|text| Completion::new(text, Origin::Written)).to_vec();
    let candidate = match Candidate::new(prompt.clone(), completions) {
        Ok(candidate) => candidate,
        Err(Refusal::EqualCompletions { .. }) => return Ok(Blinded::Tie),
        Err(refusal) => return Err(refusal.into()),
    };
    let ranking = labeler.rank(&candidate)?;
    Ok(match ranking.place(1).cmp(&ranking.place(0)) {
        Ordering::Less => Blinded::Win,
        Ordering::Equal => Blinded::Tie,
        Ordering::Greater => Blinded::Loss,
    })
}
