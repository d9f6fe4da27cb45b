//! An adapter: matrices of low rank beside those of a model, which learn while the model's own stay.
//!
//! A linear layer `y = x · Wᵀ` becomes `y = x · Wᵀ + scale · (x · Aᵀ) · Bᵀ` with `A` `[rank, in]` and
//! `B` `[out, rank]`. Layers with the same input are one product in this program, and so are their
//! adapters: their `A`s are stacked by rows, and their `B`s lie along a diagonal, with zeros beside
//! them that stay zeros.
//!
//! Source: Hu et al. 2021, "LoRA: low-rank adaptation of large language models", arXiv:2106.09685.

mod merge;
mod peft;
mod served;
#[cfg(test)]
mod tests;

use std::ops::Range;

use engine::{Device, Tensor, random};
use serde::{Deserialize, Serialize};

pub(crate) use self::merge::Merge;
pub use self::peft::{CONFIG_FILE, WEIGHTS_FILE};
pub(crate) use self::served::{LowRows, ServedAdapter};
use crate::config::Config;
use crate::error::Error;
use crate::names::{Convention, Kind, Layer};
use crate::trainable::{Parameter, ParameterKind, SERIES_BITS};
use crate::weights::{Stack, stacks};

/// The largest rank.
pub const RANK_MAX: usize = 1024;
/// The smallest alpha that is no mistake.
pub const ALPHA_MIN: f64 = 1e-6;
/// The largest.
pub const ALPHA_MAX: f64 = 1e6;

/// A matrix of every layer that an adapter may lie beside; recipes name it with one letter or word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Target {
    /// Queries.
    #[serde(rename = "q")]
    Query,
    /// Keys.
    #[serde(rename = "k")]
    Key,
    /// Values.
    #[serde(rename = "v")]
    Value,
    /// The output of attention.
    #[serde(rename = "o")]
    Output,
    /// What opens the feed-forward layer.
    Gate,
    /// What it lets through.
    Up,
    /// The output of the feed-forward layer.
    Down,
}

impl Target {
    /// All that there are.
    pub const ALL: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// What other programs call it: `q_proj`, `down_proj`, …
    #[must_use]
    pub fn module(self) -> &'static str {
        match self {
            Self::Query => "q_proj",
            Self::Key => "k_proj",
            Self::Value => "v_proj",
            Self::Output => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    fn layer(self) -> Layer {
        match self {
            Self::Query => Layer::Query,
            Self::Key => Layer::Key,
            Self::Value => Layer::Value,
            Self::Output => Layer::AttentionOutput,
            Self::Gate => Layer::Gate,
            Self::Up => Layer::Up,
            Self::Down => Layer::Down,
        }
    }

    fn of(layer: Layer) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.layer() == layer)
    }
}

/// How an adapter begins.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterOptions {
    /// Rows of each `A`, from 1 to [`RANK_MAX`].
    pub rank: usize,
    /// What is learned counts `alpha / rank` times.
    pub alpha: f64,
    /// The matrices that it lies beside, in any order.
    pub targets: Vec<Target>,
    /// The model that it belongs to, for whoever reads its files: a name or a path.
    pub base: String,
}

/// How much what is learned counts, and where that comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scaling {
    pub(crate) alpha: f64,
    /// Whether alpha is divided by the root of the rank.
    ///
    /// Source: Kalajdzievski 2023, "A rank stabilization scaling factor for fine-tuning with LoRA",
    /// arXiv:2312.03732.
    pub(crate) by_root: bool,
}

/// An adapter of some model, in f32.
#[derive(Debug, Clone)]
pub struct Adapter {
    rank: usize,
    scaling: Scaling,
    /// In the order of [`Target::ALL`], each once.
    targets: Vec<Target>,
    base: String,
    parameters: Vec<Parameter>,
    /// For each layer, beside each product.
    places: Vec<[Option<Place>; PRODUCTS]>,
    /// `A` and `B` of each product, as [`Place`] says.
    weights: Vec<Tensor>,
}

/// The products of a layer that may have an adapter, in the order of [`stacks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Qkv,
    AttentionOutput,
    GateUp,
    Down,
}

/// How many there are.
pub(crate) const PRODUCTS: usize = 4;

/// The adapter of one product: where its weights stand, and what belongs to which matrix.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `[parts * rank, in]`; `B`, `[out, parts * rank]`, is the next.
    pub(crate) a: usize,
    pub(crate) parts: Vec<Part>,
}

/// The adapter of one matrix within that of a product.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) target: Target,
    /// Its rows of `A`, which are its columns of `B`.
    pub(crate) ranks: Range<usize>,
    /// Its rows of `B`.
    pub(crate) rows: Range<usize>,
}

impl Adapter {
    /// An adapter that changes nothing yet: every `B` is zero. Each `A` is drawn from the seed,
    /// uniformly from `-1 / sqrt(in)` to `1 / sqrt(in)`, and does not depend on the other targets.
    ///
    /// Source: `reset_lora_parameters` of Hugging Face's PEFT.
    ///
    /// # Errors
    ///
    /// [`Error::BadAdapter`] for a rank or alpha out of range, or no target.
    pub fn new(
        device: &Device,
        config: &Config,
        options: &AdapterOptions,
        seed: u64,
    ) -> Result<Self, Error> {
        let scaling = Scaling { alpha: options.alpha, by_root: false };
        let mut adapter = Self::zeros(device, config, options, scaling)?;
        let Self { places, weights, .. } = &mut adapter;
        for (layer, products) in places.iter().enumerate() {
            for place in products.iter().flatten() {
                place.parts.iter().for_each(|part| draw(&mut weights[place.a], layer, part, seed));
            }
        }
        Ok(adapter)
    }

    /// An adapter of zeros.
    pub(crate) fn zeros(
        device: &Device,
        config: &Config,
        options: &AdapterOptions,
        scaling: Scaling,
    ) -> Result<Self, Error> {
        check(options)?;
        let targets: Vec<Target> =
            Target::ALL.into_iter().filter(|target| options.targets.contains(target)).collect();
        let (rank, base) = (options.rank, options.base.clone());
        let mut list = List { rank, targets: &targets, parameters: Vec::new() };
        let places: Vec<_> = (0..config.layers).map(|layer| list.layer(config, layer)).collect();
        let parameters = list.parameters;
        let zeros = |&Parameter { shape: [rows, columns], .. }: &Parameter| {
            Tensor::zeros(device, rows, columns)
        };
        let weights = parameters.iter().map(zeros).collect();
        Ok(Self { rank, scaling, targets, base, parameters, places, weights })
    }

    /// Rows of each `A`.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The matrices that it lies beside.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The model that it belongs to, as its files say: a name or a path.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// How many numbers it has, the zeros beside blocks not counted.
    #[must_use]
    pub fn parameters_count(&self) -> u64 {
        let of_place = |place: &Place| {
            let inputs = self.weights[place.a].columns();
            let rows: usize = place.parts.iter().map(|part| part.rows.len() + inputs).sum();
            (rows * self.rank) as u64
        };
        self.places.iter().flatten().flatten().map(of_place).sum()
    }

    /// What `(x · Aᵀ) · Bᵀ` is multiplied with.
    #[expect(clippy::cast_possible_truncation, reason = "rounded to f32 once")]
    pub(crate) fn scale(&self) -> f32 {
        self.scaling.factor(self.rank) as f32
    }

    /// All weights, in the order of [`Self::weights`].
    pub(crate) fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    pub(crate) fn weights(&self) -> &[Tensor] {
        &self.weights
    }

    pub(crate) fn weights_mut(&mut self) -> &mut [Tensor] {
        &mut self.weights
    }

    /// What lies beside a product, if anything does.
    pub(crate) fn place(&self, layer: usize, product: Product) -> Option<&Place> {
        self.places[layer][product as usize].as_ref()
    }

    /// What lies beside each product of each layer.
    pub(crate) fn places(&self) -> &[[Option<Place>; PRODUCTS]] {
        &self.places
    }

    /// What lies beside one matrix, with its place.
    pub(crate) fn part(&self, layer: usize, target: Target) -> Option<(&Place, &Part)> {
        let places = self.places.get(layer)?.iter().flatten();
        places
            .flat_map(|place| place.parts.iter().map(move |part| (place, part)))
            .find(|(_, part)| part.target == target)
    }

    /// Refuses a model of another shape.
    pub(crate) fn check_fits(&self, config: &Config) -> Result<(), Error> {
        let mut list = List { rank: self.rank, targets: &self.targets, parameters: Vec::new() };
        for layer in 0..config.layers {
            let _ = list.layer(config, layer);
        }
        if list.parameters == self.parameters { Ok(()) } else { Err(Error::OtherAdapter) }
    }
}

impl Scaling {
    #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
    fn factor(self, rank: usize) -> f64 {
        let rank = rank as f64;
        self.alpha / if self.by_root { rank.sqrt() } else { rank }
    }
}

fn check(options: &AdapterOptions) -> Result<(), Error> {
    let bad = |key: &str, found: String, expected: String| {
        Err(Error::BadAdapter { key: key.to_owned(), found, expected })
    };
    if !(1..=RANK_MAX).contains(&options.rank) {
        return bad("r", options.rank.to_string(), format!("from 1 to {RANK_MAX}"));
    }
    let alpha = options.alpha;
    if !(ALPHA_MIN..=ALPHA_MAX).contains(&alpha) {
        let expected = format!("from {ALPHA_MIN} to {ALPHA_MAX}");
        return bad("lora_alpha", alpha.to_string(), expected);
    }
    if options.targets.is_empty() {
        let expected = format!("some of {}", Target::ALL.map(Target::module).join(", "));
        return bad("target_modules", "empty".to_owned(), expected);
    }
    Ok(())
}

/// Draws the rows of `A` that belong to one matrix.
fn draw(a: &mut Tensor, layer: usize, part: &Part, seed: u64) {
    let columns = a.columns();
    #[expect(clippy::cast_precision_loss, reason = "a model's width is small")]
    let bound = 1.0 / (columns as f32).sqrt();
    let series = ((layer * Target::ALL.len() + part.target as usize) as u64) << SERIES_BITS;
    for (row, place) in part.ranks.clone().enumerate() {
        let first = series | (row * columns) as u64;
        let values: Vec<f32> =
            (first..).take(columns).map(|index| bound * random::uniform(seed, index)).collect();
        a.upload(place, &values);
    }
}

/// Lists the weights of an adapter in the order of the model's layers.
struct List<'a> {
    rank: usize,
    targets: &'a [Target],
    parameters: Vec<Parameter>,
}

impl List<'_> {
    fn layer(&mut self, config: &Config, layer: usize) -> [Option<Place>; PRODUCTS] {
        stacks(config).map(|stack| self.product(layer, &stack))
    }

    fn product(&mut self, layer: usize, stack: &Stack) -> Option<Place> {
        let mut parts: Vec<Part> = Vec::new();
        let mut out = 0;
        for &(part, rows) in &stack.parts {
            if let Some(target) = Target::of(part).filter(|target| self.targets.contains(target)) {
                let first = parts.len() * self.rank;
                let (ranks, rows) = (first..first + self.rank, out..out + rows);
                parts.push(Part { target, ranks, rows });
            }
            out += rows;
        }
        if parts.is_empty() {
            return None;
        }
        let name = |part: &Part, which| tensor_name(layer, part.target, which);
        let a_parts = parts.iter().map(|part| (name(part, Which::A), self.rank)).collect();
        let b_parts = parts.iter().map(|part| (name(part, Which::B), part.rows.len())).collect();
        let ranks = parts.len() * self.rank;
        let a = self.parameters.len();
        self.push(a_parts, [ranks, stack.in_features]);
        self.push(b_parts, [out, ranks]);
        Some(Place { a, parts })
    }

    fn push(&mut self, parts: Vec<(String, usize)>, shape: [usize; 2]) {
        self.parameters.push(Parameter { parts, kind: ParameterKind::Matrix, shape });
    }
}

/// One of the two matrices.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    A,
    B,
}

/// What a file calls a matrix of an adapter, as PEFT does.
fn tensor_name(layer: usize, target: Target, which: Which) -> String {
    let weight = Convention::HuggingFace.layer(layer, target.layer(), Kind::Weight);
    let stem = weight.trim_end_matches(".weight");
    let which = match which {
        Which::A => "lora_A",
        Which::B => "lora_B",
    };
    format!("base_model.model.{stem}.{which}.weight")
}
