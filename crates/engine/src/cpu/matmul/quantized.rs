//! Products with quantized weights: bytes times bytes, exact in integers, one FMA a block.
//!
//! ```text
//! sum[column] = fma(d_w[column] * d_a, (f32) Σ (u - offset) * a, sum[column])      block by block
//!               [then fma(min[column], d_a * Σ a, sum[column])]
//! ```

use std::cell::Cell;

use super::activations::RECORD;
use super::kernels::{
    BlockScales, Blocks, Columns, Form, Kernels, QUANTS_BYTES, Rows, Scratch, tiles, with_scratch,
};
use super::{Product, STREAM_ROWS};
use crate::matrix::layout::{BLOCK, BlockLayout};
use crate::{Dtype, Tensor};

/// Blocks that are expanded at once while a panel streams; K types share headers over these many.
const STREAM_BLOCKS: usize = 8;

thread_local! {
    static RECORDS: Cell<Vec<i32>> = Cell::default();
}

/// Multiplies with a quantized part.
pub(super) fn run(product: &Product<'_>, kernels: impl Kernels, out: &mut Tensor) {
    let mut records = RECORDS.take();
    quantize(product, kernels, &mut records);
    let blocks = product.x.columns() / BLOCK;
    let rows = Rows { words: &records, stride: blocks * RECORD };
    product.for_panels(out, |panel, sums| {
        with_scratch(|scratch| {
            let panel = product.part.panels_from(panel);
            multiply(kernels, product.part.dtype, panel, rows, scratch, sums);
        });
    });
    RECORDS.set(records);
}

/// Quantizes all activations, several rows to a task if there are many.
fn quantize(product: &Product<'_>, kernels: impl Kernels, records: &mut Vec<i32>) {
    let form = Form::of(product.part.dtype);
    let (rows, columns) = (product.x.rows(), product.x.columns());
    let stride = columns / BLOCK * RECORD;
    records.resize((rows * stride).max(records.len()), 0);
    let task_rows = rows.div_ceil(4 * product.device.threads()).max(8);
    let records = &mut records[..rows * stride];
    product.device.pool().for_chunks(records, task_rows * stride, |task, records| {
        for (i, records) in records.chunks_exact_mut(stride).enumerate() {
            kernels.quantize(product.x.row(task * task_rows + i), form, records);
        }
    });
}

/// The sums of all rows over one panel.
fn multiply<K: Kernels>(
    kernels: K,
    dtype: Dtype,
    panel: &[u8],
    rows: Rows<'_>,
    scratch: &mut Scratch,
    sums: &mut [Columns],
) {
    let Some(layout) = BlockLayout::of(dtype) else { return };
    let form = Form::of(dtype);
    let total = rows.stride / RECORD;
    let step = if sums.len() > STREAM_ROWS { total } else { STREAM_BLOCKS.min(total) };
    let Scratch { scales, quants, .. } = scratch;
    scales.resize(step.max(scales.len()), BlockScales::ZERO);
    quants.resize(step.max(quants.len()), [0; QUANTS_BYTES]);
    sums.fill(Columns::ZERO);
    for first in (0..total).step_by(step) {
        let count = step.min(total - first);
        kernels.expand(dtype, panel, first, &mut scales[..count], &mut quants[..count]);
        let (quants, stride) = if dtype == Dtype::Q8_0 {
            (&panel[layout.block_at(first) + layout.quants_at..], layout.block_bytes)
        } else {
            (quants.as_flattened(), QUANTS_BYTES)
        };
        let blocks = Blocks { quants, stride, scales: &scales[..count] };
        for tile in tiles(sums.len(), K::TILE_ROWS) {
            let words = &rows.words[tile.start * rows.stride + first * RECORD..];
            kernels.tile(form, blocks, Rows { words, ..rows }, &mut sums[tile]);
        }
    }
}
