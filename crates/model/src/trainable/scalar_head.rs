//! A head of one number a token, in place of the vocabulary's or beside it: the score of a reward
//! model, the value of a state.

use engine::ops::scalar_head;
use engine::{Device, Tensor, random};

use super::{Parameter, ParameterKind};

/// `output = x · weight + offset` with `x` the last norm's output; the weight learns, and has a
/// gradient. There is no bias that learns, as in Hugging Face's models for sequence classification:
/// losses on differences of scores could not move it.
#[derive(Debug)]
pub struct ScalarHead {
    /// `[1, width]`
    weight: Tensor,
    gradient: Tensor,
    offset: f32,
}

impl ScalarHead {
    /// A head drawn from the seed, with a standard deviation of `1 / sqrt(width + 1)`.
    ///
    /// Source: Stiennon et al. 2020, "Learning to summarize from human feedback", arXiv:2009.01325;
    /// the root, which the paper's text lacks, is that of its code and of Ziegler et al. 2019.
    #[must_use]
    pub fn new(device: &Device, width: usize, seed: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a model is not that wide")]
        let deviation = 1.0 / ((width + 1) as f32).sqrt();
        let draw = |index| deviation * random::normal(seed, index);
        let values: Vec<f32> = (0..).take(width).map(draw).collect();
        Self::with_weight(device, &values, 0.0)
    }

    /// A head with these weights; `offset` is added to its output and stays as it is.
    #[must_use]
    pub fn with_weight(device: &Device, weight: &[f32], offset: f32) -> Self {
        let width = weight.len();
        let weight = Tensor::from_slice(device, 1, width, weight);
        Self { weight, gradient: Tensor::zeros(device, 1, width), offset }
    }

    /// What it is to an optimizer.
    #[must_use]
    pub fn parameter(&self) -> Parameter {
        let (name, shape) = ("score.weight".to_owned(), [1, self.weight.columns()]);
        Parameter { parts: vec![(name, 1)], kind: ParameterKind::Table, shape }
    }

    /// The weight, `[1, width]`.
    #[must_use]
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// What is added to each output.
    #[must_use]
    pub fn offset(&self) -> f32 {
        self.offset
    }

    /// The weight to be changed, with the gradient that was accumulated since
    /// [`Self::clear_gradient`].
    pub fn weight_and_gradient(&mut self) -> (&mut Tensor, &Tensor) {
        (&mut self.weight, &self.gradient)
    }

    /// Sets the gradient to zero.
    pub fn clear_gradient(&mut self, device: &Device) {
        self.gradient.clear(device);
    }

    /// The output of each row of the last norm's output.
    pub(super) fn outputs(&self, device: &Device, normed: &Tensor) -> Vec<f32> {
        let mut outputs = scalar_head::forward(device, normed, &self.weight);
        outputs.iter_mut().for_each(|output| *output += self.offset);
        outputs
    }

    /// Adds to the gradients of the last norm's output and of the weight.
    pub(super) fn accumulate(
        &mut self,
        device: &Device,
        d_normed: &mut Tensor,
        d_outputs: &[f32],
        normed: &Tensor,
    ) {
        let gradients = (d_normed, &mut self.gradient);
        scalar_head::backward(device, gradients, d_outputs, normed, &self.weight);
    }
}

#[cfg(test)]
mod tests {
    use engine::DeviceOptions;

    use super::*;

    #[test]
    fn a_head_begins_with_the_root_of_its_width() {
        let device = Device::cpu(&DeviceOptions::default()).unwrap();
        let width = 4095;
        let weight = ScalarHead::new(&device, width, 3).weight().to_vec();
        let mean = weight.iter().sum::<f32>() / 4095.0;
        let variance = weight.iter().map(|w| (w - mean) * (w - mean)).sum::<f32>() / 4095.0;
        // 1 / 64, and not 1 / 4096; four standard errors are 4.4 %.
        assert!((variance.sqrt() * 64.0 - 1.0).abs() < 0.045, "{}", variance.sqrt());
        assert!((mean * 64.0).abs() < 4.0 / 64.0, "{mean}");
        assert!(weight != ScalarHead::new(&device, width, 4).weight().to_vec());
    }
}
