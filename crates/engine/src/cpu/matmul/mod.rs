//! Products with packed weights: what is the same for every kernel path.
//!
//! A task takes some panels of 32 output columns. Piece by piece a panel is expanded to plain
//! operands (bytes and f32 scales, or f32 weights) in the first-level cache, and tiles of a few rows
//! run over each piece; the sums of a block of rows wait in the cache meanwhile. Every output is one
//! chain over `k`, so its bits depend neither on the number of rows nor on the threads.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod expand;
mod float;
mod kernels;
mod portable;
mod quantized;
#[cfg(test)]
mod tests;

use std::ops::Range;

use self::kernels::{Columns, Kernels, tiles};
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

    /// Runs `panel(index, output)` for every panel and for blocks of rows whose activations, of
    /// `row_bytes` each, stay in the cache.
    fn for_panels(
        &self,
        out: &mut Tensor,
        row_bytes: usize,
        panel: impl Fn(usize, &mut PanelOutput<'_, '_>) + Sync,
    ) {
        let (rows, columns) = (out.rows(), out.columns());
        let range = self.part.first_row..self.part.first_row + self.part.out_features;
        let panels = self.part.out_features.div_ceil(PANEL_COLUMNS);
        let width = panels.div_ceil(TASKS_PER_THREAD * self.device.threads()) * PANEL_COLUMNS;
        let block_rows = (ROW_BLOCK_BYTES / row_bytes).clamp(*ROW_BLOCK.start(), *ROW_BLOCK.end());
        let pool = self.device.pool();
        pool.for_columns(out.values_mut(), columns, range.clone(), width, |mut strip| {
            for rows in tiles(0..rows, block_rows) {
                for first in (0..strip.width()).step_by(PANEL_COLUMNS) {
                    let columns = first..(first + PANEL_COLUMNS).min(strip.width());
                    let index = (strip.first() + first - range.start) / PANEL_COLUMNS;
                    let bias_at = strip.first() + first;
                    let bias = self.bias.map(|bias| &bias[bias_at..bias_at + columns.len()]);
                    let (strip, rows, store) = (&mut strip, rows.clone(), self.store);
                    panel(index, &mut PanelOutput { strip, rows, columns, bias, store });
                }
            }
        });
    }
}

/// Where the sums of one panel go.
struct PanelOutput<'a, 'b> {
    strip: &'a mut Strip<'b>,
    /// The rows to be computed.
    rows: Range<usize>,
    /// The panel's columns in the strip.
    columns: Range<usize>,
    bias: Option<&'a [f32]>,
    store: Store,
}

impl PanelOutput<'_, '_> {
    /// Has the lines of some of the rows fetched while their sums are computed.
    fn prefetch(&mut self, rows: Range<usize>) {
        for row in rows {
            prefetch(&self.strip.row(self.rows.start + row)[self.columns.clone()]);
        }
    }

    /// `out = [out +] (sum [+ bias])`.
    fn store(&mut self, sums: &[Columns]) {
        for (row, sums) in self.rows.clone().zip(sums) {
            let out = &mut self.strip.row(row)[self.columns.clone()];
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
