//! Products with packed weights: what is the same for every kernel path.
//!
//! A task takes some panels of 32 output columns. A panel is expanded to plain operands (bytes and
//! f32 scales, or f32 weights) in a scratch that stays in the cache, and tiles of a few rows run
//! over it: piece by piece while it streams from memory if there are few rows, once as a whole if
//! there are many. Every output is one chain over `k` in either case, so its bits depend neither on
//! the number of rows nor on the threads.

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

use self::kernels::{Columns, Kernels};
use crate::matrix::PackedPart;
use crate::matrix::layout::{BlockLayout, PANEL_COLUMNS};
use crate::ops::matmul::Store;
use crate::threads::Strip;
use crate::{Device, KernelPath, Matrix, Tensor};

/// Rows up to which a panel is expanded piece by piece: it then passes through the first-level
/// cache, and the running sums stay there.
const STREAM_ROWS: usize = 24;

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

    /// Runs `panel(index, sums)` for every panel and stores the sums of each row that it leaves,
    /// `sums[row][column]`.
    fn for_panels(&self, out: &mut Tensor, panel: impl Fn(usize, &mut [Columns]) + Sync) {
        let (rows, columns) = (out.rows(), out.columns());
        let range = self.part.first_row..self.part.first_row + self.part.out_features;
        let width = self.task_panels(rows) * PANEL_COLUMNS;
        self.device.pool().for_columns(
            out.values_mut(),
            columns,
            range.clone(),
            width,
            |mut strip| {
                kernels::with_sums(rows, |sums| {
                    for first in (0..strip.width()).step_by(PANEL_COLUMNS) {
                        panel((strip.first() + first - range.start) / PANEL_COLUMNS, sums);
                        self.store(&mut strip, first, sums);
                    }
                });
            },
        );
    }

    /// Panels of a task: one if each is much work, else so many that each thread gets four tasks.
    fn task_panels(&self, rows: usize) -> usize {
        let panels = self.part.out_features.div_ceil(PANEL_COLUMNS);
        if rows > STREAM_ROWS { 1 } else { panels.div_ceil(4 * self.device.threads()) }
    }

    /// `out = [out +] (sum [+ bias])` for the columns of one panel.
    fn store(&self, strip: &mut Strip<'_>, first: usize, sums: &[Columns]) {
        let range: Range<usize> = first..(first + PANEL_COLUMNS).min(strip.width());
        let bias_at = strip.first() + first;
        for (row, sums) in sums.iter().enumerate() {
            let out = &mut strip.row(row)[range.clone()];
            let mut values = sums.0;
            if let Some(bias) = self.bias {
                for (value, bias) in values.iter_mut().zip(&bias[bias_at..bias_at + out.len()]) {
                    *value += bias;
                }
            }
            match self.store {
                Store::Overwrite => out.copy_from_slice(&values[..out.len()]),
                Store::Add => out.iter_mut().zip(&values).for_each(|(out, value)| *out += value),
            }
        }
    }
}
