//! A moving average of weights that learn: what a policy was over its last updates, rather than what
//! its last one made of it.

use artifacts::folder::NewFolder;
use engine::Tensor;
use model::trainable::Trainable;

use crate::network::Network;

/// The averaged weights of a network's trunk.
///
/// After each update `average = average + (1 - decay) * (weight - average)`, beginning as the weights
/// are.
///
/// Source: Ouyang et al. 2022, arXiv:2203.02155, appendix C.4 (decay 0.992); there is no correction of
/// the beginning, so that a short run stays nearer to where it began.
#[derive(Debug)]
pub struct MovingAverage {
    /// What the step toward the weights counts, `1 - decay`.
    share: f32,
    /// One for each weight of the trunk, in their order.
    weights: Vec<Tensor>,
}

impl MovingAverage {
    /// An average that is what the weights are now.
    ///
    /// # Panics
    ///
    /// Panics unless `decay` is at least 0 and less than 1.
    #[must_use]
    pub fn new(trunk: &Trainable, decay: f64) -> Self {
        assert!((0.0..1.0).contains(&decay), "a decay of {decay}: an average needs less than 1");
        #[expect(clippy::cast_possible_truncation, reason = "rounded once")]
        let share = (1.0 - decay) as f32;
        Self { share, weights: trunk.weights().to_vec() }
    }

    /// Follows the weights after an update.
    pub(crate) fn follow(&mut self, trunk: &Trainable) {
        for (average, weight) in self.weights.iter_mut().zip(trunk.weights()) {
            average.approach(trunk.device(), weight, self.share);
        }
    }

    /// Lets averages and weights change places.
    fn exchange(&mut self, trunk: &mut Trainable) {
        let (weights, _) = trunk.weights_and_gradients();
        weights.iter_mut().zip(&mut self.weights).for_each(|(weight, own)| {
            std::mem::swap(weight, own);
        });
        trunk.refresh();
    }
}

impl Network {
    /// Lets somebody see the trunk as it is kept: with averaged weights where there is an average.
    pub(crate) fn with_kept<T>(&mut self, see: impl FnOnce(&mut Trainable) -> T) -> T {
        let Some(average) = &mut self.average else { return see(&mut self.trunk) };
        average.exchange(&mut self.trunk);
        let seen = see(&mut self.trunk);
        average.exchange(&mut self.trunk);
        seen
    }

    /// Writes the trunk as it is kept, and beside an average the weights that go on learning.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    pub(crate) fn write_kept(
        &mut self,
        folder: &mut NewFolder<'_>,
        learning_file: &str,
    ) -> Result<(), crate::Error> {
        self.with_kept(|trunk| trunk.write(folder))?;
        match self.average {
            Some(_) => Ok(self.write_trunk(folder, learning_file)?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::ops::matmul::Precision;
    use engine::{Device, DeviceOptions};

    use super::*;
    use crate::tiny::{moves, trunk};

    #[test]
    #[expect(clippy::float_cmp, reason = "weights change places")]
    fn an_average_follows_by_its_share_and_weights_come_back() {
        let device = Device::cpu(&DeviceOptions::default()).unwrap();
        let mut network = Network::new(trunk(&device, Precision::F32, 3), None, moves());
        let before = network.trunk.weights()[0].to_vec();
        network.average = Some(MovingAverage::new(&network.trunk, 0.75));
        let (weights, _) = network.trunk.weights_and_gradients();
        weights[0].scale(&device, 3.0);
        network.trunk.refresh();
        let average = network.average.as_mut().unwrap();
        average.follow(&network.trunk);
        average.follow(&network.trunk);
        // A quarter of the way from 1 to 3, then a quarter of what is left: 1.875 times.
        let kept = network.with_kept(|trunk| trunk.weights()[0].to_vec());
        for (kept, before) in kept.iter().zip(&before) {
            assert!((kept - 1.875 * before).abs() <= 1e-6 * before.abs(), "{kept} {before}");
        }
        let now = network.trunk.weights()[0].to_vec();
        assert!(now.iter().zip(&before).all(|(now, before)| *now == 3.0 * before));
    }
}
