//! What the policy answers to some prompts, token by token, with the log-probability of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::random::Philox;
use model::{
    Batch, BatchOptions, Event, LogprobsOf, Model, Sampling, SequenceId, SequenceRequest,
    StopReason,
};

use crate::{Error, PerToken};

/// How completions are sampled. The distribution is the policy's own at the temperature, nothing
/// else: what cuts or bends it (`top_k`, `top_p`, penalties, forbidden tokens) would make ratios of
/// probabilities, and the KL, say what they do not mean.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutOptions {
    /// Divides the logits, here and wherever log-probabilities are compared.
    pub temperature: f32,
    /// Most tokens of a completion, the stop token included.
    pub completion_tokens: usize,
    /// Tokens that end a completion, and are its last one then.
    pub stop_tokens: Vec<u32>,
    /// Sequences that are decoded at once; changes no result.
    pub slots: usize,
}

/// One completion of one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// What was asked, as tokens.
    pub prompt: Vec<u32>,
    /// What was sampled; the stop token is the last one where [`Self::stop_reason`] says so.
    pub completion: Vec<u32>,
    /// Why it ended.
    pub stop_reason: StopReason,
}

/// Completions with the log-probabilities that were recorded while they were decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollouts {
    /// One for each prompt, in their order.
    pub rollouts: Vec<Rollout>,
    /// Of each token of each completion, under the policy at the temperature.
    pub logprobs: PerToken,
}

impl Rollouts {
    /// Why each completion ended.
    #[must_use]
    pub fn stop_reasons(&self) -> Vec<StopReason> {
        self.rollouts.iter().map(|rollout| rollout.stop_reason).collect()
    }
}

/// A sequence that is being decoded.
#[derive(Debug, Default)]
struct Open {
    completion: Vec<u32>,
    logprobs: Vec<f64>,
    stop_reason: Option<StopReason>,
}

/// Lets a model continue each prompt once. The draws of a completion depend on the seed, `step` and
/// its place in the list alone.
///
/// # Errors
///
/// [`Error::Model`] for a prompt that leaves no room in the context window, or a token that the
/// model does not have, and where logits are not finite.
pub fn collect(
    model: Arc<Model>,
    prompts: &[Vec<u32>],
    options: &RolloutOptions,
    (seed, step): (u64, u64),
) -> Result<Rollouts, Error> {
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let context_tokens = model.config().context_tokens;
    if longest >= context_tokens {
        let (prompt_tokens, context_tokens) = (longest, context_tokens);
        return Err(model::Error::ContextOverflow { prompt_tokens, context_tokens }.into());
    }
    let batch_options = BatchOptions {
        slots: options.slots.clamp(1, prompts.len().max(1)),
        context_tokens: longest + options.completion_tokens,
        ..BatchOptions::default()
    };
    let mut batch = Batch::new(model, batch_options)?;
    let mut open: Vec<Open> = Vec::new();
    open.resize_with(prompts.len(), Open::default);
    let mut places = BTreeMap::new();
    let mut next = 0;
    while next < prompts.len() || !batch.is_idle() {
        while next < prompts.len() {
            let seed = seed_of(seed, step, next as u64);
            match batch.add(request(&prompts[next], options, seed)) {
                Ok(id) => places.insert(id, next),
                Err(model::Error::Full) => break,
                Err(error) => return Err(error.into()),
            };
            next += 1;
        }
        for event in batch.step()? {
            hear(event, &places, &mut open)?;
        }
    }
    Ok(gather(prompts, open))
}

/// A seed of its own for every completion of a run.
fn seed_of(seed: u64, step: u64, index: u64) -> u64 {
    let [low, high, ..] = Philox::new(seed).block([step, index]);
    u64::from(high) << 32 | u64::from(low)
}

fn request(prompt: &[u32], options: &RolloutOptions, seed: u64) -> SequenceRequest {
    SequenceRequest {
        prompt: prompt.to_vec(),
        max_tokens: options.completion_tokens,
        sampling: Sampling { temperature: options.temperature, seed, ..Sampling::default() },
        stop_tokens: options.stop_tokens.clone(),
        logprobs: Some(0),
        logprobs_of: LogprobsOf::Temperature,
        ..SequenceRequest::default()
    }
}

fn hear(
    event: Event,
    places: &BTreeMap<SequenceId, usize>,
    open: &mut [Open],
) -> Result<(), Error> {
    match event {
        Event::Token { id, token, logprob, .. } => {
            let own = &mut open[places[&id]];
            own.completion.push(token);
            own.logprobs.push(f64::from(logprob));
        }
        Event::Done { id, reason, stop } => {
            let own = &mut open[places[&id]];
            own.stop_reason = Some(reason);
            if let Some(stop) = stop {
                own.completion.push(stop.token);
                own.logprobs.push(f64::from(stop.logprob));
            }
        }
        Event::Failed { error, .. } => return Err(error.into()),
        _ => {}
    }
    Ok(())
}

fn gather(prompts: &[Vec<u32>], open: Vec<Open>) -> Rollouts {
    let logprobs: Vec<&[f64]> = open.iter().map(|open| open.logprobs.as_slice()).collect();
    let logprobs = PerToken::from_rows(&logprobs);
    let rollout = |(prompt, open): (&Vec<u32>, Open)| Rollout {
        prompt: prompt.clone(),
        completion: open.completion,
        stop_reason: open.stop_reason.unwrap_or(StopReason::Length),
    };
    Rollouts { rollouts: prompts.iter().zip(open).map(rollout).collect(), logprobs }
}
