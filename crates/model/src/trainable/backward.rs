//! Backward: from the gradient of the last norm's output to that of every weight.

use engine::ops::attention::{self, Attended, AttentionRow};
use engine::ops::matmul::{self, Precision, Store};
use engine::ops::{embedding, rms_norm, rope, swiglu};
use engine::{Device, Tensor};

use super::forward::rows_of;
use super::parameters::LinearPlaces;
use super::{Copies, MicroBatch, Trainable, cache_shape, copies_of};

impl Trainable {
    /// Adds the gradients of all weights but the head's; `activations.d_normed` holds that of the
    /// last norm's output.
    pub(super) fn backward(&mut self, batch: &MicroBatch<'_>) {
        let pages = self.lay_out(batch.positions);
        let rows = rows_of(batch.positions, &pages);
        let place = self.places.final_norm;
        let a = &mut self.activations;
        let inputs = rms_norm::Inputs {
            x: &a.stream,
            weight: &self.weights[place],
            epsilon: self.config.norm_epsilon,
        };
        let gradients = rms_norm::Gradients {
            d_x: &mut a.d_stream,
            store: Store::Overwrite,
            d_weight: Some(&mut self.gradients[place]),
        };
        rms_norm::backward(&self.device, gradients, &a.d_normed, &inputs);
        for layer in (0..self.config.layers).rev() {
            self.feed_forward_backward(layer);
            self.attention_backward(layer, batch.positions, &rows);
        }
        let table = &mut self.gradients[self.places.embedding];
        embedding::backward(&self.device, table, &self.activations.d_stream, batch.tokens);
    }

    fn feed_forward_backward(&mut self, layer: usize) {
        let block = self.places.blocks[layer].clone();
        let (device, epsilon) = (&self.device, self.config.norm_epsilon);
        let a = &mut self.activations;
        let kept = &a.layers[layer];
        let mut linear = Linears {
            device,
            precision: self.precision,
            copies: &self.copies,
            gradients: &mut self.gradients,
        };

        swiglu::forward(device, &mut a.hidden, &kept.gate_up);
        linear.backward(block.down, &mut a.d_hidden, &a.d_stream, &a.hidden);
        swiglu::backward(device, &mut a.d_gate_up, &a.d_hidden, &kept.gate_up);
        let norm = &self.weights[block.ffn_norm];
        rms_norm::forward(device, &mut a.normed, &kept.middle, norm, epsilon);
        linear.backward(block.gate_up, &mut a.d_normed, &a.d_gate_up, &a.normed);
        let inputs = rms_norm::Inputs { x: &kept.middle, weight: norm, epsilon };
        let gradients = rms_norm::Gradients {
            d_x: &mut a.d_stream,
            store: Store::Add,
            d_weight: Some(&mut self.gradients[block.ffn_norm]),
        };
        rms_norm::backward(device, gradients, &a.d_normed, &inputs);
    }

    fn attention_backward(&mut self, layer: usize, positions: &[u32], rows: &[AttentionRow<'_>]) {
        let block = self.places.blocks[layer].clone();
        let (device, epsilon) = (&self.device, self.config.norm_epsilon);
        let (query, kv) = (self.config.query_width(), self.config.kv_width());
        let a = &mut self.activations;
        let kept = &a.layers[layer];
        let mut linear = Linears {
            device,
            precision: self.precision,
            copies: &self.copies,
            gradients: &mut self.gradients,
        };

        linear.backward(block.attention_output, &mut a.d_attended, &a.d_stream, &kept.attended);
        let attended = Attended { qkv: &kept.qkv, out: &kept.attended, log_sums: &kept.log_sums };
        let shape = cache_shape(&self.config, self.precision);
        attention::backward(device, &mut a.d_qkv, &a.d_attended, attended, &shape, rows);
        rope::backward(device, &mut a.d_qkv, 0..query + kv, positions, &self.rope);
        if let Some([query_norm, key_norm]) = block.head_norms {
            for (columns, norm) in [(0..query, query_norm), (query..query + kv, key_norm)] {
                let weight = &self.weights[norm];
                let inputs = rms_norm::Inputs { x: &kept.raw_qkv, weight, epsilon };
                let d_weight = Some(&mut linear.gradients[norm]);
                rms_norm::backward_heads(device, &mut a.d_qkv, columns, d_weight, &inputs);
            }
        }
        let norm = &self.weights[block.attention_norm];
        rms_norm::forward(device, &mut a.normed, &kept.input, norm, epsilon);
        linear.backward(block.qkv, &mut a.d_normed, &a.d_qkv, &a.normed);
        let inputs = rms_norm::Inputs { x: &kept.input, weight: norm, epsilon };
        let gradients = rms_norm::Gradients {
            d_x: &mut a.d_stream,
            store: Store::Add,
            d_weight: Some(&mut self.gradients[block.attention_norm]),
        };
        rms_norm::backward(device, gradients, &a.d_normed, &inputs);
    }
}

/// What the gradients of linear layers need.
struct Linears<'a> {
    device: &'a Device,
    precision: Precision,
    copies: &'a [Option<Copies>],
    gradients: &'a mut [Tensor],
}

impl Linears<'_> {
    /// Adds the gradients of a layer's weights and writes that of its input.
    fn backward(&mut self, places: LinearPlaces, d_x: &mut Tensor, d_out: &Tensor, x: &Tensor) {
        let LinearPlaces { matrix, bias } = places;
        let (device, precision) = (self.device, self.precision);
        matmul::add_weight_gradient(device, &mut self.gradients[matrix], d_out, x, precision);
        if let Some(bias) = bias {
            matmul::add_bias_gradient(device, &mut self.gradients[bias], d_out);
        }
        let transposed = &copies_of(self.copies, matrix).backward;
        matmul::forward(device, d_x, d_out, transposed, None, Store::Overwrite);
    }
}
