//! Backward: from the gradient of the last norm's output to that of every weight.

use engine::ops::attention::{self, Attended, AttentionRow};
use engine::ops::matmul::{self, Precision, Store};
use engine::ops::rope::RopeTable;
use engine::ops::{embedding, rms_norm, rope, swiglu};
use engine::{Device, Matrix, Order, Tensor};

use crate::adapter::PRODUCTS;

use super::adapted::Learning;
use super::parameters::{BlockPlaces, LinearPlaces};
use super::{Activations, Copies, Documents, Trainable, backward_copy, cache_shape};

impl Trainable {
    /// Adds the gradients of all weights that learn but the head's; `activations.d_normed` holds that of the
    /// last norm's output.
    pub(super) fn backward(&mut self, batch: Documents<'_>, rows: &[AttentionRow<'_>]) {
        let norm = self.places.final_norm;
        let (mut gradients, a) = self.split(self.config.layers);
        let d_stream = (&mut a.d_stream, Store::Overwrite);
        gradients.norm(norm, d_stream, &a.d_normed, &a.stream);
        for layer in (0..self.config.layers).rev() {
            if self.recomputes {
                self.activations.stream.copy_from(&self.activations.inputs[layer]);
                self.keep(layer, batch.positions, rows);
                self.transpose(layer);
            }
            self.feed_forward_backward(layer);
            self.attention_backward(layer, batch.positions, rows);
        }
        let table = match &mut self.lookups {
            Some(lookups) => {
                lookups.pending = true;
                Some(&mut lookups.gradient)
            }
            None => self.gradients.get_mut(self.places.embedding),
        };
        if let Some(table) = table {
            embedding::backward(&self.device, table, &self.activations.d_stream, batch.tokens);
        }
    }

    /// Makes the copies for the gradients of a layer's inputs, where they are not kept.
    fn transpose(&mut self, layer: usize) {
        let Some(transposed) = &mut self.transposed else { return };
        for (copy, linear) in transposed.iter_mut().zip(self.places.blocks[layer].products()) {
            copy.write(&self.device, &self.weights[linear.matrix], Order::Columns);
        }
    }

    fn feed_forward_backward(&mut self, layer: usize) {
        let BlockPlaces { ffn_norm, gate_up, down, .. } = self.places.blocks[layer];
        let place = self.kept(layer);
        let (mut gradients, a) = self.split(layer);
        let (device, kept) = (gradients.device, &a.layers[place]);

        swiglu::forward(device, &mut a.hidden, &kept.gate_up);
        gradients.linear(down, &mut a.d_hidden, &a.d_stream, &a.hidden);
        swiglu::backward(device, &mut a.d_gate_up, &a.d_hidden, &kept.gate_up);
        gradients.normalize_again(ffn_norm, &mut a.normed, &kept.middle);
        gradients.linear(gate_up, &mut a.d_normed, &a.d_gate_up, &a.normed);
        gradients.norm(ffn_norm, (&mut a.d_stream, Store::Add), &a.d_normed, &kept.middle);
    }

    fn attention_backward(&mut self, layer: usize, positions: &[u32], rows: &[AttentionRow<'_>]) {
        let BlockPlaces { attention_norm, qkv, head_norms, attention_output, .. } =
            self.places.blocks[layer];
        let (query, kv) = (self.config.query_width(), self.config.kv_width());
        let shape = cache_shape(&self.config, self.precision);
        let place = self.kept(layer);
        let (mut gradients, a) = self.split(layer);
        let (device, input, kept) = (gradients.device, &a.inputs[layer], &a.layers[place]);

        gradients.linear(attention_output, &mut a.d_attended, &a.d_stream, &kept.attended);
        let attended = Attended { qkv: &kept.qkv, out: &kept.attended, log_sums: &kept.log_sums };
        attention::backward(device, &mut a.d_qkv, &a.d_attended, attended, &shape, rows);
        rope::backward(device, &mut a.d_qkv, 0..query + kv, positions, gradients.rope);
        if let Some([query_norm, key_norm]) = head_norms {
            for (columns, norm) in [(0..query, query_norm), (query..query + kv, key_norm)] {
                let inputs = gradients.norm_inputs(norm, &kept.raw_qkv);
                let d_weight = gradients.all.get_mut(norm);
                rms_norm::backward_heads(device, &mut a.d_qkv, columns, d_weight, &inputs);
            }
        }
        gradients.normalize_again(attention_norm, &mut a.normed, input);
        gradients.linear(qkv, &mut a.d_normed, &a.d_qkv, &a.normed);
        gradients.norm(attention_norm, (&mut a.d_stream, Store::Add), &a.d_normed, input);
    }

    /// The gradients with what they are made from in a layer, and the activations beside them.
    fn split(&mut self, layer: usize) -> (Gradients<'_>, &mut Activations) {
        let gradients = Gradients {
            device: &self.device,
            precision: self.precision,
            epsilon: self.config.norm_epsilon,
            weights: &self.weights,
            copies: &self.copies,
            transposed: self.transposed.as_ref(),
            rope: &self.rope,
            all: &mut self.gradients,
            learning: self.learning.as_mut(),
            layer,
        };
        (gradients, &mut self.activations)
    }
}

/// The gradients of all weights, and what they are made from.
struct Gradients<'a> {
    device: &'a Device,
    precision: Precision,
    epsilon: f32,
    weights: &'a [Tensor],
    copies: &'a [Option<Copies>],
    /// Those of this layer, where not all are kept.
    transposed: Option<&'a [Matrix; PRODUCTS]>,
    rope: &'a RopeTable,
    /// None where an adapter learns.
    all: &'a mut [Tensor],
    learning: Option<&'a mut Learning>,
    layer: usize,
}

impl<'a> Gradients<'a> {
    /// Adds the gradients of a linear layer's weights, or of the adapter beside them, and writes that
    /// of its input.
    fn linear(&mut self, places: LinearPlaces, d_x: &mut Tensor, d_out: &Tensor, x: &Tensor) {
        let LinearPlaces { matrix, bias, product } = places;
        let (device, precision) = (self.device, self.precision);
        if let Some(d_matrix) = self.all.get_mut(matrix) {
            matmul::add_weight_gradient(device, d_matrix, d_out, x, precision);
        }
        if let Some(d_bias) = bias.and_then(|bias| self.all.get_mut(bias)) {
            matmul::add_bias_gradient(device, d_bias, d_out);
        }
        let transposed = match self.transposed {
            Some(of_layer) => &of_layer[product as usize],
            None => backward_copy(self.copies, matrix),
        };
        matmul::forward(device, d_x, d_out, transposed, None, Store::Overwrite);
        if let Some(learning) = &mut self.learning {
            learning.backward(device, (self.layer, product), d_x, d_out, x);
        }
    }

    /// Adds the gradient of a norm's weight, and stores that of its input.
    fn norm(&mut self, norm: usize, d_x: (&mut Tensor, Store), d_out: &Tensor, x: &Tensor) {
        let inputs = self.norm_inputs(norm, x);
        let (d_x, store) = d_x;
        let d_weight = self.all.get_mut(norm);
        let gradients = rms_norm::Gradients { d_x, store, d_weight };
        rms_norm::backward(self.device, gradients, d_out, &inputs);
    }

    /// A norm's output as in the forward pass, which did not keep it.
    fn normalize_again(&self, norm: usize, out: &mut Tensor, x: &Tensor) {
        rms_norm::forward(self.device, out, x, &self.weights[norm], self.epsilon);
    }

    fn norm_inputs<'x>(&self, norm: usize, x: &'x Tensor) -> rms_norm::Inputs<'x>
    where
        'a: 'x,
    {
        let weights: &'a [Tensor] = self.weights;
        rms_norm::Inputs { x, weight: &weights[norm], epsilon: self.epsilon }
    }
}
