//! Signs that values foretell nothing.

use super::{Background, Diagnosis, Finding, last, mean, now};
use crate::ppo::PpoMetrics;

/// Steps that values are given before they are judged, and over which they are.
const WINDOW: usize = 20;

pub(in crate::ppo::doctor) const DEAD: Diagnosis = Diagnosis::sign(
    "values-foretell-nothing",
    "for many steps values have been farther from the returns than their mean is, which adds noise to \
     every advantage",
    "take ppo.values = \"own\", or raise ppo.learning_rate, or ppo.value_coefficient where values are \
     on the trunk",
);

/// Values explain something of the returns in the end.
pub(super) fn dead(steps: &[PpoMetrics], _: &Background) -> Option<Finding> {
    // The first steps are those in which they learn.
    let explained = mean(last(steps.get(WINDOW..)?, WINDOW)?, |m| m.explained_variance);
    let evidence = [("explained variance", explained)];
    (explained < -0.1).then(|| DEAD.found(now(steps), &evidence))
}
