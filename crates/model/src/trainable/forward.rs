//! Forward, keeping what the way back needs.

use engine::ops::attention::{self, AttentionRow};
use engine::ops::matmul::{self, Store};
use engine::ops::{embedding, rms_norm, rope, swiglu};
use engine::{Device, Tensor};

use super::adapted::Learning;
use super::heads::Lesson;
use super::parameters::LinearPlaces;
use super::{
    Copies, Documents, Losses, MicroBatch, Prediction, ScalarHead, Slopes, Trainable, forward_copy,
};

impl Trainable {
    /// The losses of a micro-batch.
    ///
    /// # Panics
    ///
    /// Panics if the lists differ in length, a token or position lies outside the model's tables,
    /// or a position does not follow the one before it in its document.
    pub fn losses(&mut self, batch: &MicroBatch<'_>) -> Losses {
        let pages = self.lay_out(batch.positions);
        self.forward(batch.documents(), &rows_of(batch.positions, &pages));
        self.predict(batch, Lesson::Nothing)
    }

    /// As [`Self::losses`], of the model beside which an adapter learns.
    ///
    /// # Panics
    ///
    /// As [`Self::losses`].
    pub fn losses_without_adapter(&mut self, batch: &MicroBatch<'_>) -> Losses {
        let learning = self.learning.take();
        let losses = self.losses(batch);
        self.learning = learning;
        losses
    }

    /// The losses of a micro-batch; their gradient is added to that of every weight that learns.
    ///
    /// # Panics
    ///
    /// As [`Self::losses`], and where the model is frozen.
    pub fn accumulate(&mut self, batch: &MicroBatch<'_>) -> Losses {
        self.check_learns();
        let pages = self.lay_out(batch.positions);
        let rows = rows_of(batch.positions, &pages);
        self.forward(batch.documents(), &rows);
        let losses = self.predict(batch, Lesson::Weights);
        self.backward(batch.documents(), &rows);
        losses
    }

    /// Adds the gradient of a loss that is a function of what is predicted at each token: `lesson`
    /// gets the predictions of the tokens whose weight is not 0, in their order, and answers with
    /// the loss's derivatives, which are taken as they are. With a scalar head, it reads the same
    /// last norm's output as the head of the vocabulary, and learns with the model.
    ///
    /// The losses returned are those of [`Self::losses`].
    ///
    /// # Panics
    ///
    /// As [`Self::accumulate`], and for a scalar head of another width.
    pub fn accumulate_weighed(
        &mut self,
        batch: &MicroBatch<'_>,
        scalar_head: Option<&mut ScalarHead>,
        lesson: &mut dyn FnMut(Prediction) -> Slopes,
    ) -> Losses {
        self.check_learns();
        let pages = self.lay_out(batch.positions);
        let rows = rows_of(batch.positions, &pages);
        self.forward(batch.documents(), &rows);
        let losses = self.predict(batch, Lesson::Slopes { scalar_head, slopes: lesson });
        self.backward(batch.documents(), &rows);
        losses
    }

    /// What a scalar head says at each token.
    ///
    /// # Shapes
    ///
    /// - returns `[documents.tokens.len()]`
    ///
    /// # Panics
    ///
    /// As [`Self::losses`], and for a head of another width.
    pub fn outputs(&mut self, documents: Documents<'_>, scalar_head: &ScalarHead) -> Vec<f32> {
        let pages = self.lay_out(documents.positions);
        self.forward(documents, &rows_of(documents.positions, &pages));
        self.normalize_stream();
        scalar_head.outputs(&self.device, &self.activations.normed)
    }

    /// What a scalar head says at each token; the gradient of a loss that is a function of all that
    /// is added to those of the head and of every weight that learns.
    ///
    /// # Shapes
    ///
    /// - `slopes`: gets the outputs, returns the loss's derivative with respect to each; both
    ///   `[documents.tokens.len()]`
    ///
    /// # Panics
    ///
    /// As [`Self::outputs`], if there are not as many slopes as tokens, and where the model is frozen.
    pub fn accumulate_outputs(
        &mut self,
        documents: Documents<'_>,
        scalar_head: &mut ScalarHead,
        slopes: impl FnOnce(&[f32]) -> Vec<f32>,
    ) -> Vec<f32> {
        self.check_learns();
        let pages = self.lay_out(documents.positions);
        let rows = rows_of(documents.positions, &pages);
        self.forward(documents, &rows);
        self.normalize_stream();
        let a = &mut self.activations;
        let outputs = scalar_head.outputs(&self.device, &a.normed);
        a.d_normed.clear(&self.device);
        scalar_head.accumulate(&self.device, &mut a.d_normed, &slopes(&outputs), &a.normed);
        self.backward(documents, &rows);
        outputs
    }

    fn check_learns(&self) {
        assert!(
            self.learning.is_some() || !self.gradients.is_empty(),
            "a frozen model learns nothing"
        );
    }

    /// Runs all layers; `activations.stream` is the end of the residual stream.
    fn forward(&mut self, batch: Documents<'_>, rows: &[AttentionRow<'_>]) {
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
