//! An adapter that learns beside a model whose own weights stay.

use engine::ops::matmul::{self, Precision, Store};
use engine::{Device, Tensor};

use super::{Copies, dtype_of};
use crate::adapter::{Adapter, PRODUCTS, Place, Product};
use crate::error::Error;

/// An adapter with its gradients and what products read of it.
#[derive(Debug)]
pub(super) struct Learning {
    pub(super) adapter: Adapter,
    pub(super) gradients: Vec<Tensor>,
    copies: Vec<Copies>,
    scale: f32,
    precision: Precision,
    /// `scale * x · Aᵀ` of each product of each layer, kept for the way back.
    lows: Vec<[Option<Tensor>; PRODUCTS]>,
    /// The gradient of one of them.
    d_lows: [Option<Tensor>; PRODUCTS],
}

impl Learning {
    pub(super) fn new(
        device: &Device,
        adapter: Adapter,
        precision: Precision,
    ) -> Result<Self, Error> {
        let dtype = dtype_of(precision);
        let weights = adapter.weights();
        let zeros = |weight: &Tensor| Tensor::zeros(device, weight.rows(), weight.columns());
        let copies =
            weights.iter().map(|weight| Copies::zeros(dtype, [weight.rows(), weight.columns()]));
        let low = |place: &Place| Tensor::zeros(device, 0, weights[place.a].rows());
        let lows = adapter
            .places()
            .iter()
            .map(|places| places.each_ref().map(|place| place.as_ref().map(low)));
        let lows: Vec<_> = lows.collect();
        let mut learning = Self {
            gradients: weights.iter().map(zeros).collect(),
            copies: copies.collect::<Result<_, _>>()?,
            scale: adapter.scale(),
            precision,
            // All layers are alike.
            d_lows: lows.first().cloned().unwrap_or_default(),
            lows,
            adapter,
        };
        learning.refresh(device);
        Ok(learning)
    }

    /// Lets products read the weights as they are now.
    pub(super) fn refresh(&mut self, device: &Device) {
        for (weight, copies) in self.adapter.weights().iter().zip(&mut self.copies) {
            copies.write(device, weight);
        }
    }

    /// Weights to be changed, with their gradients.
    pub(super) fn weights_and_gradients(&mut self) -> (&mut [Tensor], &[Tensor]) {
        self.clear_beside_blocks();
        (self.adapter.weights_mut(), &self.gradients)
    }

    /// Clears what `B`s got outside of their blocks, so that these places stay zero.
    ///
    /// `d_out` of one matrix meets the low rows of the others there: products do not know blocks.
    fn clear_beside_blocks(&mut self) {
        for Place { a, parts } in self.adapter.places().iter().flatten().flatten() {
            if parts.len() == 1 && parts[0].rows.len() == self.gradients[a + 1].rows() {
                continue;
            }
            let gradient = &mut self.gradients[a + 1];
            let mut row = vec![0.0; gradient.columns()];
            for at in 0..gradient.rows() {
                gradient.download_row(at, &mut row);
                let own = parts.iter().find(|part| part.rows.contains(&at));
                let own = own.map_or(0..0, |part| part.ranks.clone());
                for (rank, value) in row.iter_mut().enumerate() {
                    *value = if own.contains(&rank) { *value } else { 0.0 };
                }
                gradient.upload(at, &row);
            }
        }
    }

    /// Adds to a product's output: `out += scale * (x · Aᵀ) · Bᵀ`.
    pub(super) fn forward(
        &mut self,
        device: &Device,
        (layer, product): (usize, Product),
        out: &mut Tensor,
        x: &Tensor,
    ) {
        let Some(&Place { a, .. }) = self.adapter.place(layer, product) else { return };
        let Some(low) = &mut self.lows[layer][product as usize] else { return };
        low.resize_rows(x.rows());
        matmul::forward(device, low, x, &self.copies[a].forward, None, Store::Overwrite);
        low.scale(device, self.scale);
        matmul::forward(device, out, low, &self.copies[a + 1].forward, None, Store::Add);
    }

    /// Adds the gradients of `A` and `B`, and adds to that of the input.
    ///
    /// `d_low = scale * d_out · B`, `d_B += d_outᵀ · low`, `d_A += d_lowᵀ · x`, `d_x += d_low · A`.
    pub(super) fn backward(
        &mut self,
        device: &Device,
        (layer, product): (usize, Product),
        d_x: &mut Tensor,
        d_out: &Tensor,
        x: &Tensor,
    ) {
        let Some(&Place { a, .. }) = self.adapter.place(layer, product) else { return };
        let Some(low) = &self.lows[layer][product as usize] else { return };
        let Some(d_low) = &mut self.d_lows[product as usize] else { return };
        let [of_a, of_b] = [&self.copies[a], &self.copies[a + 1]];
        d_low.resize_rows(x.rows());
        matmul::forward(device, d_low, d_out, of_b.backward(), None, Store::Overwrite);
        d_low.scale(device, self.scale);
        let precision = self.precision;
        matmul::add_weight_gradient(device, &mut self.gradients[a + 1], d_out, low, precision);
        matmul::add_weight_gradient(device, &mut self.gradients[a], d_low, x, precision);
        matmul::forward(device, d_x, d_low, of_a.backward(), None, Store::Add);
    }
}
