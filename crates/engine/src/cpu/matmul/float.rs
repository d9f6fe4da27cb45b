//! Products with float weights: f32 multiply-adds, one chain over `k`.
//!
//! bf16 weights meet activations rounded to bf16, and of each pair of `k` the odd one is added
//! first: the order of the processor's bf16 instruction, whose results these are.
//! Operands of a tile lie as `[k][row]`.

use std::cell::Cell;
use std::ops::Range;

use super::kernels::{Columns, Kernels, PAIR_BYTES, Scratch, with_scratch};
use super::{PanelOutput, Product, Tiling};
use crate::dtype::half::{bf16_to_f32, f32_to_bf16};
use crate::matrix::layout;
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
    let form = match dtype {
        Dtype::Bf16 if kernels.multiplies_pairs() => Form::Pairs,
        Dtype::Bf16 => Form::Split,
        _ => Form::Single,
    };
    let depth = match form {
        Form::Single => columns,
        Form::Split => columns.next_multiple_of(2),
        Form::Pairs => columns.div_ceil(2),
    };
    let write = match form {
        Form::Single => write_singles,
        Form::Split => |x: &Tensor, rows, slot: &mut [f32]| for_rows(x, rows, slot, write_split),
        Form::Pairs => |x: &Tensor, rows, slot: &mut [f32]| for_rows(x, rows, slot, write_pairs),
    };
    let mut values = VALUES.take();
    product.pack_rows(tiling, depth, &mut values, |rows, slot| write(product.x, rows, slot));
    product.for_panels(out, tiling, depth * size_of::<f32>(), |index, out| {
        let panel = Panel { dtype, form, depth, bytes: product.part.panels_from(index) };
        with_scratch(|scratch| multiply(kernels, &panel, &values, scratch, out));
    });
    VALUES.set(values);
}

/// What one value of packed activations is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One `k`, as it is.
    Single,
    /// One `k` rounded to bf16; the two of each pair are exchanged.
    Split,
    /// The bits of two `k` rounded to bf16, the even one in the lower half.
    Pairs,
}

/// Rows that are turned over at once: squares of so many values stay in registers.
const TURNED: usize = 4;

fn write_singles(x: &Tensor, rows: Range<usize>, slot: &mut [f32]) {
    let step = rows.len();
    let single = rows.start + step / TURNED * TURNED;
    for first in (rows.start..single).step_by(TURNED) {
        let four = std::array::from_fn(|i| x.row(first + i));
        write_four(four, &mut slot[first - rows.start..], step);
    }
    for row in single..rows.end {
        let own = slot[row - rows.start..].iter_mut().step_by(step);
        own.zip(x.row(row)).for_each(|(value, x)| *value = *x);
    }
}

fn write_four(rows: [&[f32]; TURNED], slot: &mut [f32], step: usize) {
    let squares = rows.map(|row| row.as_chunks::<TURNED>().0);
    let rests = rows.map(|row| row.as_chunks::<TURNED>().1);
    for k in 0..squares[0].len() {
        let square = squares.map(|row| row[k]);
        for column in 0..TURNED {
            let values = square.map(|row| row[column]);
            slot[(k * TURNED + column) * step..][..TURNED].copy_from_slice(&values);
        }
    }
    let first = squares[0].len() * TURNED;
    for k in 0..rests[0].len() {
        slot[(first + k) * step..][..TURNED].copy_from_slice(&rests.map(|row| row[k]));
    }
}

/// Runs `write(x, slot, step)` for each row, whose own values lie at multiples of `step`.
fn for_rows(
    x: &Tensor,
    rows: Range<usize>,
    slot: &mut [f32],
    write: impl Fn(&[f32], &mut [f32], usize),
) {
    for (place, row) in rows.clone().enumerate() {
        write(x.row(row), &mut slot[place..], rows.len());
    }
}

fn write_split(x: &[f32], slot: &mut [f32], step: usize) {
    for_rounded_pairs(x, |pair, [even, odd]| {
        slot[2 * pair * step] = bf16_to_f32(odd);
        slot[(2 * pair + 1) * step] = bf16_to_f32(even);
    });
}

fn write_pairs(x: &[f32], slot: &mut [f32], step: usize) {
    for_rounded_pairs(x, |pair, [even, odd]| {
        slot[pair * step] = f32::from_bits(u32::from(even) | (u32::from(odd) << 16));
    });
}

/// Runs `write(number, pair)` for the pairs of a row in bf16; a last value alone is paired with
/// zero. Rounds many at once, which vectors do well, before they are spread one by one.
#[inline(always)]
fn for_rounded_pairs(x: &[f32], mut write: impl FnMut(usize, [u16; 2])) {
    const CHUNK: usize = 32;
    for (index, x) in x.chunks(CHUNK).enumerate() {
        let mut values = [0.0; CHUNK];
        values[..x.len()].copy_from_slice(x);
        let rounded = values.map(f32_to_bf16);
        let (pairs, _) = rounded.as_chunks::<2>();
        for (pair, rounded) in pairs[..x.len().div_ceil(2)].iter().enumerate() {
            write(index * (CHUNK / 2) + pair, *rounded);
        }
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
    let Scratch { weights: expanded, sums, .. } = scratch;
    let in_place = Columns::of_panel(panel.bytes).filter(|_| panel.dtype == Dtype::F32);
    let sums = &mut sums[..out.rows()];
    sums.fill(Columns::ZERO);
    for first in (0..panel.depth).step_by(PIECE_DEPTH) {
        let count = PIECE_DEPTH.min(panel.depth - first);
        let weights = match in_place {
            Some(weights) => &weights[first..first + count],
            None => {
                let expanded = &mut expanded[..count];
                if panel.form != Form::Pairs {
                    kernels.expand_floats(panel.dtype, panel.bytes, first, expanded);
                }
                &*expanded
            }
        };
        let last = first + count == panel.depth;
        out.for_tiles(last, panel.next(first + count), |slot, rows, next| {
            let at = slot * panel.depth + first * rows.len();
            let (values, sums) = (&values[at..], &mut sums[rows]);
            if panel.form == Form::Pairs {
                let (pairs, _) = panel.bytes.as_chunks::<PAIR_BYTES>();
                kernels.pair_tile(&pairs[first..first + count], next, values, sums);
            } else {
                kernels.float_tile(weights, next, values, sums);
            }
        });
    }
    out.store(sums);
}

/// A panel as it is stored.
struct Panel<'a> {
    dtype: Dtype,
    form: Form,
    /// Packed values of a row.
    depth: usize,
    bytes: &'a [u8],
}

impl Panel<'_> {
    /// The stored bytes of the piece that begins at `first`, or of the next panel's first one.
    fn next(&self, first: usize) -> &[u8] {
        let bytes = |depth: usize| match self.form {
            Form::Pairs => depth * PAIR_BYTES,
            Form::Single | Form::Split => layout::panel_bytes(self.dtype, depth),
        };
        let start = bytes(first).min(self.bytes.len());
        &self.bytes[start..(start + bytes(PIECE_DEPTH)).min(self.bytes.len())]
    }
}
