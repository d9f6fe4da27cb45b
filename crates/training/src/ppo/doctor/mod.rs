//! The doctor: which invariants a step keeps, and what its metrics are a sign of.
//!
//! 1. `examine` looks at what a step knows before anything is learned. What it finds is a fault of
//!    the program or of what it was given; the run ends, and no weight has moved.
//! 2. `examine_thoroughly` computes the same in other ways and compares the bits; it costs several
//!    times what a step does, and is asked for.
//! 3. [`Signs`] reads the metrics of all steps so far. A sign is no proof: the run goes on, unless it
//!    is one that chance does not explain.
//! 4. [`prompts`] compares what is asked in training with what is asked in a chat.
//!
//! Each check is a function of arrays or of metrics that knows no model; beside it stands its
//! [`Diagnosis`]: name, cause, and what to do. docs/ppo.md says which known mistake each is of.

mod completions;
mod drift;
mod estimates;
mod finding;
pub mod prompts;
mod rewards;
mod signs;
#[cfg(test)]
mod tests;
mod thorough;

pub(super) use drift::not_sampled;
pub use finding::{DOCTOR_FILE, Diagnosis, Finding, Findings, Gravity};
pub use signs::{Background, Signs};
pub(super) use thorough::examine_thoroughly;

use super::PpoOptions;
use super::step::Experience;
use crate::Error;

/// One look at a step.
type Check = fn(&Experience, &PpoOptions) -> Option<Finding>;

/// Those of every step, in an order in which a later one may rely on those before.
const CHECKS: [Check; 11] = [
    completions::not_finite,
    completions::above_one,
    completions::after_the_stop,
    completions::ended_otherwise,
    drift::begins_elsewhere,
    drift::below_zero,
    rewards::misplaced,
    rewards::scaled_otherwise,
    estimates::advantages,
    estimates::returns,
    estimates::whitened,
];

/// Ends a step that breaks an invariant, by the first that it breaks.
///
/// # Errors
///
/// [`Error::Fault`].
pub(super) fn examine(experience: &Experience, options: &PpoOptions) -> Result<(), Error> {
    refuse(CHECKS.iter().find_map(|check| check(experience, options)))
}

/// A fault as an error.
fn refuse(finding: Option<Finding>) -> Result<(), Error> {
    finding.map_or(Ok(()), |finding| Err(Error::Fault { finding: Box::new(finding) }))
}

/// Whether two numbers that are computed in two ways differ by more than rounding.
fn differ(left: f64, right: f64) -> bool {
    (left - right).abs() > 1e-9 * (1.0 + left.abs().max(right.abs()))
}
