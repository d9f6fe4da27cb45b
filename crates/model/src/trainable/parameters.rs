//! The weights of a model that learns: which there are, how large, and how they begin.

use engine::random;
use engine::{Device, Tensor};

use crate::adapter::{PRODUCTS, Product};
use crate::config::Config;
use crate::names::{Convention, Global, Kind, Layer};
use crate::weights::{Stack, stacks};

/// Standard deviation of matrices at the beginning.
const INITIAL_DEVIATION: f32 = 0.02;

/// What a weight is to an optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterKind {
    /// The table of embeddings, or the output head.
    Table,
    /// The matrix of a linear layer.
    Matrix,
    /// A norm or a bias.
    Vector,
}

/// One weight.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameter {
    /// Its parts' names in a Hugging Face checkpoint, each with its number of rows, or of values
    /// of a bias.
    pub parts: Vec<(String, usize)>,
    /// What it is to an optimizer.
    pub kind: ParameterKind,
    /// `[rows, columns]`; those of a vector are `[1, columns]`.
    pub shape: [usize; 2],
}

/// Where the weights of a layer stand in the list of all.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockPlaces {
    pub attention_norm: usize,
    pub qkv: LinearPlaces,
    /// Of queries and of keys.
    pub head_norms: Option<[usize; 2]>,
    pub attention_output: LinearPlaces,
    pub ffn_norm: usize,
    pub gate_up: LinearPlaces,
    pub down: LinearPlaces,
}

impl BlockPlaces {
    /// Those of its products, in the order of [`Product`].
    pub(super) fn products(&self) -> [LinearPlaces; PRODUCTS] {
        [self.qkv, self.attention_output, self.gate_up, self.down]
    }
}

/// Where a matrix and its bias stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinearPlaces {
    pub matrix: usize,
    pub bias: Option<usize>,
    /// Which product of the layer it is.
    pub product: Product,
}

/// Where all weights stand.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub embedding: usize,
    pub blocks: Vec<BlockPlaces>,
    pub final_norm: usize,
    /// That of the embedding, if the two are tied.
    pub head: usize,
}

/// Lists the weights of a model in the order of its layers.
pub(super) fn list(config: &Config) -> (Vec<Parameter>, Places) {
    let mut list = List { config, parameters: Vec::new() };
    let embedding = list.table(Global::Embedding);
    let blocks = (0..config.layers).map(|layer| list.block(layer)).collect();
    let norm = Convention::HuggingFace.global(Global::FinalNorm).to_owned();
    let final_norm = list.push(vec![(norm, 1)], ParameterKind::Vector, [1, config.width]);
    let head = if config.tied_head { embedding } else { list.table(Global::Head) };
    (list.parameters, Places { embedding, blocks, final_norm, head })
}

struct List<'a> {
    config: &'a Config,
    parameters: Vec<Parameter>,
}

impl List<'_> {
    fn push(
        &mut self,
        parts: Vec<(String, usize)>,
        kind: ParameterKind,
        shape: [usize; 2],
    ) -> usize {
        self.parameters.push(Parameter { parts, kind, shape });
        self.parameters.len() - 1
    }

    fn table(&mut self, table: Global) -> usize {
        let Config { vocab, width, .. } = *self.config;
        let name = Convention::HuggingFace.global(table).to_owned();
        self.push(vec![(name, vocab)], ParameterKind::Table, [vocab, width])
    }

    fn block(&mut self, layer: usize) -> BlockPlaces {
        let Config { width, head_size, biases, qk_norm, .. } = *self.config;
        let [qkv, output, gate_up, down] = stacks(self.config);
        let linear = |list: &mut Self, (product, stack): (Product, &Stack), has_bias: bool| {
            let rows = stack.parts.iter().map(|(_, rows)| rows).sum();
            let names = |kind| {
                let name = |&(part, rows): &(Layer, usize)| {
                    (Convention::HuggingFace.layer(layer, part, kind), rows)
                };
                stack.parts.iter().map(name).collect()
            };
            let shape = [rows, stack.in_features];
            let matrix = list.push(names(Kind::Weight), ParameterKind::Matrix, shape);
            let bias =
                has_bias.then(|| list.push(names(Kind::Bias), ParameterKind::Vector, [1, rows]));
            LinearPlaces { matrix, bias, product }
        };
        let norm = |list: &mut Self, part, columns| {
            let name = Convention::HuggingFace.layer(layer, part, Kind::Weight);
            list.push(vec![(name, 1)], ParameterKind::Vector, [1, columns])
        };
        BlockPlaces {
            attention_norm: norm(self, Layer::AttentionNorm, width),
            qkv: linear(self, (Product::Qkv, &qkv), biases.qkv),
            head_norms: qk_norm.then(|| {
                [Layer::QueryNorm, Layer::KeyNorm].map(|part| norm(self, part, head_size))
            }),
            attention_output: linear(self, (Product::AttentionOutput, &output), biases.output),
            ffn_norm: norm(self, Layer::FfnNorm, width),
            gate_up: linear(self, (Product::GateUp, &gate_up), biases.ffn),
            down: linear(self, (Product::Down, &down), biases.ffn),
        }
    }
}

/// Zeros for every weight: gradients, or an optimizer's state.
pub(super) fn zeros(device: &Device, parameters: &[Parameter]) -> Vec<Tensor> {
    let zeros = |parameter: &Parameter| {
        let [rows, columns] = parameter.shape;
        Tensor::zeros(device, rows, columns)
    };
    parameters.iter().map(zeros).collect()
}

/// Weights to begin with: norms of 1, biases of 0, all else normal draws, those that write to the
/// residual stream smaller by `sqrt(2 layers)`, because so many of them are summed up.
///
/// Source: Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3.
pub(super) fn initial(
    device: &Device,
    config: &Config,
    (parameters, places): (&[Parameter], &Places),
    seed: u64,
) -> Vec<Tensor> {
    let mut weights = zeros(device, parameters);
    #[expect(clippy::cast_precision_loss, reason = "a model has few layers")]
    let residual = INITIAL_DEVIATION / (2.0 * config.layers as f32).sqrt();
    let mut fill = |place: usize, value: &dyn Fn(u64) -> f32| {
        let [rows, columns] = parameters[place].shape;
        for row in 0..rows {
            let first = (row * columns) as u64;
            let values: Vec<f32> = (first..).take(columns).map(value).collect();
            weights[place].upload(row, &values);
        }
    };
    let draw = |place: usize, deviation: f32| {
        let series = (place as u64) << SERIES_BITS;
        move |index: u64| deviation * random::normal(seed, series | index)
    };
    let tables = (0..).zip(parameters).filter(|(_, table)| table.kind == ParameterKind::Table);
    for (place, _) in tables {
        fill(place, &draw(place, INITIAL_DEVIATION));
    }
    fill(places.final_norm, &|_| 1.0);
    for block in &places.blocks {
        let norms = [block.attention_norm, block.ffn_norm];
        for norm in norms.into_iter().chain(block.head_norms.into_iter().flatten()) {
            fill(norm, &|_| 1.0);
        }
        for (linear, deviation) in [
            (block.qkv, INITIAL_DEVIATION),
            (block.attention_output, residual),
            (block.gate_up, INITIAL_DEVIATION),
            (block.down, residual),
        ] {
            fill(linear.matrix, &draw(linear.matrix, deviation));
        }
    }
    weights
}

/// Bits of the number of a draw that count the values of one weight.
pub(crate) const SERIES_BITS: u32 = 40;
