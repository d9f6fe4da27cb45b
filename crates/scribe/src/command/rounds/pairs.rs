//! Pairs of answers to the same prompts, one of a model that is served and one of a model that may be.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;

use comparisons::{Candidate, Completion, Origin, Prompt, Refusal};
use engine::random::Series;
use evals::gold::{self, SyntheticLabeler};
use model::Model;
use training::candidates::prompt_of;
use training::gate::Blinded;
use training::ppo::{Rollout, collect};

use super::super::{Failure, Session};
use super::Table;

/// Pairs that are drawn at once.
pub(super) const PART: usize = 50;

/// Two models that answer the same prompts.
pub(super) struct Pairs {
    old: Arc<Model>,
    new: Arc<Model>,
    /// As a comparison has them, and in tokens.
    prompts: Vec<(Prompt, Vec<u32>)>,
}

/// What both models answered to one prompt.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) prompt: Prompt,
    pub(super) old: Answer,
    pub(super) new: Answer,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) text: String,
    /// With the one that ends it.
    pub(super) tokens: usize,
}

impl Table<'_> {
    /// Two checkpoints, and prompts that nobody learned from and that leave room for an answer.
    pub(super) fn pairs(
        &self,
        session: &mut Session,
        (old, new): (&Path, &Path),
    ) -> Result<Pairs, Failure> {
        Ok(Pairs {
            old: self.load(session, old)?,
            new: self.load(session, new)?,
            prompts: self.evaluation_prompts(session)?,
        })
    }

    fn evaluation_prompts(
        &self,
        session: &mut Session,
    ) -> Result<Vec<(Prompt, Vec<u32>)>, Failure> {
        let ppo = self.ground.recipe.ppo()?;
        let encoding = self.ground.encoding(ppo);
        let mut prompts = Vec::new();
        for conversation in &self.ground.prompts(session)?.validation {
            let tokens = encoding.prompt(conversation)?;
            let fits = tokens.len() + ppo.completion_tokens <= encoding.context_tokens;
            if let Some(prompt) = prompt_of(conversation).filter(|_| fits) {
                prompts.push((prompt, tokens));
            }
        }
        if prompts.is_empty() {
            return Err(Failure::usage(
                "no prompt is held out to measure on",
                "name some in [evaluation], or set `validation` in [prompts] above 0",
            ));
        }
        Ok(prompts)
    }

    /// The pairs of one part: what is asked is drawn anew for each, as the test of the gate needs pairs
    /// that do not know of each other, and the draws of the two models are others.
    pub(super) fn answered(
        &self,
        pairs: &Pairs,
        seed: u64,
        part: u64,
    ) -> Result<Vec<Pair>, Failure> {
        let series = Series { seed, step: part, epoch: u32::MAX };
        let prompts: Vec<_> = (0..PART).map(|place| pairs.draw(&series, place)).collect();
        let old = self.answers(&pairs.old, &prompts, (seed, 2 * part + 1))?;
        let new = self.answers(&pairs.new, &prompts, (seed, 2 * part + 2))?;
        let pair = |(((prompt, _), old), new): ((&&(Prompt, _), _), _)| Pair {
            prompt: prompt.clone(),
            old,
            new,
        };
        Ok(prompts.iter().zip(old).zip(new).map(pair).collect())
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
}

impl Pairs {
    /// The prompt of a pair.
    fn draw(&self, series: &Series, place: usize) -> &(Prompt, Vec<u32>) {
        let number = series.below(self.prompts.len() as u64, place as u64);
        &self.prompts[usize::try_from(number).unwrap_or(0)]
    }
}

impl Pair {
    /// How many tokens both answers have.
    pub(super) fn tokens(&self) -> [usize; 2] {
        [self.old.tokens, self.new.tokens]
    }

    /// Which answer a labeler prefers that does not know whose they are.
    pub(super) fn ranked_by(&self, labeler: SyntheticLabeler) -> Result<Blinded, Failure> {
        let texts = [&self.old.text, &self.new.text];
        let completions = texts.map(|text| Completion::new(text, Origin::Written)).to_vec();
        let candidate = match Candidate::new(self.prompt.clone(), completions) {
            Ok(candidate) => candidate,
            Err(Refusal::EqualCompletions { .. }) => return Ok(Blinded::Tie),
            Err(refusal) => return Err(refusal.into()),
        };
        let ranking = labeler.rank(&candidate)?;
        // The first place is the best.
        Ok(preferred(ranking.place(0).cmp(&ranking.place(1))))
    }

    /// What the judge says of both answers, the old one first.
    pub(super) fn scores(&self) -> [f64; 2] {
        [&self.old, &self.new].map(|answer| gold::score(&answer.text))
    }

    /// Which answer the judge prefers, who has no doubts.
    pub(super) fn judged(&self) -> Blinded {
        let [old, new] = self.scores();
        preferred(new.total_cmp(&old))
    }
}

/// What became of the new answer.
pub(super) fn preferred(new: Ordering) -> Blinded {
    match new {
        Ordering::Greater => Blinded::Win,
        Ordering::Equal => Blinded::Tie,
        Ordering::Less => Blinded::Loss,
    }
}
