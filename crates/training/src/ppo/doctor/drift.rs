//! Whether the drift from the reference can be one.

use super::{Diagnosis, Finding};
use crate::per_token::count;
use crate::ppo::PpoOptions;
use crate::ppo::step::Experience;

/// How unlikely a sum of drift is that is called impossible: one case in a thousand million, in nats.
pub(super) const IMPOSSIBLE: f64 = 20.723_265_836_946_41;

pub(super) const BELOW_ZERO: Diagnosis = Diagnosis::fault(
    "drift-below-zero",
    "completions are on the whole likelier under the reference than under the policy that sampled \
     them, which chance does not explain: they were not drawn from the policy at the temperature",
    "sample without constraints at ppo.temperature; where nothing else is set, report it with the \
     recipe",
);

/// The sum of the drift of all completions is not far below 0.
///
/// Of completions drawn from the policy, the mean of `exp(-Σ drift)` is at most 1, whatever the
/// reference; so by Markov's inequality the sum is below `-nats` in at most one case of `exp(nats)`.
/// No deviation is estimated, which would be too small where single completions drift far.
pub(super) fn below_zero(experience: &Experience, _: &PpoOptions) -> Option<Finding> {
    let sum = experience.logprobs.sum() - experience.reference_logprobs.sum();
    let evidence = [("nats", sum), ("completions", count(experience.rollouts.len()))];
    (sum < -IMPOSSIBLE).then(|| BELOW_ZERO.found(experience.step, &evidence))
}

pub(super) const BEGINS_ELSEWHERE: Diagnosis = Diagnosis::fault(
    "reference-is-another-model",
    "the policy begins as the reference, but in the first step their log-probabilities differ: one of \
     them is of other weights, another temperature or other positions",
    "check that the stage's folder belongs to this run, and report it with the recipe",
);

/// In step 1 the policy is the reference to the bit, where it begins as that.
pub(super) fn begins_elsewhere(experience: &Experience, options: &PpoOptions) -> Option<Finding> {
    if experience.step != 1 || !options.begins_as_reference {
        return None;
    }
    let pairs = experience.logprobs.flat().iter().zip(experience.reference_logprobs.flat());
    let (token, (own, reference)) =
        pairs.enumerate().find(|(_, (own, reference))| own.to_bits() != reference.to_bits())?;
    let evidence = [("token", count(token)), ("policy", *own), ("reference", *reference)];
    Some(BEGINS_ELSEWHERE.found(experience.step, &evidence))
}

pub(super) const NOT_SAMPLED: Diagnosis = Diagnosis::fault(
    "policy-is-not-the-sampled-one",
    "a token was sampled with another log-probability than the policy finds before its first update; \
     both come from the same kernels and must be equal to the bit",
    "report it with the recipe and the CPU's name",
);

/// A token of the first minibatch has not the log-probability that was recorded while decoding.
pub(in crate::ppo) fn not_sampled(
    step: u64,
    (completion, token): (usize, usize),
    (recorded, found): (f64, f64),
) -> Finding {
    let evidence = [
        ("completion", count(completion)),
        ("token", count(token)),
        ("recorded", recorded),
        ("found", found),
    ];
    NOT_SAMPLED.found(step, &evidence)
}
