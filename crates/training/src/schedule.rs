//! How far a step goes: the learning rate over a run.
//!
//! It rises in a line from 0 over the warm-up and then falls as its shape says, to a share of the
//! peak at the last step. Step 0 is the first, and its rate is above 0.
//!
//! Sources: Loshchilov and Hutter 2017, "SGDR", arXiv:1608.03983 (cosine); Hu et al. 2024,
//! "MiniCPM", arXiv:2404.06395, section 4 (warm-up, stable, decay).

use serde::{Deserialize, Serialize};

use crate::recipe::StageRecipe;

/// How the rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// It stays.
    Constant,
    /// In a line.
    Linear,
    /// Along half a wave: slowly, fast, slowly.
    #[default]
    Cosine,
    /// It stays until the last fifth of the run and falls in a line there.
    WarmupStableDecay,
}

/// The rate of every step of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// Steps of the run.
    pub steps: u64,
    /// Steps until the peak.
    pub warmup_steps: u64,
    /// How it falls from there.
    pub shape: Shape,
    /// The last step's rate as a share of the peak, from 0 to 1.
    pub final_share: f64,
}

/// The part of a run over which [`Shape::WarmupStableDecay`] falls: one in so many steps.
const DECAY_PART: u64 = 5;

impl Schedule {
    /// The rates that a recipe asks for over so many steps.
    #[must_use]
    pub fn new(recipe: &StageRecipe, steps: u64) -> Self {
        Self {
            peak: recipe.learning_rate,
            steps,
            warmup_steps: recipe.warmup_steps,
            shape: recipe.schedule,
            final_share: recipe.final_share,
        }
    }

    /// The rate of a step, counted from 0; steps past the last have the last one's.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^52 steps")]
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let last = self.steps.saturating_sub(1);
        let first = match self.shape {
            Shape::WarmupStableDecay => {
                last.saturating_sub(self.steps / DECAY_PART).max(self.warmup_steps)
            }
            Shape::Constant | Shape::Linear | Shape::Cosine => self.warmup_steps,
        };
        let passed = step.min(last).saturating_sub(first) as f64;
        let fallen = if last > first { passed / (last - first) as f64 } else { 1.0 };
        let share = match self.shape {
            Shape::Constant => 1.0,
            Shape::Linear | Shape::WarmupStableDecay => 1.0 - fallen,
            Shape::Cosine => 0.5 * (1.0 + engine::cosine(std::f64::consts::PI * fallen)),
        };
        let lowest = if self.shape == Shape::Constant { 1.0 } else { self.final_share };
        self.peak * (lowest + (1.0 - lowest) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(shape: Shape, steps: u64, warmup_steps: u64) -> Vec<f64> {
        let schedule = Schedule { peak: 2.0, steps, warmup_steps, shape, final_share: 0.1 };
        (0..steps + 2).map(|step| schedule.rate(step)).collect()
    }

    #[track_caller]
    fn assert_near(actual: &[f64], expected: &[f64]) {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
        assert!(
            actual.len() == expected.len() && actual.iter().zip(expected).all(near),
            "{actual:?}"
        );
    }

    #[test]
    fn examples_by_hand() {
        let warmup = [0.5, 1.0, 1.5, 2.0];
        let constant = rates(Shape::Constant, 8, 4);
        assert_near(&constant, &[&warmup[..], &[2.0; 6]].concat());
        let linear = rates(Shape::Linear, 9, 4);
        assert_near(&linear, &[&warmup[..], &[2.0, 1.55, 1.1, 0.65, 0.2, 0.2, 0.2]].concat());
        let cosine = rates(Shape::Cosine, 7, 4);
        assert_near(&cosine, &[&warmup[..], &[2.0, 1.1, 0.2, 0.2, 0.2]].concat());
        let stable = rates(Shape::WarmupStableDecay, 10, 2);
        assert_near(&stable[..3], &[1.0, 2.0, 2.0]);
        assert_near(&stable[6..], &[2.0, 2.0, 1.1, 0.2, 0.2, 0.2]);
    }

    #[test]
    fn every_rate_of_every_schedule_is_between_zero_and_the_peak() {
        for shape in [Shape::Constant, Shape::Linear, Shape::Cosine, Shape::WarmupStableDecay] {
            for steps in 1..40_u32 {
                for warmup_steps in 0..=steps + 1 {
                    let rates = rates(shape, steps.into(), warmup_steps.into());
                    assert!(rates.iter().all(|&rate| rate > 0.0 && rate <= 2.0), "{rates:?}");
                    let fall = rates.iter().skip(warmup_steps as usize);
                    assert!(fall.is_sorted_by(|a, b| a >= b), "{shape:?} {steps} {warmup_steps}");
                }
            }
        }
    }
}
