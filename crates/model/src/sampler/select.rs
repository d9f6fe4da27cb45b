//! Finds the few tokens that matter in a row of logits, without sorting it.

use std::cmp::Ordering;

/// A token and its logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub token: u32,
    pub logit: f32,
}

impl Candidate {
    /// Larger logits first, ties to the lower id.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.token.cmp(&other.token))
    }
}

/// Values that are looked at together; the compiler keeps a maximum per lane.
const LANES: usize = 16;
/// Values of which one look at their maximum decides whether any is of interest.
const RUN: usize = 64;

/// The token with the largest logit, ties to the lower id; `None` if a logit is not finite.
pub(super) fn finite_peak(logits: &[f32]) -> Option<Candidate> {
    // 0 · x is 0 for every finite x and not a number for all others.
    let mut zeros = [0.0_f32; LANES];
    let mut chunks = logits.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (zero, logit) in zeros.iter_mut().zip(chunk) {
            *zero += logit * 0.0;
        }
    }
    let rest: f32 = chunks.remainder().iter().map(|logit| logit * 0.0).sum();
    let finite = (zeros.iter().sum::<f32>() + rest).is_finite();
    finite.then(|| peak(logits))
}

/// The token with the largest of finite logits, ties to the lower id.
pub(super) fn peak(logits: &[f32]) -> Candidate {
    let logit = maximum(logits);
    let token = logits.iter().position(|other| *other >= logit).unwrap_or(0);
    Candidate { token: id(token), logit }
}

/// The `count` largest logits, best first.
pub(super) fn top(logits: &[f32], count: usize, candidates: &mut Vec<Candidate>) {
    candidates.clear();
    if count == 0 {
        return;
    }
    let room = 2 * count + RUN;
    let mut floor = f32::NEG_INFINITY;
    for (run, values) in logits.chunks(RUN).enumerate() {
        if maximum(values) <= floor {
            continue;
        }
        let above = values.iter().enumerate().filter(|(_, logit)| **logit > floor);
        candidates.extend(
            above.map(|(at, logit)| Candidate { token: id(run * RUN + at), logit: *logit }),
        );
        if candidates.len() >= room {
            candidates.select_nth_unstable_by(count - 1, Candidate::order);
            candidates.truncate(count);
            // Later tokens with this logit lose against the earlier one: they have higher ids.
            floor = candidates[count - 1].logit;
        }
    }
    candidates.sort_unstable_by(Candidate::order);
    candidates.truncate(count);
}

/// All logits not below `floor`, best first.
pub(super) fn at_least(logits: &[f32], floor: f32, candidates: &mut Vec<Candidate>) {
    candidates.clear();
    for (run, values) in logits.chunks(RUN).enumerate() {
        if maximum(values) < floor {
            continue;
        }
        let above = values.iter().enumerate().filter(|(_, logit)| **logit >= floor);
        candidates.extend(
            above.map(|(at, logit)| Candidate { token: id(run * RUN + at), logit: *logit }),
        );
    }
    candidates.sort_unstable_by(Candidate::order);
}

fn maximum(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    let rest = chunks.remainder().iter();
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |most, value| most.max(*value))
}

#[expect(clippy::cast_possible_truncation, reason = "vocabularies are capped far below 2^32")]
fn id(index: usize) -> u32 {
    index as u32
}

/// The size of a vocabulary as a divisor.
#[expect(clippy::cast_precision_loss, reason = "vocabularies are capped at 2^21")]
pub(super) fn count_as_f32(count: usize) -> f32 {
    count as f32
}
