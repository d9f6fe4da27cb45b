//! Products with quantized weights: bytes times bytes, exact in integers, one FMA a block.
//!
//! ```text
//! sum[column] = fma(d_w[column] * d_a, (f32) Σ (u - offset) * a, sum[column])      block by block
//!               [then fma(min[column], d_a * Σ a, sum[column])]
//! ```
//!
//! Every piece of [`PIECE_BLOCKS`] blocks is run over twice: with the activations' first bytes, then
//! with those of what the first leave.

use std::cell::Cell;
use std::ops::Range;

use super::activations::{self, RECORD};
use super::kernels::{
    BlockScales, Blocks, Columns, Form, Kernels, QuantBlocks, Quants, Scratch, with_scratch,
};
use super::{PanelOutput, Product, Tiling};
use crate::matrix::layout::{BLOCK, BlockLayout};
use crate::{Dtype, Tensor};

/// Blocks that are expanded at once: with their scales 22 KB, which stay in the first-level cache.
pub(super) const PIECE_BLOCKS: usize = 16;

/// Records of a block: of its activations, and of what these leave.
const TERMS: usize = 2;

/// Rows from which on the next piece is fetched while this one is multiplied.
const PREFETCH_ROWS: usize = 4;

thread_local! {
    static RECORDS: Cell<Vec<i32>> = Cell::default();
    static RESIDUAL: Cell<Vec<f32>> = Cell::default();
}

/// Multiplies with a quantized part.
pub(super) fn run<K: Kernels>(product: &Product<'_>, kernels: K, out: &mut Tensor) {
    let dtype = product.part.dtype;
    let Some(layout) = BlockLayout::of(dtype) else { return };
    let form = Form::of(dtype);
    let tiling = Tiling::new(product.x.rows(), K::TILE_ROWS);
    let blocks = product.x.columns() / BLOCK;
    let mut records = RECORDS.take();
    let words = TERMS * blocks * RECORD;
    product.pack_rows(tiling, words, &mut records, |x, slot, step| {
        let (first, second) = slot.split_at_mut(blocks * RECORD * step);
        kernels.quantize(x, form, first, step);
        let mut rest = RESIDUAL.take();
        activations::residual(x, first, step, &mut rest);
        kernels.quantize(&rest, form, second, step);
        RESIDUAL.set(rest);
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
        let blocks = panel.expand(kernels, piece, scales, quants);
        // A lone row leaves the processor's own prefetching time enough; more only get in its way.
        let next = if sums.len() >= PREFETCH_ROWS { panel.next(first) } else { &[] };
        out.for_tiles(last, next, |slot, rows, next| {
            for term in 0..TERMS {
                let block =
                    TERMS * slot * panel.blocks + (term * panel.blocks + first) * rows.len();
                let next = if term == 0 { next } else { &[] };
                let (blocks, records) = (Blocks { next, ..blocks }, &records[block * RECORD..]);
                kernels.tile(panel.form, blocks, records, &mut sums[rows.clone()]);
            }
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
    /// The stored bytes of the piece after the one that begins at block `first`.
    fn next(&self, first: usize) -> &[u8] {
        let start = self.layout.panel_bytes(first + PIECE_BLOCKS).min(self.bytes.len());
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
