//! Products with quantized weights: bytes times bytes, exact in integers, one FMA a block.
//!
//! ```text
//! sum[column] = fma(d_w[column] * d_a, (f32) Σ (u - offset) * a, sum[column])      block by block
//!               [then fma(min[column], d_a * Σ a, sum[column])]
//! ```
//!
//! `a` has 16 bits: its two bytes are multiplied one after the other (see `activations.rs`).

use std::cell::Cell;
use std::ops::Range;

use super::activations::RECORD;
use super::kernels::{
    BlockScales, Blocks, Columns, Form, Kernels, QuantBlocks, Quants, Scratch, with_scratch,
};
use super::{PanelOutput, Product, Tiling};
use crate::matrix::layout::{BLOCK, BlockLayout};
use crate::{Dtype, Tensor};

/// Blocks that are expanded at once: with their scales, the activations' records and the piece that
/// is fetched meanwhile they stay in the first-level cache.
const PIECE_BLOCKS: usize = 9;

thread_local! {
    static RECORDS: Cell<Vec<i32>> = Cell::default();
}

/// Multiplies with a quantized part.
pub(super) fn run<K: Kernels>(product: &Product<'_>, kernels: K, out: &mut Tensor) {
    let dtype = product.part.dtype;
    let Some(layout) = BlockLayout::of(dtype) else { return };
    let form = Form::of(dtype);
    let tiling = Tiling::new(product.x.rows(), K::TILE_ROWS);
    let blocks = product.x.columns() / BLOCK;
    let mut records = RECORDS.take();
    let words = blocks * RECORD;
    product.pack_rows(tiling, words, &mut records, |rows, slot| {
        for (place, row) in rows.clone().enumerate() {
            let records = &mut slot[place * RECORD..];
            kernels.quantize(product.x.row(row), form, records, rows.len() * RECORD);
        }
    });
    product.for_panels(out, tiling, words * size_of::<i32>(), |index, out| {
        let panel = Panel { dtype, layout, form, blocks, bytes: product.part.panels_from(index) };
        with_scratch(|scratch| multiply(kernels, &panel, &records, scratch, out));
    });
    RECORDS.set(records);
}

/// One panel over a block of rows: expanded piece by piece, all rows over each piece.
fn multiply(
    kernels: impl Kernels,
    panel: &Panel<'_>,
    records: &[i32],
    scratch: &mut Scratch,
    out: &mut PanelOutput<'_, '_>,
) {
    scratch.reserve_blocks(PIECE_BLOCKS, out.rows());
    let Scratch { scales, quants, sums, .. } = scratch;
    let sums = &mut sums[..out.rows()];
    sums.fill(Columns::ZERO);
    for first in (0..panel.blocks).step_by(PIECE_BLOCKS) {
        let piece = first..(first + PIECE_BLOCKS).min(panel.blocks);
        let last = piece.end == panel.blocks;
        let next = panel.piece(piece.end);
        let blocks = panel.expand(kernels, piece, scales, quants);
        out.for_tiles(last, next, |slot, rows, next| {
            let block = slot * panel.blocks + first * rows.len();
            let (blocks, records) = (Blocks { next, ..blocks }, &records[block * RECORD..]);
            kernels.tile(panel.form, blocks, records, &mut sums[rows]);
        });
    }
    out.store(sums);
}

/// A panel as it is stored.
struct Panel<'a> {
    dtype: Dtype,
    layout: BlockLayout,
    form: Form,
    blocks: usize,
    bytes: &'a [u8],
}

impl Panel<'_> {
    /// The stored bytes of the piece that begins at block `first`, or of the next panel's first one.
    fn piece(&self, first: usize) -> &[u8] {
        let start = self.layout.panel_bytes(first).min(self.bytes.len());
        let len = PIECE_BLOCKS * self.layout.block_bytes;
        &self.bytes[start..(start + len).min(self.bytes.len())]
    }

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
            return Blocks { quants, scales, next: &[] };
        }
        Blocks { quants: QuantBlocks::Expanded(quants), scales, next: &[] }
    }
}
