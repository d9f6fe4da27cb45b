//! Products with float weights: f32 multiply-adds, one chain over `k`.
//!
//! bf16 weights meet activations rounded to bf16, and of each pair of `k` the odd one is added
//! first: the order of the processor's bf16 instruction, whose results these are.

use std::cell::Cell;

use super::kernels::{Columns, FloatRows, Kernels, Scratch, tiles, with_scratch};
use super::{Product, STREAM_ROWS};
use crate::dtype::half::{bf16_to_f32, f32_to_bf16};
use crate::{Dtype, Tensor};

/// Elements along `k` that are expanded at once while a panel streams: 8 KB of f32.
const STREAM_DEPTH: usize = 64;

thread_local! {
    static ROUNDED: Cell<Vec<f32>> = Cell::default();
}

/// Multiplies with a float part.
pub(super) fn run(product: &Product<'_>, kernels: impl Kernels, out: &mut Tensor) {
    let mut rounded = ROUNDED.take();
    let rows = if product.part.dtype == Dtype::Bf16 {
        round(product, &mut rounded)
    } else {
        FloatRows { values: product.x.values(), stride: product.x.columns() }
    };
    product.for_panels(out, |panel, sums| {
        with_scratch(|scratch| {
            let panel = product.part.panels_from(panel);
            multiply(kernels, product.part.dtype, panel, rows, scratch, sums);
        });
    });
    ROUNDED.set(rounded);
}

/// Activations rounded to bf16, the two of each pair exchanged, a last odd one paired with zero.
fn round<'a>(product: &Product<'_>, rounded: &'a mut Vec<f32>) -> FloatRows<'a> {
    let (rows, columns) = (product.x.rows(), product.x.columns());
    let stride = columns.next_multiple_of(2);
    rounded.resize((rows * stride).max(rounded.len()), 0.0);
    let task_rows = rows.div_ceil(4 * product.device.threads()).max(8);
    let pool = product.device.pool();
    pool.for_chunks(&mut rounded[..rows * stride], task_rows * stride, |task, values| {
        for (i, values) in values.chunks_exact_mut(stride).enumerate() {
            let x = product.x.row(task * task_rows + i);
            let exact = |k: usize| bf16_to_f32(f32_to_bf16(x[k]));
            for (pair, value) in values.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let odd = if 2 * pair + 1 < columns { exact(2 * pair + 1) } else { 0.0 };
                *value = [odd, exact(2 * pair)];
            }
        }
    });
    FloatRows { values: rounded, stride }
}

/// The sums of all rows over one panel.
fn multiply<K: Kernels>(
    kernels: K,
    dtype: Dtype,
    panel: &[u8],
    rows: FloatRows<'_>,
    scratch: &mut Scratch,
    sums: &mut [Columns],
) {
    let depth = rows.stride;
    let step = if sums.len() > STREAM_ROWS { depth } else { STREAM_DEPTH.min(depth) };
    let weights = &mut scratch.weights;
    weights.resize(step.max(weights.len()), Columns::ZERO);
    sums.fill(Columns::ZERO);
    for first in (0..depth).step_by(step) {
        let weights = &mut weights[..step.min(depth - first)];
        kernels.expand_floats(dtype, panel, first, weights);
        for tile in tiles(sums.len(), K::FLOAT_TILE_ROWS) {
            let values = &rows.values[tile.start * rows.stride + first..];
            kernels.float_tile(weights, FloatRows { values, ..rows }, &mut sums[tile]);
        }
    }
}
