//! Weights and how they follow their gradients.

use std::path::Path;

use artifacts::folder::NewFolder;
use engine::ops::adamw::{self, AdamWOptions, AdamWState, EpsilonForm};
use engine::ops::muon::{self, Momentum, MuonOptions, MuonScale, MuonState};
use engine::{Device, Tensor};
use model::trainable::{Parameter, ParameterKind};

use crate::Error;
use crate::checkpoint::{Named, read_tensors, write_tensors};
use crate::recipe::{OptimizerKind, StageRecipe};

/// Memory of the mean of gradients under Muon.
const MUON_MOMENTUM: f64 = 0.95;

/// The state of an optimizer for every weight of a model or a head.
#[derive(Debug)]
pub struct Optimizer {
    device: Device,
    options: OptimizerOptions,
    states: Vec<State>,
}

/// What does not change over a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerOptions {
    /// How weights follow their gradients.
    pub kind: OptimizerKind,
    /// Share of a matrix, times the rate, that goes in each step.
    pub weight_decay: f64,
    /// Memory of the mean of gradients.
    pub beta1: f64,
    /// Memory of the mean of their squares.
    pub beta2: f64,
    /// Keeps weights with tiny gradients from moving far.
    pub epsilon: f64,
    /// Where epsilon is added.
    pub epsilon_form: EpsilonForm,
    /// The rate of matrices under Muon, as a multiple of the others'.
    pub muon_share: f64,
}

impl StageRecipe {
    /// How the weights of the stage follow their gradients.
    #[must_use]
    pub fn optimizer_options(&self) -> OptimizerOptions {
        OptimizerOptions {
            kind: self.optimizer,
            weight_decay: self.weight_decay,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            epsilon_form: EpsilonForm::AfterCorrection,
            muon_share: self.muon_rate.unwrap_or(self.learning_rate) / self.learning_rate,
        }
    }
}

/// What is remembered of one weight's gradients.
#[derive(Debug)]
enum State {
    AdamW { first_moments: Tensor, second_moments: Tensor, decays: bool },
    Muon { momentum: Tensor },
}

impl Optimizer {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new(device: &Device, parameters: &[Parameter], options: OptimizerOptions) -> Self {
        let states = parameters.iter();
        let states = states.map(|parameter| State::new(device, parameter, options.kind));
        Self { device: device.clone(), options, states: states.collect() }
    }

    /// Moves all weights by one step, counted from 1.
    ///
    /// Gradients count `factor` times, which is what clipping leaves of them.
    pub fn step(
        &mut self,
        (weights, gradients): (&mut [Tensor], &[Tensor]),
        step: u64,
        rate: f64,
        factor: f32,
    ) {
        let Self { device, options, states } = self;
        for ((weights, gradients), state) in weights.iter_mut().zip(gradients).zip(states) {
            match state {
                State::AdamW { first_moments, second_moments, decays } => {
                    let options = options.adamw(rate, *decays);
                    let state = AdamWState { weights, first_moments, second_moments };
                    adamw::step(device, &options, step, state, gradients, factor);
                }
                State::Muon { momentum } => {
                    let state = MuonState { weights, momentum };
                    muon::step(device, &options.muon(rate), state, gradients, factor);
                }
            }
        }
    }

    /// Writes the state into a file of a checkpoint.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    pub fn write(
        &self,
        folder: &mut NewFolder<'_>,
        file: &str,
        parameters: &[Parameter],
    ) -> Result<(), artifacts::Error> {
        let named = self.states.iter().zip(parameters).flat_map(|(state, parameter)| {
            state.tensors().map(|(what, tensor)| Named { name: name(parameter, what), tensor })
        });
        write_tensors(folder, file, &named.collect::<Vec<_>>())
    }

    /// Reads the state back.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or was written of another model or optimizer.
    pub fn read(&mut self, path: &Path, parameters: &[Parameter]) -> Result<(), Error> {
        let named = self.states.iter_mut().zip(parameters).flat_map(|(state, parameter)| {
            state.tensors_mut().map(|(what, tensor)| (name(parameter, what), tensor))
        });
        read_tensors(path, named)
    }
}

impl OptimizerOptions {
    /// Of those that never learn.
    pub(crate) const NONE: Self = Self {
        kind: OptimizerKind::Adamw,
        weight_decay: 0.0,
        beta1: 0.0,
        beta2: 0.0,
        epsilon: 1.0,
        epsilon_form: EpsilonForm::AfterCorrection,
        muon_share: 1.0,
    };

    fn adamw(&self, learning_rate: f64, decays: bool) -> AdamWOptions {
        AdamWOptions {
            learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            epsilon_form: self.epsilon_form,
            weight_decay: if decays { self.weight_decay } else { 0.0 },
        }
    }

    fn muon(&self, rate: f64) -> MuonOptions {
        MuonOptions {
            learning_rate: rate * self.muon_share,
            momentum: MUON_MOMENTUM,
            form: Momentum::Nesterov,
            scale: MuonScale::AdamW,
            weight_decay: self.weight_decay,
        }
    }
}

impl State {
    fn new(device: &Device, parameter: &Parameter, kind: OptimizerKind) -> Self {
        let [rows, columns] = parameter.shape;
        let zeros = || Tensor::zeros(device, rows, columns);
        match (kind, parameter.kind) {
            (OptimizerKind::Muon, ParameterKind::Matrix) => Self::Muon { momentum: zeros() },
            (_, kind) => Self::AdamW {
                first_moments: zeros(),
                second_moments: zeros(),
                decays: kind != ParameterKind::Vector,
            },
        }
    }

    fn tensors(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let (first, second) = match self {
            Self::AdamW { first_moments, second_moments, .. } => {
                (("first_moments", first_moments), Some(("second_moments", second_moments)))
            }
            Self::Muon { momentum } => (("momentum", momentum), None),
        };
        std::iter::once(first).chain(second)
    }

    fn tensors_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Tensor)> {
        let (first, second) = match self {
            Self::AdamW { first_moments, second_moments, .. } => {
                (("first_moments", first_moments), Some(("second_moments", second_moments)))
            }
            Self::Muon { momentum } => (("momentum", momentum), None),
        };
        std::iter::once(first).chain(second)
    }
}

/// A tensor of the state by the first of the weight's own names.
fn name(parameter: &Parameter, what: &str) -> String {
    let weight = parameter.parts.first().map_or("", |(name, _)| name.as_str());
    format!("{weight}.{what}")
}
