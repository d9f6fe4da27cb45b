//! Where more drift begins to make completions worse: what a judge who was not optimized against says
//! along the way.
//!
//! A reward model is only like the people whose rankings it learned. The more a policy is pushed
//! toward its scores, the more of what is gained is what the model got wrong. The judge's score rises
//! with the distance from the reference, and falls past a peak.
//!
//! 1. [`Meter`]: the policy answers the same prompts with the same draws, and a [`Reading`] says what
//!    the reward model and, where there is one, a [`Judge`] think of the answers.
//! 2. [`Law`], [`Fit`]: how the judge's score goes with the distance.
//! 3. [`Curve`]: the readings of a stage, the law that fits them, and whether its peak is behind.
//! 4. [`best_of`]: the same distance gained by choosing instead of learning.
//!
//! Source: Gao, Schulman and Hilton 2022, "Scaling laws for reward model overoptimization",
//! arXiv:2210.10760.

mod best_of;
mod curve;
mod law;
mod meter;

pub use best_of::{BestOf, best_of, best_of_kl, doublings};
pub use curve::Curve;
pub use law::{Fit, Law, Measured};
pub use meter::{Judge, Meter, Reading};
