//! What a step relies on, computed in other ways and compared to the bit: for `--doctor`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Diagnosis, Finding, refuse};
use crate::per_token::count;
use crate::ppo::Ppo;
use crate::ppo::rollouts::{self, RolloutOptions, Rollouts};
use crate::ppo::step::{Experience, MICRO_TOKENS, packed};
use crate::{Error, PerToken};

/// Draws of one token whose frequencies are compared with their probabilities.
const DRAWS: usize = 512;
/// Expected draws of a token that is counted by itself.
const CELL: f64 = 5.0;
/// Deviations of the normal distribution that chance does not explain.
const DEVIATIONS: f64 = 6.0;

pub(super) const ALONE: Diagnosis = Diagnosis::fault(
    "depends-on-the-batch",
    "a completion has other log-probabilities or values alone than beside others: something of its \
     neighbors, of padding or of positions counts",
    "report it with the recipe and the CPU's name",
);

pub(super) const MICRO_BATCHES: Diagnosis = Diagnosis::fault(
    "depends-on-micro-batches",
    "the gradient of a minibatch depends on how it is cut into micro-batches",
    "report it with the recipe and the CPU's name",
);

pub(super) const FREQUENCIES: Diagnosis = Diagnosis::fault(
    "drawn-otherwise",
    "tokens are not drawn as often as their probabilities say: greedily, from another temperature, or \
     from a part of the vocabulary",
    "sample without constraints at ppo.temperature; where nothing else is set, report it with the \
     recipe",
);

/// Ends a step whose numbers come out differently on another way; the policy's gradients are cleared.
///
/// # Errors
///
/// [`Error::Fault`]; where tokens cannot be sampled.
pub(in crate::ppo) fn examine_thoroughly(
    ppo: &mut Ppo,
    experience: &Experience,
) -> Result<(), Error> {
    refuse(alone(experience, &recomputed(ppo, experience)))?;
    let whole = ppo.gradient_of_first_minibatch(experience, MICRO_TOKENS)?;
    // So few tokens that each completion is a micro-batch.
    let cut = ppo.gradient_of_first_minibatch(experience, 1)?;
    refuse(same_gradient(experience.step, &whole, &cut))?;
    let served = Arc::new(ppo.policy.trunk.served()?);
    let options = RolloutOptions { completion_tokens: 1, ..ppo.options.rollouts.clone() };
    let prompts = vec![experience.rollouts[0].prompt.clone(); DRAWS];
    // Steps are counted from 1 upward: these draws are of no step.
    let series = (ppo.seed, u64::MAX - experience.step);
    let Rollouts { rollouts, logprobs } = rollouts::collect(served, &prompts, &options, series)?;
    let tokens = rollouts.iter().map(|rollout| rollout.completion[0]);
    let draws: Vec<(u32, f64)> = tokens.zip(logprobs.flat().iter().copied()).collect();
    refuse(frequencies(experience.step, &draws))
}

/// Log-probabilities of policy and reference, and values.
#[derive(Debug, Clone)]
pub(super) struct Recomputed {
    pub logprobs: PerToken,
    pub reference_logprobs: PerToken,
    pub values: PerToken,
}

/// The same completions, each alone.
fn recomputed(ppo: &mut Ppo, experience: &Experience) -> Recomputed {
    let temperature = ppo.options.rollouts.temperature;
    let mut rows = [const { Vec::new() }; 3];
    for rollout in &experience.rollouts {
        let alone = packed([rollout]);
        let found = ppo.policy.trunk.losses(&alone.micro_batch(temperature)).logprobs;
        let own = found[alone.rows()[0].clone()].iter().map(|&logprob| f64::from(logprob));
        rows[0].push(own.collect());
        let rollout = std::slice::from_ref(rollout);
        rows[1].push(ppo.reference_logprobs(rollout).flat().to_vec());
        rows[2].push(ppo.values(rollout).flat().to_vec());
    }
    let [logprobs, reference_logprobs, values] =
        rows.map(|rows: Vec<Vec<f64>>| PerToken::from_rows(&rows));
    Recomputed { logprobs, reference_logprobs, values }
}

/// What is said of each completion alone is what was said of it beside others.
pub(super) fn alone(experience: &Experience, recomputed: &Recomputed) -> Option<Finding> {
    let pairs = [
        ("log-probability of token", &experience.logprobs, &recomputed.logprobs),
        (
            "reference's log-probability of token",
            &experience.reference_logprobs,
            &recomputed.reference_logprobs,
        ),
        ("value of token", &experience.values, &recomputed.values),
    ];
    for (of, together, alone) in pairs {
        let mut tokens = together.flat().iter().zip(alone.flat()).enumerate();
        let found = tokens.find(|(_, (left, right))| left.to_bits() != right.to_bits());
        if let Some((token, (together, alone))) = found {
            let evidence = [(of, count(token)), ("together", *together), ("alone", *alone)];
            return Some(ALONE.found(experience.step, &evidence));
        }
    }
    None
}

/// Two gradients of one minibatch are the same to the bit.
pub(super) fn same_gradient(step: u64, whole: &[f32], cut: &[f32]) -> Option<Finding> {
    let pairs = || whole.iter().zip(cut);
    let differing = pairs().filter(|(left, right)| left.to_bits() != right.to_bits()).count();
    let farthest = pairs().map(|(left, right)| f64::from((left - right).abs())).fold(0.0, f64::max);
    let evidence = [("numbers that differ", count(differing)), ("by at most", farthest)];
    (differing > 0).then(|| MICRO_BATCHES.found(step, &evidence))
}

/// Tokens are drawn as often as their probabilities say: chi squared over those that are expected
/// [`CELL`] times, and all others together.
///
/// Takes tokens that were drawn in one state, with their log-probabilities. The square is brought to
/// the normal distribution as Wilson and Hilferty 1931, "The distribution of chi-square", do.
pub(super) fn frequencies(step: u64, draws: &[(u32, f64)]) -> Option<Finding> {
    let all = count(draws.len());
    let mut cells: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for &(token, logprob) in draws {
        cells.entry(token).or_insert((all * engine::exp(logprob), 0.0)).1 += 1.0;
    }
    cells.retain(|_, (expected, _)| *expected >= CELL);
    let (expected, drawn) =
        cells.values().fold((0.0, 0.0), |sum, cell| (sum.0 + cell.0, sum.1 + cell.1));
    let (rest, rest_drawn) = ((all - expected).max(1.0), all - drawn);
    let term = |(expected, drawn): (f64, f64)| (drawn - expected) * (drawn - expected) / expected;
    let square = cells.values().copied().map(term).sum::<f64>() + term((rest, rest_drawn));
    let freedom = count(cells.len().max(1));
    let spread = 2.0 / (9.0 * freedom);
    let deviations = ((square / freedom).cbrt() - 1.0 + spread) / spread.sqrt();
    let evidence = [("chi squared", square), ("degrees of freedom", freedom), ("draws", all)];
    (deviations > DEVIATIONS).then(|| FREQUENCIES.found(step, &evidence))
}
