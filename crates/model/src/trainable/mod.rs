//! A model that learns: forward, the loss, and backward to the gradient of every weight.
//!
//! Weights are held in f32; products read copies of them, rounded as [`Precision`] says and laid
//! out for both directions, which [`Trainable::refresh`] renews after each step of an optimizer.
//! Tokens are looked up in the f32 table itself.
//!
//! The operations and their order are [`Model`](crate::Model)'s. With [`Precision::Bf16`] on a fast
//! kernel path log-probabilities are the same to the bit as those of a model whose matrices and head
//! are stored in bf16 and all else in f32 (`served_logprobs_are_those_of_training`). With
//! [`Precision::F32`] they are close: keys and values stay f32 here and are rounded to bf16 there.
//!
//! With an adapter ([`Trainable::with_adapter`]) the adapter is what learns: [`Trainable::parameters`],
//! weights and gradients are its own, and the model's weights have neither gradients nor room for
//! them.
//!
//! Gradients are accumulated: every sum over tokens is one chain in the order of the tokens that
//! goes on from one micro-batch to the next, so the size of micro-batches changes no bit
//! (`micro_batches_and_threads_change_no_bit`). With bf16 that holds for cuts at an even number of
//! tokens: there tokens are added in pairs.

mod adapted;
mod backward;
mod files;
mod forward;
mod heads;
mod parameters;
mod scalar_head;
mod served;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use engine::ops::attention::{CacheShape, CacheType, KvCache, PAGE_TOKENS};
use engine::ops::matmul::Precision;
use engine::ops::rope::{Pairing, RopeTable};
use engine::{Device, Dtype, Matrix, Order, Tensor};

use crate::adapter::{Adapter, PRODUCTS};
use crate::config::Config;
use crate::error::Error;

use self::adapted::Learning;
pub(crate) use self::parameters::SERIES_BITS;
use self::parameters::{BlockPlaces, Places};
pub use self::parameters::{Parameter, ParameterKind};
pub use self::scalar_head::ScalarHead;

/// Rows of logits that exist at once, an even number, as bf16 asks for. Fewer would read the head's
/// weights and gradient more often; more would not stay in a core's cache where vocabularies are small.
const LOGIT_ROWS: usize = 128;

/// Some tokens of a step: whole documents, or their first tokens, one after the other.
///
/// With [`Precision::Bf16`] all micro-batches of a step but the last have an even number of tokens
/// if its cuts are to change no bit; a token of weight 0 at the end evens out an odd number.
#[derive(Debug, Clone, Copy)]
pub struct MicroBatch<'a> {
    /// What the model reads.
    pub tokens: &'a [u32],
    /// Each token's place in its document; a document begins where this is 0.
    pub positions: &'a [u32],
    /// What it should predict.
    pub targets: &'a [u32],
    /// What each prediction counts; 0 for what is not to be learned.
    pub weights: &'a [f32],
    /// What all weights are multiplied with: 1 over their sum in the whole step, so that the losses
    /// of its micro-batches add up to the mean.
    pub scale: f32,
    /// What logits are divided by; 1 leaves the model's own distribution.
    pub temperature: f32,
}

impl<'a> MicroBatch<'a> {
    /// What is read of it.
    fn documents(&self) -> Documents<'a> {
        Documents { tokens: self.tokens, positions: self.positions }
    }
}

/// Tokens that are only read: whole documents, or their first tokens, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Documents<'a> {
    /// What the model reads.
    pub tokens: &'a [u32],
    /// Each token's place in its document; a document begins where this is 0.
    pub positions: &'a [u32],
}

/// What was predicted at one token of a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// The token's place in the micro-batch.
    pub row: usize,
    /// The log-probability of the target at the micro-batch's temperature, natural logarithm.
    pub logprob: f32,
    /// `-Σ p log p` of the whole distribution.
    pub entropy: f32,
    /// What the scalar head says; 0 without one.
    pub output: f32,
}

/// The derivatives of a loss with respect to what was predicted at one token.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Slopes {
    /// With respect to [`Prediction::logprob`].
    pub logprob: f32,
    /// With respect to [`Prediction::output`].
    pub output: f32,
}

/// What was computed of each token of a micro-batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Losses {
    /// `-weight * scale * logprob`.
    pub losses: Vec<f32>,
    /// The log-probability of the target, natural logarithm.
    pub logprobs: Vec<f32>,
}

/// A transformer in f32 with its gradients.
#[derive(Debug)]
pub struct Trainable {
    device: Device,
    config: Config,
    precision: Precision,
    parameters: Vec<Parameter>,
    places: Places,
    weights: Vec<Tensor>,
    /// None where an adapter learns.
    gradients: Vec<Tensor>,
    lookups: Option<Lookups>,
    learning: Option<Learning>,
    /// The rounded copies of the matrices and the head, by place.
    copies: Vec<Option<Copies>>,
    rope: RopeTable,
    cache: KvCache,
    activations: Activations,
    /// Whether the way back computes each layer again instead of keeping what all of them made.
    recomputes: bool,
    /// The copies for the gradients of inputs of one layer, where not all of them are kept.
    transposed: Option<[Matrix; PRODUCTS]>,
}

/// The gradient that a table got from lookups while it is the head, too.
///
/// Apart from the head's, so that each of the two is one chain over all micro-batches; they are
/// added once, when the step's gradients are asked for.
#[derive(Debug)]
struct Lookups {
    gradient: Tensor,
    /// Whether it holds what is not yet in the table's gradient.
    pending: bool,
}

impl Lookups {
    fn clear(&mut self, device: &Device) {
        if self.pending {
            self.gradient.clear(device);
            self.pending = false;
        }
    }
}

/// A matrix as products read it.
#[derive(Debug)]
struct Copies {
    /// `[out, in]`, for the layer itself; lent to models that are served meanwhile.
    forward: Arc<Matrix>,
    /// `[in, out]`, for the gradient of its input; none where it is made again on the way back.
    backward: Option<Matrix>,
}

impl Copies {
    /// Copies of zeros of a matrix `[rows, columns]`.
    fn zeros(dtype: Dtype, [rows, columns]: [usize; 2]) -> Result<Self, Error> {
        let forward = Arc::new(Matrix::zeros(dtype, rows, columns)?);
        Ok(Self { forward, backward: Some(Matrix::zeros(dtype, columns, rows)?) })
    }

    /// Takes the values of a weight.
    fn write(&mut self, device: &Device, weight: &Tensor) {
        // A model that is still served keeps the weights that it was made of.
        Arc::make_mut(&mut self.forward).write(device, weight, Order::Rows);
        if let Some(backward) = &mut self.backward {
            backward.write(device, weight, Order::Columns);
        }
    }

    /// The copy for the gradient of the input.
    fn backward(&self) -> &Matrix {
        self.backward.as_ref().expect("matrices have a transposed copy")
    }
}

/// The copy of a matrix or the head for the layer itself.
fn forward_copy(copies: &[Option<Copies>], place: usize) -> &Arc<Matrix> {
    &copies[place].as_ref().expect("what is multiplied has copies").forward
}

/// The copy of a matrix for the gradient of its input.
fn backward_copy(copies: &[Option<Copies>], place: usize) -> &Matrix {
    copies[place].as_ref().expect("what is multiplied has copies").backward()
}

/// What is kept of the forward pass until the backward pass has used it, `[rows, …]`.
#[derive(Debug)]
struct Activations {
    /// The stream before each layer.
    inputs: Vec<Tensor>,
    /// Of each layer, or of one layer at a time where they are computed again on the way back.
    layers: Vec<LayerActivations>,
    /// The residual stream, at the end of the last layer after the forward pass.
    stream: Tensor,
    normed: Tensor,
    hidden: Tensor,
    /// Gradients of the above and of what a layer keeps.
    d_stream: Tensor,
    d_normed: Tensor,
    d_hidden: Tensor,
    d_gate_up: Tensor,
    d_qkv: Tensor,
    d_attended: Tensor,
    /// A chunk of rows at the head.
    last: Tensor,
    d_last: Tensor,
    logits: Tensor,
}

/// What a layer keeps beside its input.
#[derive(Debug)]
struct LayerActivations {
    /// Queries, keys and values before their norms; empty without these.
    raw_qkv: Tensor,
    /// Queries, keys and values as attention read them.
    qkv: Tensor,
    attended: Tensor,
    log_sums: Tensor,
    /// The stream between attention and the feed-forward layer.
    middle: Tensor,
    gate_up: Tensor,
}

impl Activations {
    /// Without room for any row; with what `kept_layers` layers keep.
    fn new(device: &Device, config: &Config, kept_layers: usize) -> Self {
        let tensor = |columns| Tensor::zeros(device, 0, columns);
        let (width, ffn, query) = (config.width, config.ffn_width, config.query_width());
        let qkv = query + 2 * config.kv_width();
        let layer = |_| LayerActivations {
            raw_qkv: tensor(if config.qk_norm { qkv } else { 0 }),
            qkv: tensor(qkv),
            attended: tensor(query),
            log_sums: tensor(config.heads),
            middle: tensor(width),
            gate_up: tensor(2 * ffn),
        };
        Self {
            inputs: (0..config.layers).map(|_| tensor(width)).collect(),
            layers: (0..kept_layers).map(layer).collect(),
            stream: tensor(width),
            normed: tensor(width),
            hidden: tensor(ffn),
            d_stream: tensor(width),
            d_normed: tensor(width),
            d_hidden: tensor(ffn),
            d_gate_up: tensor(2 * ffn),
            d_qkv: tensor(qkv),
            d_attended: tensor(query),
            last: tensor(width),
            d_last: tensor(width),
            logits: tensor(config.vocab),
        }
    }

    /// Makes room for `rows` rows.
    fn resize(&mut self, rows: usize) {
        for input in &mut self.inputs {
            input.resize_rows(rows);
        }
        for layer in &mut self.layers {
            let LayerActivations { raw_qkv, qkv, attended, log_sums, middle, gate_up } = layer;
            for tensor in [raw_qkv, qkv, attended, log_sums, middle, gate_up] {
                tensor.resize_rows(rows);
            }
        }
        let Self { stream, normed, hidden, d_stream, d_normed, d_hidden, d_gate_up, .. } = self;
        for tensor in [stream, normed, hidden, d_stream, d_normed, d_hidden, d_gate_up] {
            tensor.resize_rows(rows);
        }
        self.d_qkv.resize_rows(rows);
        self.d_attended.resize_rows(rows);
    }
}

impl Trainable {
    /// A model with random weights that follow from the seed.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`] if a matrix cannot be addressed, [`Error::BadValue`] for a context window
    /// longer than [`RopeTable::CONTEXT_TOKENS_MAX`].
    pub fn new(
        device: &Device,
        config: &Config,
        precision: Precision,
        seed: u64,
    ) -> Result<Self, Error> {
        let (parameters, places) = parameters::list(config);
        let weights = parameters::initial(device, config, (&parameters, &places), seed);
        Self::with_weights(device, config, precision, weights)
    }

    /// A model with these weights, in the order of its parameters.
    fn with_weights(
        device: &Device,
        config: &Config,
        precision: Precision,
        weights: Vec<Tensor>,
    ) -> Result<Self, Error> {
        files::check_context(config)?;
        let (parameters, places) = parameters::list(config);
        let rope = &config.rope;
        let rope = RopeTable::new(
            config.head_size,
            config.context_tokens,
            rope.base,
            &rope.scaling,
            rope.pairing,
        );
        let dtype = dtype_of(precision);
        let copies = (0..)
            .zip(&parameters)
            .map(|(place, Parameter { kind, shape, .. })| {
                let is_multiplied = *kind == ParameterKind::Matrix || place == places.head;
                is_multiplied.then(|| Copies::zeros(dtype, *shape)).transpose()
            })
            .collect::<Result<_, Error>>()?;
        let lookups = config.tied_head.then(|| {
            let gradient = Tensor::zeros(device, config.vocab, config.width);
            Lookups { gradient, pending: false }
        });
        let mut trainable = Self {
            device: device.clone(),
            config: config.clone(),
            precision,
            gradients: parameters::zeros(device, &parameters),
            lookups,
            learning: None,
            parameters,
            places,
            weights,
            copies,
            rope,
            cache: KvCache::new(device, &cache_shape(config, precision), 0),
            activations: Activations::new(device, config, config.layers),
            recomputes: false,
            transposed: None,
        };
        trainable.refresh();
        Ok(trainable)
    }

    /// Lets an adapter learn in place of the model's own weights, which stay as they are; of these
    /// only what is read is kept: copies, vectors and the table of tokens.
    ///
    /// # Errors
    ///
    /// [`Error::OtherAdapter`] for an adapter of another model.
    ///
    /// # Panics
    ///
    /// Panics after [`Self::with_recomputed_layers`], which needs the weights that are dropped here.
    pub fn with_adapter(mut self, adapter: Adapter) -> Result<Self, Error> {
        assert!(self.transposed.is_none(), "an adapter comes before layers are recomputed");
        adapter.check_fits(&self.config)?;
        if self.config.rope.pairing != Pairing::Halves {
            return Err(Error::OtherAdapter);
        }
        self.drop_what_learns();
        self.learning = Some(Learning::new(&self.device, adapter, self.precision)?);
        Ok(self)
    }

    /// The same model, which does not learn any more: no gradients, and of the weights only what is
    /// read. Its activations take the memory of one layer.
    ///
    /// # Panics
    ///
    /// Panics where an adapter learns: [`Self::losses_without_adapter`] is what it was before.
    #[must_use]
    pub fn frozen(mut self) -> Self {
        assert!(self.learning.is_none(), "an adapter's model is frozen already");
        self.drop_what_learns();
        self.copies.iter_mut().flatten().for_each(|copies| copies.backward = None);
        self.recomputes = true;
        self.activations = Activations::new(&self.device, &self.config, 1);
        self
    }

    /// Drops the gradients of the model's own weights, and the matrices that products have copies of.
    fn drop_what_learns(&mut self) {
        self.gradients = Vec::new();
        self.lookups = None;
        for (place, (weight, copies)) in self.weights.iter_mut().zip(&self.copies).enumerate() {
            if copies.is_some() && place != self.places.embedding {
                *weight = Tensor::zeros(&self.device, 0, weight.columns());
            }
        }
    }

    /// Keeps only the input of each layer, and computes the rest of a layer again on the way back:
    /// the memory of one layer in place of all, for about a third more arithmetic. Where the model's
    /// own weights learn, their transposed copies are made again, too. No bit changes.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`] if a matrix cannot be addressed.
    ///
    /// Source: Chen et al. 2016, "Training deep nets with sublinear memory cost",
    /// arXiv:1604.06174.
    pub fn with_recomputed_layers(mut self) -> Result<Self, Error> {
        self.recomputes = true;
        self.activations = Activations::new(&self.device, &self.config, 1);
        let (None, Some(first)) = (&self.learning, self.places.blocks.first()) else {
            return Ok(self);
        };
        let dtype = dtype_of(self.precision);
        let [qkv, output, gate_up, down] = first.products().map(|linear| {
            let [rows, columns] = self.parameters[linear.matrix].shape;
            Matrix::zeros(dtype, columns, rows)
        });
        self.transposed = Some([qkv?, output?, gate_up?, down?]);
        for linear in self.places.blocks.iter().flat_map(BlockPlaces::products) {
            if let Some(copies) = &mut self.copies[linear.matrix] {
                copies.backward = None;
            }
        }
        Ok(self)
    }

    /// Where arithmetic runs.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The adapter that learns, if one does.
    #[must_use]
    pub fn adapter(&self) -> Option<&Adapter> {
        self.learning.as_ref().map(|learning| &learning.adapter)
    }

    /// The model's shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All weights that learn, in the order of [`Self::weights`] and [`Self::gradients`].
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        self.adapter().map_or(&self.parameters, Adapter::parameters)
    }

    /// The values of all weights that learn.
    #[must_use]
    pub fn weights(&self) -> &[Tensor] {
        self.adapter().map_or(&self.weights, Adapter::weights)
    }

    /// What was accumulated since [`Self::clear_gradients`]; ask after the last micro-batch of a
    /// step, because the two gradients of a tied table are added up here, and what an adapter's
    /// zeros got is cleared.
    pub fn gradients(&mut self) -> &[Tensor] {
        self.weights_and_gradients().1
    }

    /// Weights to be changed, with what [`Self::gradients`] says; then call [`Self::refresh`].
    pub fn weights_and_gradients(&mut self) -> (&mut [Tensor], &[Tensor]) {
        self.add_lookups();
        match &mut self.learning {
            Some(learning) => learning.weights_and_gradients(),
            None => (&mut self.weights, &self.gradients),
        }
    }

    /// Lets products read the weights as they are now.
    pub fn refresh(&mut self) {
        if let Some(learning) = &mut self.learning {
            return learning.refresh(&self.device);
        }
        for (weights, copies) in self.weights.iter().zip(&mut self.copies) {
            if let Some(copies) = copies {
                copies.write(&self.device, weights);
            }
        }
    }

    /// Sets all gradients to zero.
    pub fn clear_gradients(&mut self) {
        let gradients = match &mut self.learning {
            Some(learning) => &mut learning.gradients,
            None => &mut self.gradients,
        };
        gradients.iter_mut().for_each(|gradient| gradient.clear(&self.device));
        if let Some(lookups) = &mut self.lookups {
            lookups.clear(&self.device);
        }
    }

    /// Moves the gradient of a tied table's lookups into that of the table.
    fn add_lookups(&mut self) {
        if let Some(lookups) = self.lookups.as_mut().filter(|lookups| lookups.pending) {
            self.gradients[self.places.embedding].add(&self.device, &lookups.gradient);
            lookups.clear(&self.device);
        }
    }

    /// Where the activations of a layer are.
    fn kept(&self, layer: usize) -> usize {
        if self.recomputes { 0 } else { layer }
    }

    /// Pages that hold the keys and values of a micro-batch's documents, in one layer.
    fn lay_out(&mut self, positions: &[u32]) -> Vec<Vec<u32>> {
        let mut pages: Vec<Vec<u32>> = Vec::new();
        let mut next = 0..;
        for &position in positions {
            if position == 0 {
                pages.push(Vec::new());
            }
            let own = pages.last_mut().expect("a micro-batch begins with a document");
            if (position as usize).is_multiple_of(PAGE_TOKENS) {
                own.extend(next.next());
            }
        }
        let count = next.start as usize;
        if self.cache.pages() < count {
            self.cache = KvCache::new(&self.device, self.cache.shape(), count);
        }
        pages
    }
}

/// The type of the copies that products read.
fn dtype_of(precision: Precision) -> Dtype {
    match precision {
        Precision::F32 => Dtype::F32,
        Precision::Bf16 => Dtype::Bf16,
    }
}

/// Keys and values of one layer at a time.
fn cache_shape(config: &Config, precision: Precision) -> CacheShape {
    let cache_type = match precision {
        Precision::F32 => CacheType::F32,
        Precision::Bf16 => CacheType::Bf16,
    };
    CacheShape { layers: 1, ..crate::outline::cache_shape(config, cache_type) }
}
