//! Products with float weights: f32 multiply-adds, one chain over `k`.
//!
//! bf16 weights meet activations rounded to bf16, and of each pair of `k` the odd one is added
//! first: the order of the processor's bf16 instruction, whose results these are.

use std::cell::Cell;

use super::kernels::{Columns, FloatRows, Kernels, Scratch, tiles, with_scratch};
use super::{PanelOutput, Product};
use crate::dtype::half::{bf16_to_f32, f32_to_bf16};
use crate::{Dtype, Tensor};

/// Elements along `k` that are expanded at once: 16 KB of f32, which stay in the first-level cache.
const PIECE_DEPTH: usize = 128;

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
    product.for_panels(out, rows.stride * size_of::<f32>(), |index, out| {
        let panel = Panel { dtype: product.part.dtype, bytes: product.part.panels_from(index) };
        with_scratch(|scratch| multiply(kernels, &panel, rows, scratch, out));
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

/// One panel over a block of rows: expanded piece by piece, all rows over each piece.
fn multiply<K: Kernels>(
    kernels: K,
    panel: &Panel<'_>,
    rows: FloatRows<'_>,
    scratch: &mut Scratch,
    out: &mut PanelOutput<'_, '_>,
) {
    let depth = rows.stride;
    scratch.reserve_weights(PIECE_DEPTH, out.rows.len());
    let Scratch { weights, sums, .. } = scratch;
    let sums = &mut sums[..out.rows.len()];
    sums.fill(Columns::ZERO);
    for first in (0..depth).step_by(PIECE_DEPTH) {
        let weights = &mut weights[..PIECE_DEPTH.min(depth - first)];
        let last = first + weights.len() == depth;
        kernels.expand_floats(panel.dtype, panel.bytes, first, weights);
        for tile in tiles(0..sums.len(), K::FLOAT_TILE_ROWS) {
            if last {
                out.prefetch(tile.clone());
            }
            let at = (out.rows.start + tile.start) * rows.stride + first;
            let rows = FloatRows { values: &rows.values[at..], ..rows };
            kernels.float_tile(weights, rows, &mut sums[tile]);
        }
    }
    out.store(sums);
}

/// A panel as it is stored.
struct Panel<'a> {
    dtype: Dtype,
    bytes: &'a [u8],
}
