//! An adapter as a model that is served computes it: beside the weights, not merged into them.

use engine::ops::matmul::{self, Store};
use engine::ops::rope::Pairing;
use engine::{Device, Dtype, Matrix, Order, Tensor};

use super::{Adapter, PRODUCTS, Place, Product};
use crate::config::Config;
use crate::error::Error;
use crate::names::Weight;
use crate::{inventory, weights::BlockWeights};

/// The matrices of an adapter, packed.
#[derive(Debug)]
pub(crate) struct ServedAdapter {
    scale: f32,
    layers: Vec<[Option<Low>; PRODUCTS]>,
}

/// The adapter of one product.
#[derive(Debug)]
struct Low {
    /// `[parts * rank, in]`
    a: Matrix,
    /// `[out, parts * rank]`
    b: Matrix,
}

/// The rows of each product between the two matrices, kept from step to step for their memory.
#[derive(Debug)]
pub(crate) struct LowRows([Tensor; PRODUCTS]);

impl LowRows {
    /// Room for no row yet.
    pub(crate) fn new(device: &Device) -> Self {
        Self([0; PRODUCTS].map(|columns| Tensor::zeros(device, 0, columns)))
    }
}

impl ServedAdapter {
    /// Packs an adapter for a model. Beside weights of f32 it is f32, beside all others bf16, as in
    /// training that rounds to bf16.
    pub(crate) fn new(
        device: &Device,
        config: &Config,
        blocks: &[BlockWeights],
        adapter: &Adapter,
    ) -> Result<Self, Error> {
        adapter.check_fits(config)?;
        let layer = |(block, places): (&BlockWeights, &[Option<Place>; PRODUCTS])| {
            let linears = [&block.qkv, &block.attention_output, &block.gate_up, &block.down];
            let mut lows = [const { None }; PRODUCTS];
            for ((low, place), linear) in lows.iter_mut().zip(places).zip(linears) {
                let Some(place) = place else { continue };
                let dtype = match linear.matrix.dtypes().all(|dtype| dtype == Dtype::F32) {
                    true => Dtype::F32,
                    false => Dtype::Bf16,
                };
                *low = Some(Low::new(device, config, adapter, place, dtype)?);
            }
            Ok(lows)
        };
        let layers = blocks.iter().zip(&adapter.places).map(layer).collect::<Result<_, Error>>()?;
        Ok(Self { scale: adapter.scale(), layers })
    }

    /// Adds what it learned to a product's output: `out += scale * (x · Aᵀ) · Bᵀ`.
    pub(crate) fn add(
        &self,
        device: &Device,
        (layer, product): (usize, Product),
        low_rows: &mut LowRows,
        out: &mut Tensor,
        x: &Tensor,
    ) {
        let Some(Low { a, b }) = &self.layers[layer][product as usize] else { return };
        let low = &mut low_rows.0[product as usize];
        if low.columns() != a.out_features() {
            *low = Tensor::zeros(device, 0, a.out_features());
        }
        low.resize_rows(x.rows());
        matmul::forward(device, low, x, a, None, Store::Overwrite);
        low.scale(device, self.scale);
        matmul::forward(device, out, low, b, None, Store::Add);
    }
}

impl Low {
    fn new(
        device: &Device,
        config: &Config,
        adapter: &Adapter,
        place: &Place,
        dtype: Dtype,
    ) -> Result<Self, Error> {
        let [a, b] = [&adapter.weights[place.a], &adapter.weights[place.a + 1]];
        let turned = turned(device, config, place, b);
        let pack = |values: &Tensor| {
            let mut matrix = Matrix::zeros(dtype, values.rows(), values.columns())?;
            matrix.write(device, values, Order::Rows);
            Ok::<_, Error>(matrix)
        };
        Ok(Self { a: pack(a)?, b: pack(turned.as_ref().unwrap_or(b))? })
    }
}

/// `B` with rows of q and k in the order of the model, where that is not Hugging Face's.
fn turned(device: &Device, config: &Config, place: &Place, b: &Tensor) -> Option<Tensor> {
    if config.rope.pairing == Pairing::Halves {
        return None;
    }
    let mut turned = Tensor::zeros(device, b.rows(), b.columns());
    let items = inventory::of(config);
    for part in &place.parts {
        let is_own = |item: &&inventory::Item| {
            matches!(item.weight, Weight::Layer { part: own, .. } if own == part.target.layer())
                && !item.is_vector()
        };
        let item = items.iter().find(is_own)?;
        for row in 0..part.rows.len() {
            let stored = item.stored_row(config, Pairing::Halves, row);
            turned.copy_row(part.rows.start + stored, b, part.rows.start + row);
        }
    }
    Some(turned)
}
