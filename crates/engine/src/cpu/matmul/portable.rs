//! Plain Rust kernels: any processor, products and sums rounded one by one.

use super::activations::{self, CORRECTION, LOWER, RECORD, SCALE};
use super::expand;
use super::kernels::{BlockScales, Blocks, Columns, Form, Kernels, Quants};
use crate::Dtype;
use crate::dtype::half::f16_to_f32;
use crate::matrix::layout::PANEL_COLUMNS;

/// Kernels for any processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable;

impl Kernels for Portable {
    const TILE_ROWS: usize = 4;
    const FLOAT_TILE_ROWS: usize = 4;

    fn quantize(self, x: &[f32], form: Form, records: &mut [i32], stride: usize) {
        activations::quantize(x, form, records, stride);
    }

    fn expand(
        self,
        dtype: Dtype,
        panel: &[u8],
        first: usize,
        scales: &mut [BlockScales],
        quants: &mut [Quants],
    ) {
        expand::expand(dtype, panel, first, scales, quants, halves);
    }

    fn tile(self, form: Form, blocks: Blocks<'_>, records: &[i32], sums: &mut [Columns]) {
        let rows = sums.len();
        for (b, scales) in blocks.scales.iter().enumerate() {
            let (records, _) = records[b * RECORD * rows..].as_chunks::<RECORD>();
            for (record, sums) in records.iter().zip(sums.iter_mut()) {
                block(form, scales, blocks.quants.block(b), record, sums);
            }
        }
    }

    fn expand_floats(self, dtype: Dtype, panel: &[u8], first: usize, out: &mut [Columns]) {
        expand::expand_floats(dtype, panel, first, out, halves);
    }

    fn float_tile(self, weights: &[Columns], _next: &[u8], values: &[f32], sums: &mut [Columns]) {
        for (weights, values) in weights.iter().zip(values.chunks_exact(sums.len())) {
            for (sums, x) in sums.iter_mut().zip(values) {
                for (sum, weight) in sums.0.iter_mut().zip(&weights.0) {
                    *sum += weight * x;
                }
            }
        }
    }
}

fn halves(bytes: &[u8; 64]) -> Columns {
    let (halves, _) = bytes.as_chunks::<2>();
    Columns(std::array::from_fn(|c| f16_to_f32(u16::from_le_bytes(halves[c]))))
}

/// Adds one row's product with one block.
fn block(
    form: Form,
    scales: &BlockScales,
    quants: &[u8],
    record: &[i32; RECORD],
    sums: &mut Columns,
) {
    let scale = f32::from_bits(record[SCALE].cast_unsigned());
    let parts = if form.split { 2 } else { 1 };
    for part in 0..parts {
        let start = if form.min { 0 } else { record[CORRECTION + part] };
        let mut totals = [start; PANEL_COLUMNS];
        let depth = 8 / parts;
        for group in part * depth..(part + 1) * depth {
            let [upper, lower] = [record[group], record[LOWER + group]]
                .map(|word| word.to_le_bytes().map(|byte| i32::from(byte.cast_signed())));
            let a: [i32; 4] = std::array::from_fn(|k| 256 * upper[k] + lower[k]);
            let (lanes, _) = quants[group * 4 * PANEL_COLUMNS..].as_chunks::<4>();
            for (total, u) in totals.iter_mut().zip(lanes) {
                *total += i32::from(u[0]) * a[0]
                    + i32::from(u[1]) * a[1]
                    + i32::from(u[2]) * a[2]
                    + i32::from(u[3]) * a[3];
            }
        }
        for (c, sum) in sums.0.iter_mut().enumerate() {
            *sum += (scales.scale[part].0[c] * scale) * totals[c] as f32;
        }
    }
    if form.min {
        let total = f32::from_bits(record[CORRECTION].cast_unsigned());
        for (sum, min) in sums.0.iter_mut().zip(&scales.min.0) {
            *sum += min * total;
        }
    }
}
