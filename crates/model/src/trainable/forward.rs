//! Forward, keeping what the way back needs.

use engine::ops::attention::{self, AttentionRow};
use engine::ops::matmul::{self, Store};
use engine::ops::{cross_entropy, embedding, rms_norm, rope, swiglu};
use engine::{Device, Tensor};

use super::adapted::Learning;
use super::parameters::LinearPlaces;
use super::{Copies, LOGIT_ROWS, Losses, MicroBatch, Trainable, backward_copy, forward_copy};

impl Trainable {
    /// The losses of a micro-batch.
    ///
    /// # Panics
    ///
    /// Panics if the lists differ in length, a token or position lies outside the model's tables,
    /// or a position does not follow the one before it in its document.
    pub fn losses(&mut self, batch: &MicroBatch<'_>) -> Losses {
        let pages = self.lay_out(batch.positions);
        self.forward(batch, &rows_of(batch.positions, &pages));
        self.head(batch, false)
    }

    /// The losses of a micro-batch; their gradient is added to that of every weight that learns.
    ///
    /// # Panics
    ///
    /// As [`Self::losses`].
    pub fn accumulate(&mut self, batch: &MicroBatch<'_>) -> Losses {
        let pages = self.lay_out(batch.positions);
        let rows = rows_of(batch.positions, &pages);
        self.forward(batch, &rows);
        let losses = self.head(batch, true);
        self.backward(batch, &rows);
        losses
    }

    /// Runs all layers; `activations.stream` is the end of the residual stream.
    fn forward(&mut self, batch: &MicroBatch<'_>, rows: &[AttentionRow<'_>]) {
        assert_eq!(batch.tokens.len(), rows.len(), "tokens and positions");
        self.activations.resize(rows.len());
        let (stream, table) = (&mut self.activations.stream, &self.weights[self.places.embedding]);
        embedding::forward_learning(&self.device, stream, table, batch.tokens);
        for layer in 0..self.config.layers {
            self.activations.inputs[layer].copy_from(&self.activations.stream);
            self.keep(layer, batch.positions, rows);
            self.leave(layer);
        }
    }

    /// Computes from the stream before a layer what its way back needs; the stream is then the one
    /// between attention and the feed-forward layer, and `hidden` what goes into the last product.
    pub(super) fn keep(&mut self, layer: usize, positions: &[u32], rows: &[AttentionRow<'_>]) {
        let place = self.kept(layer);
        let block = self.places.blocks[layer];
        let (device, epsilon) = (&self.device, self.config.norm_epsilon);
        let (query, kv) = (self.config.query_width(), self.config.kv_width());
        let weights = &self.weights;
        let mut linear = Linear {
            device,
            copies: &self.copies,
            weights,
            learning: self.learning.as_mut(),
            layer,
        };
        let a = &mut self.activations;
        let kept = &mut a.layers[place];

        let norm = &weights[block.attention_norm];
        rms_norm::forward(device, &mut a.normed, &a.stream, norm, epsilon);
        linear.forward(&mut kept.qkv, &a.normed, block.qkv, Store::Overwrite);
        if let Some([query_norm, key_norm]) = block.head_norms {
            kept.raw_qkv.copy_from(&kept.qkv);
            let (queries, keys) = (0..query, query..query + kv);
            rms_norm::forward_heads(device, &mut kept.qkv, queries, &weights[query_norm], epsilon);
            rms_norm::forward_heads(device, &mut kept.qkv, keys, &weights[key_norm], epsilon);
        }
        rope::forward(device, &mut kept.qkv, 0..query + kv, positions, &self.rope);
        attention::store(device, &mut self.cache, 0, &kept.qkv, rows);
        let out = (&mut kept.attended, &mut kept.log_sums);
        attention::forward_with_log_sums(device, out, &kept.qkv, &self.cache, 0, rows);
        linear.forward(&mut a.stream, &kept.attended, block.attention_output, Store::Add);

        kept.middle.copy_from(&a.stream);
        let norm = &weights[block.ffn_norm];
        rms_norm::forward(device, &mut a.normed, &a.stream, norm, epsilon);
        linear.forward(&mut kept.gate_up, &a.normed, block.gate_up, Store::Overwrite);
        swiglu::forward(device, &mut a.hidden, &kept.gate_up);
    }

    /// Adds the last product of a layer to the stream.
    fn leave(&mut self, layer: usize) {
        let down = self.places.blocks[layer].down;
        let mut linear = Linear {
            device: &self.device,
            copies: &self.copies,
            weights: &self.weights,
            learning: self.learning.as_mut(),
            layer,
        };
        let a = &mut self.activations;
        linear.forward(&mut a.stream, &a.hidden, down, Store::Add);
    }

    /// The losses, a few rows at a time; with `learns` the gradients of the head and of the last
    /// norm's output, which goes to `d_normed`.
    fn head(&mut self, batch: &MicroBatch<'_>, learns: bool) -> Losses {
        let rows = batch.tokens.len();
        assert_eq!((batch.targets.len(), batch.weights.len()), (rows, rows), "targets of tokens");
        let (device, precision) = (&self.device, self.precision);
        let norm = &self.weights[self.places.final_norm];
        let head = forward_copy(&self.copies, self.places.head);
        let head_across = backward_copy(&self.copies, self.places.head);
        let mut d_head = self.gradients.get_mut(self.places.head);
        let a = &mut self.activations;
        rms_norm::forward(device, &mut a.normed, &a.stream, norm, self.config.norm_epsilon);
        let mut losses = Losses { losses: vec![0.0; rows], logprobs: vec![0.0; rows] };
        for first in (0..rows).step_by(LOGIT_ROWS) {
            let own = first..rows.min(first + LOGIT_ROWS);
            for tensor in [&mut a.last, &mut a.d_last, &mut a.logits] {
                tensor.resize_rows(own.len());
            }
            for (place, row) in own.clone().enumerate() {
                a.last.copy_row(place, &a.normed, row);
            }
            matmul::forward(device, &mut a.logits, &a.last, head, None, Store::Overwrite);
            let targets = cross_entropy::Targets {
                tokens: &batch.targets[own.clone()],
                weights: &batch.weights[own.clone()],
                scale: batch.scale,
                temperature: 1.0,
            };
            let results = cross_entropy::Results {
                losses: &mut losses.losses[own.clone()],
                logprobs: &mut losses.logprobs[own.clone()],
                entropies: None,
            };
            if !learns {
                cross_entropy::forward(device, &a.logits, &targets, results);
                continue;
            }
            cross_entropy::forward_backward(device, &mut a.logits, &targets, results);
            if let Some(d_head) = &mut d_head {
                matmul::add_weight_gradient(device, d_head, &a.logits, &a.last, precision);
            }
            let (d_last, store) = (&mut a.d_last, Store::Overwrite);
            matmul::forward(device, d_last, &a.logits, head_across, None, store);
            for (place, row) in own.enumerate() {
                a.d_normed.copy_row(row, &a.d_last, place);
            }
        }
        losses
    }
}

/// The products of a layer, with the adapter's beside them.
struct Linear<'a> {
    device: &'a Device,
    copies: &'a [Option<Copies>],
    weights: &'a [Tensor],
    learning: Option<&'a mut Learning>,
    layer: usize,
}

impl Linear<'_> {
    fn forward(&mut self, out: &mut Tensor, x: &Tensor, places: LinearPlaces, store: Store) {
        let LinearPlaces { matrix, bias, product } = places;
        let matrix = forward_copy(self.copies, matrix);
        let bias = bias.map(|bias| &self.weights[bias]);
        matmul::forward(self.device, out, x, matrix, bias, store);
        if let Some(learning) = &mut self.learning {
            learning.forward(self.device, (self.layer, product), out, x);
        }
    }
}

/// Each row with the pages of its document.
fn rows_of<'a>(positions: &[u32], pages: &'a [Vec<u32>]) -> Vec<AttentionRow<'a>> {
    let mut rows: Vec<AttentionRow<'a>> = Vec::with_capacity(positions.len());
    let mut documents = pages.iter();
    for &position in positions {
        let pages = match rows.last() {
            Some(before) if position > 0 => before.pages,
            _ => documents.next().expect("pages for every document"),
        };
        rows.push(AttentionRow { pages, position: position as usize });
    }
    rows
}
