//! AdamW: Adam with bias correction and decay of the weights apart from it.
//!
//! With `g = gradient * gradient_factor`, of step `t` from 1 on:
//! `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g²`,
//! `m' = m / (1 - beta1^t)`, `v' = v / (1 - beta2^t)`,
//! `w = w - rate * decay * w - rate * m' / (sqrt(v') + epsilon)`; [`EpsilonForm`] says where epsilon
//! may stand instead.
//!
//! Every weight stands alone, so the number of threads changes no bit, and neither does how weights
//! are cut into calls (`parts_and_threads_change_no_bit`). What is the same for all weights is
//! computed in `f64` and rounded once.
//!
//! Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, arXiv:1711.05101.

#[cfg(test)]
mod tests;

use crate::cpu::adamw::{self, Coefficients};
use crate::cpu::lanes;
use crate::math::{Real, double};
use crate::{Device, KernelPath, Tensor};

/// Weights of a task: some tens of microseconds, and buffers that stay in a core's own cache.
const TASK_WEIGHTS: usize = 16_384;

/// Where epsilon stands in the denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpsilonForm {
    /// `sqrt(v / (1 - beta2^t)) + epsilon`: PyTorch, and the paper's Algorithm 1.
    AfterCorrection,
    /// `(sqrt(v) + epsilon) / sqrt(1 - beta2^t)`: TensorFlow 1, and the "epsilon hat" of Kingma and
    /// Ba. Early steps are much smaller where gradients are.
    BeforeCorrection,
    /// `sqrt(v / (1 - beta2^t) + epsilon)`: Optax's `eps_root`.
    InsideRoot,
}

/// How weights follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWOptions {
    /// How far a weight moves in a step, about.
    pub learning_rate: f64,
    /// Memory of the mean of gradients, from 0 to below 1; usually 0.9.
    pub beta1: f64,
    /// Memory of the mean of their squares, from 0 to below 1; usually 0.95 or 0.999.
    pub beta2: f64,
    /// Keeps weights of tiny gradients from moving far; usually 1e-8.
    pub epsilon: f64,
    /// Where epsilon stands.
    pub epsilon_form: EpsilonForm,
    /// Share of a weight, times the learning rate, that goes in each step; 0 for norms and biases.
    pub weight_decay: f64,
}

/// Weights with their moments, which begin as zeros; all of one shape.
#[derive(Debug)]
pub struct AdamWState<'a> {
    /// The weights in `f32`.
    pub weights: &'a mut Tensor,
    /// Running mean of the gradients.
    pub first_moments: &'a mut Tensor,
    /// Running mean of their squares.
    pub second_moments: &'a mut Tensor,
}

/// Moves the weights by one step; weights and moments are overwritten.
///
/// `step` counts from 1. `gradient_factor` is [`clip_factor`](super::gradient_norm::clip_factor)'s,
/// or 1; callers leave a step out if gradients are not finite.
///
/// # Panics
///
/// Panics if the shapes differ, `step` is 0 or a beta is not below 1.
pub fn step(
    device: &Device,
    options: &AdamWOptions,
    step: u64,
    state: AdamWState<'_>,
    gradients: &Tensor,
    gradient_factor: f32,
) {
    let AdamWState { weights, first_moments, second_moments } = state;
    let shape = |tensor: &Tensor| [tensor.rows(), tensor.columns()];
    let shapes = [&*weights, first_moments, second_moments].map(shape);
    assert_eq!(shapes, [shape(gradients); 3], "shapes of weights, moments and gradients");
    let update = Update::new(options, step, f64::from(gradient_factor));
    let coefficients = update.rounded();
    let [weights, first_moments, second_moments] = [weights, first_moments, second_moments]
        .map(|tensor| tensor.values_mut().chunks_mut(TASK_WEIGHTS));
    let inputs = first_moments.zip(second_moments).zip(gradients.values().chunks(TASK_WEIGHTS));
    let mut parts: Vec<_> = weights.zip(inputs).collect();
    device.pool().for_chunks(&mut parts, 1, |_, parts| {
        for (weights, ((first_moments, second_moments), gradients)) in parts {
            if device.kernels() == KernelPath::Reference {
                reference([weights, first_moments, second_moments], gradients, &update);
            } else {
                let part = adamw::AdamW {
                    weights,
                    first_moments,
                    second_moments,
                    gradients,
                    coefficients,
                };
                lanes::run(device.kernels(), part);
            }
        }
    });
}

/// The numbers of a step, in `f64`.
struct Update {
    options: AdamWOptions,
    factor: f64,
    /// `1 - beta^t` of both moments.
    biases: [f64; 2],
    /// Inside and outside of the root of `v / bias`.
    epsilons: [f64; 2],
}

impl Update {
    fn new(options: &AdamWOptions, step: u64, factor: f64) -> Self {
        let betas = [options.beta1, options.beta2];
        assert!(betas.iter().all(|beta| (0.0..1.0).contains(beta)), "{betas:?}: from 0 to below 1");
        assert!(step > 0, "steps count from 1");
        let biases = betas.map(|beta| 1.0 - power(beta, step));
        let epsilons = match options.epsilon_form {
            EpsilonForm::AfterCorrection => [0.0, options.epsilon],
            EpsilonForm::BeforeCorrection => [0.0, options.epsilon / biases[1].sqrt()],
            EpsilonForm::InsideRoot => [options.epsilon, 0.0],
        };
        Self { options: *options, factor, biases, epsilons }
    }

    fn rounded(&self) -> Coefficients {
        let options = &self.options;
        Coefficients {
            factor: f32::rounded(self.factor),
            first: [options.beta1, 1.0 - options.beta1].map(f32::rounded),
            second: [options.beta2, 1.0 - options.beta2].map(f32::rounded),
            keep: f32::rounded(1.0 - options.learning_rate * options.weight_decay),
            rate: f32::rounded(options.learning_rate / self.biases[0]),
            correction: f32::rounded(1.0 / self.biases[1]),
            epsilons: self.epsilons.map(f32::rounded),
        }
    }
}

/// `base^exponent` for a base between 0 and 1, the same on every machine.
fn power(base: f64, exponent: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "steps have far fewer than 53 bits")]
    let exponent = exponent as f64;
    double::exp(exponent * double::log(base))
}

fn reference<T: Real>(
    [weights, first_moments, second_moments]: [&mut [T]; 3],
    gradients: &[T],
    update: &Update,
) {
    let options = &update.options;
    for (index, &gradient) in gradients.iter().enumerate() {
        let gradient = gradient.into() * update.factor;
        let (m, v) = (first_moments[index].into(), second_moments[index].into());
        let m = options.beta1 * m + (1.0 - options.beta1) * gradient;
        let v = options.beta2 * v + (1.0 - options.beta2) * gradient * gradient;
        let [inside, outside] = update.epsilons;
        let root = (v / update.biases[1] + inside).sqrt() + outside;
        let weight = weights[index].into();
        let decay = options.learning_rate * options.weight_decay * weight;
        let change = options.learning_rate * (m / update.biases[0]) / root;
        weights[index] = T::rounded(weight - decay - change);
        first_moments[index] = T::rounded(m);
        second_moments[index] = T::rounded(v);
    }
}
