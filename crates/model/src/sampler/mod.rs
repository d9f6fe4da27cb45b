//! Chooses one token from one row of logits; see [`Sampling`] for the order of the steps.
//!
//! Nothing sorts the vocabulary: filters look at the few candidates that can matter, found in one
//! pass. All exponentials are the engine's, so the same logits give the same token everywhere.

mod select;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use engine::ops::{draw, log_softmax};
use engine::{Device, random};

use crate::request::{LogprobsOf, SequenceRequest, TokenLogprob};
use crate::sampling::Sampling;
use select::Candidate;

/// Largest logit after penalties and bias.
const LOGIT_MAX: f32 = 1e30;

/// What was chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    pub token: u32,
    /// 0 unless asked for.
    pub logprob: f32,
    /// The most probable tokens under the same distribution, best first.
    pub alternatives: Vec<(u32, f32)>,
}

/// Memory that is lent to every call, so that a step allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// One row of logits, fetched from the device.
    pub row: Vec<f32>,
    edited: Vec<f32>,
    candidates: Vec<Candidate>,
    /// The candidates' logits, in their order.
    logits: Vec<f32>,
}

/// The sampling state of one sequence.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    alternatives: Option<usize>,
    logprobs_of: LogprobsOf,
    /// Every token of prompt and completion with its occurrences in the completion, if a penalty
    /// needs them.
    seen: BTreeMap<u32, u16>,
}

impl Sampler {
    pub(crate) fn new(request: &SequenceRequest) -> Self {
        let sampling = request.sampling.clone();
        let seen = if sampling.counts_tokens() {
            request.prompt.iter().map(|token| (*token, 0)).collect()
        } else {
            BTreeMap::new()
        };
        let (alternatives, logprobs_of) = (request.logprobs, request.logprobs_of);
        Self { sampling, alternatives, logprobs_of, seen }
    }

    /// What logits are divided by before their log-probabilities are told.
    pub(crate) fn logprobs_temperature(&self) -> f32 {
        match self.logprobs_of {
            LogprobsOf::Model => 1.0,
            LogprobsOf::Temperature => self.sampling.temperature,
        }
    }

    /// Remembers a token of the completion.
    pub(crate) fn accept(&mut self, token: u32) {
        if self.sampling.counts_tokens() {
            let count = self.seen.entry(token).or_insert(0);
            *count = count.saturating_add(1);
        }
    }

    /// Chooses the token at `position`; `None` if the logits are not all finite.
    pub(crate) fn choose(
        &self,
        device: &Device,
        logits: &[f32],
        position: usize,
        scratch: &mut Scratch,
    ) -> Option<Choice> {
        let peak = select::finite_peak(logits)?;
        let token = if self.sampling.edits_logits() {
            let mut edited = std::mem::take(&mut scratch.edited);
            self.edit(logits, &mut edited);
            let token = self.draw(device, &edited, position, scratch);
            scratch.edited = edited;
            token
        } else if self.sampling.is_greedy() {
            peak.token
        } else {
            self.draw(device, logits, position, scratch)
        };
        let Some(count) = self.alternatives else {
            return Some(Choice { token, logprob: 0.0, alternatives: Vec::new() });
        };
        let TokenLogprob { logprob, alternatives, .. } =
            finite_logprob(device, logits, (token, self.logprobs_temperature(), count), scratch);
        Some(Choice { token, logprob, alternatives })
    }

    /// Steps 1 and 2: penalties and bias.
    fn edit(&self, logits: &[f32], edited: &mut Vec<f32>) {
        edited.clear();
        edited.extend_from_slice(logits);
        let Sampling { repetition_penalty: repetition, presence_penalty: presence, .. } =
            self.sampling;
        // So far within the finite numbers that any temperature leaves them finite.
        let bounded = |logit: f32| logit.clamp(-LOGIT_MAX, LOGIT_MAX);
        for (token, count) in &self.seen {
            let logit = &mut edited[*token as usize];
            *logit = if *logit > 0.0 { *logit / repetition } else { *logit * repetition };
            if *count > 0 {
                *logit -= presence + self.sampling.frequency_penalty * f32::from(*count);
            }
            *logit = bounded(*logit);
        }
        for (token, bias) in &self.sampling.logit_bias {
            let logit = &mut edited[*token as usize];
            *logit = bounded(*logit + bias);
        }
    }

    /// Steps 3 to 7, on finite logits.
    fn draw(&self, device: &Device, logits: &[f32], position: usize, scratch: &mut Scratch) -> u32 {
        let Sampling { temperature, top_k, top_p, min_p, seed, .. } = self.sampling;
        if self.sampling.is_greedy() {
            return select::peak(logits).token;
        }
        let position = position as u64;
        let inverse = 1.0 / temperature;
        let cuts_top_k = top_k > 0 && top_k < logits.len();
        if !cuts_top_k && top_p >= 1.0 && min_p <= 0.0 {
            return draw::row(device, logits, inverse, seed, position);
        }
        let Scratch { candidates, logits: kept, .. } = scratch;
        if cuts_top_k {
            select::top(logits, top_k, candidates);
        } else {
            let floor = self.floor(device, logits);
            select::at_least(logits, floor, candidates);
        }
        if top_p < 1.0 {
            keep_nucleus(device, logits, &self.sampling, candidates, kept);
        }
        if min_p > 0.0 {
            let floor = min_p_floor(device, candidates[0].logit, temperature, min_p);
            candidates.retain(|c| c.logit >= floor);
        }
        let scores = candidates.iter().map(|c| Candidate {
            token: c.token,
            logit: c.logit * inverse + random::gumbel(seed, position, c.token),
        });
        scores.min_by(Candidate::order).map_or_else(|| select::peak(logits).token, |c| c.token)
    }

    /// A logit below which neither `top_p` nor `min_p` keeps any token. All tokens less probable
    /// than `(1 - top_p) / vocab` have less than `1 - top_p` together, so the others reach `top_p`.
    fn floor(&self, device: &Device, logits: &[f32]) -> f32 {
        let Sampling { temperature, top_p, min_p, .. } = self.sampling;
        let mut floor = f32::NEG_INFINITY;
        if top_p < 1.0 {
            let all = log_softmax::row(device, logits, temperature);
            floor = all.logit((1.0 - top_p) / select::count_as_f32(logits.len())).min(all.max);
        }
        if min_p > 0.0 {
            let peak = select::peak(logits).logit;
            floor = floor.max(min_p_floor(device, peak, temperature, min_p));
        }
        floor
    }
}

/// The smallest logit that is at least `min_p` times as probable as `peak`.
fn min_p_floor(device: &Device, peak: f32, temperature: f32, min_p: f32) -> f32 {
    // The distribution of one token: its probability is 1.
    log_softmax::row(device, &[peak], temperature).logit(min_p).min(peak)
}

/// Cuts sorted candidates to the fewest first ones whose probabilities reach `top_p`: out of the
/// candidates' own sum if `top_k` chose them, else out of the whole row's.
fn keep_nucleus(
    device: &Device,
    row: &[f32],
    sampling: &Sampling,
    candidates: &mut Vec<Candidate>,
    logits: &mut Vec<f32>,
) {
    let Sampling { temperature, top_k, top_p, .. } = *sampling;
    let all = if top_k > 0 && top_k < row.len() {
        logits.clear();
        logits.extend(candidates.iter().map(|c| c.logit));
        log_softmax::row(device, logits, temperature)
    } else {
        log_softmax::row(device, row, temperature)
    };
    let mut sum = 0.0_f64;
    let reaches = |c: &Candidate| {
        sum += f64::from(all.probability(c.logit));
        sum >= f64::from(top_p)
    };
    let last = candidates.iter().position(reaches);
    candidates.truncate(last.map_or(candidates.len(), |last| last + 1));
}

/// The log-probability of a token at a temperature, and so many of the best alternatives; `None` if
/// the logits are not finite.
pub(crate) fn logprob(
    device: &Device,
    logits: &[f32],
    asked: (u32, f32, usize),
    scratch: &mut Scratch,
) -> Option<TokenLogprob> {
    select::finite_peak(logits)?;
    Some(finite_logprob(device, logits, asked, scratch))
}

fn finite_logprob(
    device: &Device,
    logits: &[f32],
    (token, temperature, alternatives): (u32, f32, usize),
    scratch: &mut Scratch,
) -> TokenLogprob {
    let all = log_softmax::row(device, logits, temperature);
    select::top(logits, alternatives, &mut scratch.candidates);
    let best = scratch.candidates.iter().map(|c| (c.token, all.logprob(c.logit)));
    TokenLogprob {
        token,
        logprob: all.logprob(logits[token as usize]),
        alternatives: best.collect(),
    }
}
