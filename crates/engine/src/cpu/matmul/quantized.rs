//! Products with quantized weights: bytes times bytes, exact in integers, one FMA a block.
//!
//! ```text
//! sum[column] = fma(d_w[column] * d_a, (f32) Σ (u - offset) * a, sum[column])      block by block
//!               [then fma(min[column], d_a * Σ a, sum[column])]
//! ```

use std::cell::Cell;
use std::ops::Range;

use super::activations::RECORD;
use super::kernels::{
    BlockScales, Blocks, Columns, Form, Kernels, QuantBlocks, Quants, Rows, Scratch, tiles,
    with_scratch,
};
use super::{PanelOutput, Product};
use crate::matrix::layout::{BLOCK, BlockLayout};
use crate::{Dtype, Tensor};

/// Blocks that are expanded at once: with their scales 22 KB, which stay in the first-level cache.
const PIECE_BLOCKS: usize = 16;

thread_local! {
    static RECORDS: Cell<Vec<i32>> = Cell::default();
}

/// Multiplies with a quantized part.
pub(super) fn run(product: &Product<'_>, kernels: impl Kernels, out: &mut Tensor) {
    let dtype = product.part.dtype;
    let Some(layout) = BlockLayout::of(dtype) else { return };
    let mut records = RECORDS.take();
    quantize(product, kernels, &mut records);
    let blocks = product.x.columns() / BLOCK;
    let rows = Rows { words: &records, stride: blocks * RECORD };
    product.for_panels(out, blocks * RECORD * size_of::<i32>(), |index, out| {
        let bytes = product.part.panels_from(index);
        let panel = Panel { dtype, layout, form: Form::of(dtype), bytes };
        with_scratch(|scratch| multiply(kernels, &panel, rows, scratch, out));
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

/// One panel over a block of rows: expanded piece by piece, all rows over each piece.
fn multiply<K: Kernels>(
    kernels: K,
    panel: &Panel<'_>,
    rows: Rows<'_>,
    scratch: &mut Scratch,
    out: &mut PanelOutput<'_, '_>,
) {
    let total = rows.stride / RECORD;
    scratch.reserve_blocks(PIECE_BLOCKS, out.rows.len());
    let Scratch { scales, quants, sums, .. } = scratch;
    let sums = &mut sums[..out.rows.len()];
    sums.fill(Columns::ZERO);
    for first in (0..total).step_by(PIECE_BLOCKS) {
        let piece = first..(first + PIECE_BLOCKS).min(total);
        let last = piece.end == total;
        let blocks = panel.expand(kernels, piece, scales, quants);
        for tile in tiles(0..sums.len(), K::TILE_ROWS) {
            if last {
                out.prefetch(tile.clone());
            }
            let at = (out.rows.start + tile.start) * rows.stride + first * RECORD;
            let rows = Rows { words: &rows.words[at..], ..rows };
            kernels.tile(panel.form, blocks, rows, &mut sums[tile]);
        }
    }
    out.store(sums);
}

/// A panel as it is stored.
struct Panel<'a> {
    dtype: Dtype,
    layout: BlockLayout,
    form: Form,
    bytes: &'a [u8],
}

impl Panel<'_> {
    fn expand<'a>(
        &'a self,
        kernels: impl Kernels,
        blocks: Range<usize>,
        scales: &'a mut [BlockScales],
        quants: &'a mut [Quants],
    ) -> Blocks<'a> {
        let (scales, quants) = (&mut scales[..blocks.len()], &mut quants[..blocks.len()]);
        kernels.expand(self.dtype, self.bytes, blocks.start, scales, quants);
        if self.dtype == Dtype::Q8_0 {
            let at = self.layout.block_at(blocks.start) + self.layout.quants_at;
            let quants =
                QuantBlocks::InPlace { bytes: &self.bytes[at..], stride: self.layout.block_bytes };
            return Blocks { quants, scales };
        }
        Blocks { quants: QuantBlocks::Expanded(quants), scales }
    }
}
