//! Products with packed weights: what is the same for every kernel path.
//!
//! A task takes some panels of 32 output columns. Piece by piece a panel is expanded to plain
//! operands (bytes and f32 scales, or f32 weights) in the first-level cache, and tiles of a few
//! rows run over each piece; the sums of a block of rows wait in the cache meanwhile. Every output
//! is one chain over `k`, so its bits depend neither on the number of rows nor on the threads.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod expand;
mod float;
mod gradient;
mod kernels;
mod portable;
mod quantized;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(crate) use self::gradient::add_weight_gradient;
use self::kernels::{Columns, Kernels};
use crate::cpu::prefetch::prefetch;
use crate::matrix::PackedPart;
use crate::matrix::layout::{BlockLayout, PANEL_COLUMNS};
use crate::ops::matmul::Store;
use crate::threads::Strip;
use crate::{Device, KernelPath, Matrix, Tensor};

/// Bytes of activations that a task holds on to while panels pass: a share of the second-level
/// cache.
const ROW_BLOCK_BYTES: usize = 384 << 10;
/// The least and the most rows of a block: enough to pay for expanding a panel, and so few that
/// their sums leave most of the first-level cache to the operands.
const ROW_BLOCK: std::ops::RangeInclusive<usize> = 24..=96;
/// Rows whose operands are packed by one thread: fewer are not worth a second one.
const PACK_ROWS: usize = 8;
/// Tasks for each thread: enough to even out threads that are disturbed.
const TASKS_PER_THREAD: usize = 4;

/// [`crate::ops::matmul::forward`] on the fast paths; shapes are checked there.
pub(crate) fn forward(
    device: &Device,
    out: &mut Tensor,
    x: &Tensor,
    weights: &Matrix,
    bias: Option<&Tensor>,
    store: Store,
) {
    let bias = bias.map(|bias| bias.row(0));
    for part in weights.parts() {
        let product = Product { device, x, part, bias, store };
        match device.kernels() {
            #[cfg(target_arch = "x86_64")]
            KernelPath::Avx2 => product.run(avx2::Avx2::detected(), out),
            #[cfg(target_arch = "x86_64")]
            KernelPath::Avx512 => product.run(avx512::Avx512::detected(), out),
            _ => product.run(portable::Portable, out),
        }
    }
}

/// One product: activations with a part of a matrix.
struct Product<'a> {
    device: &'a Device,
    x: &'a Tensor,
    part: &'a PackedPart,
    bias: Option<&'a [f32]>,
    store: Store,
}

impl Product<'_> {
    fn run(&self, kernels: impl Kernels, out: &mut Tensor) {
        if BlockLayout::of(self.part.dtype).is_some() {
            quantized::run(self, kernels, out);
        } else {
            float::run(self, kernels, out);
        }
    }

    /// Writes the operands of all rows, tile by tile in slots of equal size: `write(rows, slot)` puts
    /// the `row_len` operands of each of a tile's rows into its slot.
    fn pack_rows<T: Copy + Default + Send>(
        &self,
        tiling: Tiling,
        row_len: usize,
        packed: &mut Vec<T>,
        write: impl Fn(Range<usize>, &mut [T]) + Sync,
    ) {
        let slot_len = tiling.tile_rows * row_len;
        let len = tiling.count * slot_len;
        packed.resize(len.max(packed.len()), T::default());
        let task_tiles = tiling.count.div_ceil(TASKS_PER_THREAD * self.device.threads());
        let task_tiles = task_tiles.max(PACK_ROWS.div_ceil(tiling.tile_rows));
        self.device.pool().for_chunks(&mut packed[..len], task_tiles * slot_len, |task, slots| {
            for (i, slot) in slots.chunks_exact_mut(slot_len).enumerate() {
                write(tiling.tile(task * task_tiles + i), slot);
            }
        });
    }

    /// Runs `panel(index, output)` for every panel and for blocks of tiles whose activations, of
    /// `row_bytes` each, stay in the cache.
    fn for_panels(
        &self,
        out: &mut Tensor,
        tiling: Tiling,
        row_bytes: usize,
        panel: impl Fn(usize, &mut PanelOutput<'_, '_>) + Sync,
    ) {
        let columns = out.columns();
        let range = self.part.first_row..self.part.first_row + self.part.out_features;
        let panels = self.part.out_features.div_ceil(PANEL_COLUMNS);
        let width = panels.div_ceil(TASKS_PER_THREAD * self.device.threads()) * PANEL_COLUMNS;
        let block_rows = (ROW_BLOCK_BYTES / row_bytes).clamp(*ROW_BLOCK.start(), *ROW_BLOCK.end());
        let block_tiles = block_rows / tiling.tile_rows;
        let pool = self.device.pool();
        pool.for_columns(out.values_mut(), columns, range.clone(), width, |mut strip| {
            for tile in (0..tiling.count).step_by(block_tiles) {
                for first in (0..strip.width()).step_by(PANEL_COLUMNS) {
                    let columns = first..(first + PANEL_COLUMNS).min(strip.width());
                    let index = (strip.first() + first - range.start) / PANEL_COLUMNS;
                    let bias_at = strip.first() + first;
                    let bias = self.bias.map(|bias| &bias[bias_at..bias_at + columns.len()]);
                    let tiles = tile..(tile + block_tiles).min(tiling.count);
                    let (strip, store) = (&mut strip, self.store);
                    panel(index, &mut PanelOutput { strip, tiling, tiles, columns, bias, store });
                }
            }
        });
    }
}

/// Rows cut into tiles: as few as possible, as equal as possible.
#[derive(Clone, Copy, Debug)]
struct Tiling {
    rows: usize,
    /// Most rows of a tile.
    tile_rows: usize,
    count: usize,
}

impl Tiling {
    fn new(rows: usize, tile_rows: usize) -> Self {
        Self { rows, tile_rows, count: rows.div_ceil(tile_rows) }
    }

    /// The rows of a tile.
    fn tile(&self, tile: usize) -> Range<usize> {
        tile * self.rows / self.count..(tile + 1) * self.rows / self.count
    }
}

/// Where the sums of one panel go.
struct PanelOutput<'a, 'b> {
    strip: &'a mut Strip<'b>,
    tiling: Tiling,
    /// The tiles to be computed.
    tiles: Range<usize>,
    /// The panel's columns in the strip.
    columns: Range<usize>,
    bias: Option<&'a [f32]>,
    store: Store,
}

impl PanelOutput<'_, '_> {
    /// Number of rows to be computed.
    fn rows(&self) -> usize {
        self.tiling.tile(self.tiles.end - 1).end - self.first_row()
    }

    fn first_row(&self) -> usize {
        self.tiling.tile(self.tiles.start).start
    }

    /// Runs `work(slot, rows, next)` for each tile: where its slot of packed operands begins,
    /// counted in rows, which of the rows to be computed are its own, and what to fetch on the way:
    /// `next` for the last tile, nothing for others. The output is fetched on the `last` piece.
    fn for_tiles<'n>(
        &mut self,
        last: bool,
        next: &'n [u8],
        mut work: impl FnMut(usize, Range<usize>, &'n [u8]),
    ) {
        let first_row = self.first_row();
        for tile in self.tiles.clone() {
            let rows = self.tiling.tile(tile);
            if last {
                for row in rows.clone() {
                    prefetch(&self.strip.row(row)[self.columns.clone()]);
                }
            }
            let next = if tile + 1 == self.tiles.end { next } else { &[] };
            work(tile * self.tiling.tile_rows, rows.start - first_row..rows.end - first_row, next);
        }
    }

    /// `out = [out +] (sum [+ bias])`.
    fn store(&mut self, sums: &[Columns]) {
        let first_row = self.first_row();
        for (i, sums) in sums.iter().enumerate() {
            let out = &mut self.strip.row(first_row + i)[self.columns.clone()];
            let mut values = *sums;
            if let Some(bias) = self.bias {
                values.0.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
            match (self.store, <&mut [f32; PANEL_COLUMNS]>::try_from(&mut *out)) {
                (Store::Overwrite, Ok(out)) => *out = values.0,
                (Store::Overwrite, Err(_)) => out.copy_from_slice(&values.0[..out.len()]),
                (Store::Add, _) => out.iter_mut().zip(&values.0).for_each(|(o, v)| *o += v),
            }
        }
    }
}
