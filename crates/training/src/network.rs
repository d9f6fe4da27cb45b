//! A transformer that learns from people, with the head of one number that it may have: a policy, a
//! reward model, a value model.

use std::path::Path;

use artifacts::folder::NewFolder;
use engine::ops::gradient_norm;
use engine::{Device, Tensor};
use model::trainable::{Documents, Parameter, ScalarHead, Trainable};

use crate::Error;
use crate::average::MovingAverage;
use crate::checkpoint::{Named, read_tensors, write_tensors};
use crate::optimizer::{Optimizer, OptimizerOptions};
use crate::packed::Packed;

/// What the head is called in a file, which is its name in Hugging Face's models for sequence
/// classification.
const HEAD_NAME: &str = "score.weight";

/// A model with its optimizer.
#[derive(Debug)]
pub struct Network {
    /// The transformer.
    pub trunk: Trainable,
    /// One number a token, beside or in place of the head of the vocabulary.
    pub head: Option<ScalarHead>,
    /// What is kept of the trunk in place of its last weights, if anything is.
    pub average: Option<MovingAverage>,
    optimizer: Optimizer,
    head_optimizer: Optimizer,
    /// Updates so far, which the optimizer's own corrections count.
    updates: u64,
}

/// How large a step is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stride {
    /// The learning rate.
    pub rate: f64,
    /// Longer gradients are shortened to this norm.
    pub clip: f64,
}

/// What became of an update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Updated {
    /// The norm of all gradients before they were clipped.
    pub gradient_norm: f64,
    /// Whether weights were moved: not where a gradient was not finite.
    pub applied: bool,
}

impl Network {
    /// A model that has not learned yet.
    #[must_use]
    pub fn new(trunk: Trainable, head: Option<ScalarHead>, options: OptimizerOptions) -> Self {
        let device = trunk.device().clone();
        let optimizer = Optimizer::new(&device, trunk.parameters(), options);
        let parameters: Vec<_> = head.iter().map(ScalarHead::parameter).collect();
        let head_optimizer = Optimizer::new(&device, &parameters, options);
        Self { trunk, head, average: None, optimizer, head_optimizer, updates: 0 }
    }

    /// A model that does not learn any more. A trunk that was not frozen keeps what it needs to learn.
    #[must_use]
    pub fn frozen(trunk: Trainable, head: Option<ScalarHead>) -> Self {
        let device = trunk.device().clone();
        let nothing = || Optimizer::new(&device, &[], OptimizerOptions::NONE);
        let (optimizer, head_optimizer) = (nothing(), nothing());
        Self { trunk, head, average: None, optimizer, head_optimizer, updates: 0 }
    }

    /// Sets all gradients to zero.
    pub fn clear_gradients(&mut self) {
        self.trunk.clear_gradients();
        if let Some(head) = &mut self.head {
            head.clear_gradient(self.trunk.device());
        }
    }

    /// The norm of all gradients that were accumulated.
    pub(crate) fn gradient_norm(&mut self) -> f64 {
        let device = self.trunk.device().clone();
        let trunk = gradient_norm::norm(&device, self.trunk.gradients());
        let head = self.head.as_mut().map_or(0.0, |head| {
            gradient_norm::norm(&device, std::slice::from_ref(head.weight_and_gradient().1))
        });
        (trunk * trunk + head * head).sqrt()
    }

    /// Moves all weights along the gradients that were accumulated.
    pub fn update(&mut self, stride: Stride) -> Updated {
        let gradient_norm = self.gradient_norm();
        let Some(factor) = gradient_norm::clip_factor(gradient_norm, stride.clip) else {
            return Updated { gradient_norm, applied: false };
        };
        self.updates += 1;
        let (updates, rate) = (self.updates, stride.rate);
        self.optimizer.step(self.trunk.weights_and_gradients(), updates, rate, factor);
        self.trunk.refresh();
        if let Some(head) = &mut self.head {
            let (weight, gradient) = head.weight_and_gradient();
            let own = (std::slice::from_mut(weight), std::slice::from_ref(gradient));
            self.head_optimizer.step(own, updates, rate, factor);
        }
        if let Some(average) = &mut self.average {
            average.follow(&self.trunk);
        }
        Updated { gradient_norm, applied: true }
    }

    /// What the head says at the rows of each sequence that count.
    ///
    /// # Panics
    ///
    /// Panics without a head.
    pub(crate) fn outputs(&mut self, packed: &Packed) -> Vec<Vec<f64>> {
        let head = self.head.as_ref().expect("a network that is asked for numbers has a head");
        let outputs = self.trunk.outputs(packed.documents(), head);
        let of_rows = |rows: &std::ops::Range<usize>| {
            outputs[rows.clone()].iter().map(|&output| f64::from(output)).collect()
        };
        packed.rows().iter().map(of_rows).collect()
    }

    /// As [`Trainable::accumulate_outputs`].
    ///
    /// # Panics
    ///
    /// Panics without a head.
    pub(crate) fn accumulate_outputs(
        &mut self,
        documents: Documents<'_>,
        slopes: impl FnOnce(&[f32]) -> Vec<f32>,
    ) {
        let head = self.head.as_mut().expect("a network that learns numbers has a head");
        let _ = self.trunk.accumulate_outputs(documents, head, slopes);
    }

    /// Updates so far.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Writes what the network needs to learn on, the trunk aside: head and optimizers.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    pub(crate) fn write_state(
        &self,
        folder: &mut NewFolder<'_>,
        files: &StateFiles,
    ) -> Result<(), artifacts::Error> {
        self.optimizer.write(folder, files.optimizer, self.trunk.parameters())?;
        let Some(head) = &self.head else { return Ok(()) };
        Self::write_head(head, folder, files.head)?;
        self.head_optimizer.write(folder, files.head_optimizer, &[head.parameter()])
    }

    /// Reads it back, after so many updates.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read, or was written of another network.
    pub(crate) fn read_state(
        &mut self,
        folder: &Path,
        files: &StateFiles,
        updates: u64,
    ) -> Result<(), Error> {
        self.updates = updates;
        self.optimizer.read(&folder.join(files.optimizer), self.trunk.parameters())?;
        let Some(head) = &mut self.head else { return Ok(()) };
        let (device, own) = (self.trunk.device(), (head.weight().columns(), head.offset()));
        *head = Self::read_head(device, &folder.join(files.head), own)?;
        self.head_optimizer.read(&folder.join(files.head_optimizer), &[head.parameter()])
    }

    /// Writes the weights of the trunk into one file, for those that are no model of their own.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    pub(crate) fn write_trunk(
        &self,
        folder: &mut NewFolder<'_>,
        file: &str,
    ) -> Result<(), artifacts::Error> {
        let named = |(parameter, tensor): (&Parameter, _)| Named { name: name(parameter), tensor };
        let pairs = self.trunk.parameters().iter().zip(self.trunk.weights());
        write_tensors(folder, file, &pairs.map(named).collect::<Vec<_>>())
    }

    /// Reads them back.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or was written of another model.
    pub(crate) fn read_trunk(&mut self, path: &Path) -> Result<(), Error> {
        let names: Vec<String> = self.trunk.parameters().iter().map(name).collect();
        let (weights, _) = self.trunk.weights_and_gradients();
        read_tensors(path, names.into_iter().zip(weights))?;
        self.trunk.refresh();
        Ok(())
    }

    /// Writes the head into a file of a checkpoint.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    pub(crate) fn write_head(
        head: &ScalarHead,
        folder: &mut NewFolder<'_>,
        file: &str,
    ) -> Result<(), artifacts::Error> {
        write_tensors(folder, file, &[Named { name: HEAD_NAME.to_owned(), tensor: head.weight() }])
    }

    /// Reads a head for a model of this width.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or is the head of a model of another width.
    pub(crate) fn read_head(
        device: &Device,
        path: &Path,
        (width, offset): (usize, f32),
    ) -> Result<ScalarHead, Error> {
        let mut weight = Tensor::zeros(device, 1, width);
        read_tensors(path, std::iter::once((HEAD_NAME.to_owned(), &mut weight)))?;
        Ok(ScalarHead::with_weight(device, &weight.to_vec(), offset))
    }
}

/// Where the state of a network lies in a checkpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StateFiles {
    pub optimizer: &'static str,
    pub head: &'static str,
    pub head_optimizer: &'static str,
}

/// What a weight is called in a file: by the first of its own names.
fn name(parameter: &Parameter) -> String {
    parameter.parts.first().map_or_else(String::new, |(name, _)| name.clone())
}
