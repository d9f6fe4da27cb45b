//! Products with float weights: f32 multiply-adds, one chain over `k`.
//!
//! bf16 weights meet activations rounded to bf16, and of each pair of `k` the odd one is added
//! first: the order of the processor's bf16 instruction, whose results these are.
//! Operands of a tile lie as `[k][row]`.

use std::cell::Cell;

use super::kernels::{Columns, Kernels, Scratch, with_scratch};
use super::{PanelOutput, Product, Tiling};
use crate::dtype::half::{bf16_to_f32, f32_to_bf16};
use crate::{Dtype, Tensor};

/// Elements along `k` that are expanded at once: 16 KB of f32, which stay in the first-level cache.
const PIECE_DEPTH: usize = 128;

thread_local! {
    static VALUES: Cell<Vec<f32>> = Cell::default();
}

/// Multiplies with a float part.
pub(super) fn run<K: Kernels>(product: &Product<'_>, kernels: K, out: &mut Tensor) {
    let dtype = product.part.dtype;
    let tiling = Tiling::new(product.x.rows(), K::FLOAT_TILE_ROWS);
    let columns = product.x.columns();
    let depth = if dtype == Dtype::Bf16 { columns.next_multiple_of(2) } else { columns };
    let write = if dtype == Dtype::Bf16 { write_bf16 } else { write_f32 };
    let mut values = VALUES.take();
    product.pack_rows(tiling, depth, &mut values, write);
    product.for_panels(out, tiling, depth * size_of::<f32>(), |index, out| {
        let panel = Panel { dtype, depth, bytes: product.part.panels_from(index) };
        with_scratch(|scratch| multiply(kernels, &panel, &values, scratch, out));
    });
    VALUES.set(values);
}

/// One row as it is.
fn write_f32(x: &[f32], slot: &mut [f32], step: usize) {
    for (value, x) in slot.iter_mut().step_by(step).zip(x) {
        *value = *x;
    }
}

/// One row rounded to bf16, the two of each pair exchanged, a last odd one paired with zero.
fn write_bf16(x: &[f32], slot: &mut [f32], step: usize) {
    for (pair, x) in x.chunks(2).enumerate() {
        slot[2 * pair * step] = x.get(1).map_or(0.0, |&odd| bf16_to_f32(f32_to_bf16(odd)));
        slot[(2 * pair + 1) * step] = bf16_to_f32(f32_to_bf16(x[0]));
    }
}

/// One panel over a block of rows: expanded piece by piece, all rows over each piece.
fn multiply(
    kernels: impl Kernels,
    panel: &Panel<'_>,
    values: &[f32],
    scratch: &mut Scratch,
    out: &mut PanelOutput<'_, '_>,
) {
    scratch.reserve_weights(PIECE_DEPTH, out.rows());
    let Scratch { weights, sums, .. } = scratch;
    let sums = &mut sums[..out.rows()];
    sums.fill(Columns::ZERO);
    for first in (0..panel.depth).step_by(PIECE_DEPTH) {
        let weights = &mut weights[..PIECE_DEPTH.min(panel.depth - first)];
        let last = first + weights.len() == panel.depth;
        kernels.expand_floats(panel.dtype, panel.bytes, first, weights);
        out.for_tiles(last, |slot, rows| {
            let at = slot * panel.depth + first * rows.len();
            kernels.float_tile(weights, &values[at..], &mut sums[rows]);
        });
    }
    out.store(sums);
}

/// A panel as it is stored.
struct Panel<'a> {
    dtype: Dtype,
    /// Elements along `k`, a last one without a partner counted with its zero.
    depth: usize,
    bytes: &'a [u8],
}
