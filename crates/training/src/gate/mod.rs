//! Whether a new model takes the place of the old one.
//!
//! 1. [`EProcess`] hears blinded pairs, one after the other, until the new model is shown to win more
//!    than half of them, or there are no more.
//! 2. [`judge`] adds the bounds within which a model that wins may have become worse elsewhere, and
//!    gives its reasons.
//!
//! Nothing is measured here: the gate judges the numbers that it is handed.

mod bounds;
mod eprocess;
mod tally;

pub use bounds::{Bounds, Decision, Judgment, Measured, Reason, judge};
pub use eprocess::{Blinded, EProcess, TestOptions, Verdict};
pub use tally::{Tally, lengths_match};
