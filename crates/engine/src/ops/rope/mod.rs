//! Rotary position embedding: each pair of channels of a head turns by an angle that grows with the
//! position.
//!
//! With `angle = position * frequency[i]` for pair `i` of `(a, b)`:
//! `a' = a cos(angle) - b sin(angle)`, `b' = b cos(angle) + a sin(angle)`.
//!
//! Backward, the gradient of a pair turns by the negative angle (and is stretched by the same
//! magnitude, where a scaling has one): `da = da' cos(angle) + db' sin(angle)`,
//! `db = db' cos(angle) - da' sin(angle)`.
//!
//! Cosines and sines are looked up in a [`RopeTable`] that is computed in `f64` by the engine's own
//! functions and rounded once, so it is the same on every path. Each row stands alone: no result
//! depends on batch, chunking or threads (`rows_stand_alone`).
//!
//! Source: Su et al., "RoFormer", 2021, arXiv:2104.09864.

mod table;

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::cpu::{lanes, rope};
use crate::math::Real;
use crate::ops::rows_per_task;
use crate::{Device, KernelPath, Tensor};

pub use table::{Pairing, RopeScaling, RopeTable, divisors};

/// Turns, in place, every head in some columns of every row to the row's position.
///
/// In a fused `[rows, q | k | v]` tensor the columns are those of `q` and `k` together.
///
/// # Shapes
///
/// - `x`: `[rows, …]`, with heads of the table's `head_size` side by side in `columns`
/// - `positions`: `[rows]`
///
/// # Panics
///
/// Panics if `columns` are not whole heads of `x`, or a position lies outside the table.
pub fn forward(
    device: &Device,
    x: &mut Tensor,
    columns: Range<usize>,
    positions: &[u32],
    table: &RopeTable,
) {
    turn_rows::<false>(device, x, columns, positions, table);
}

/// The gradient of [`forward`], in place: `d_x` comes with the gradient of the turned heads in its
/// `columns` and leaves with that of the heads before; its other columns stay as they are.
///
/// # Shapes
///
/// As those of [`forward`].
///
/// # Panics
///
/// Panics if `columns` are not whole heads of `d_x`, or a position lies outside the table.
pub fn backward(
    device: &Device,
    d_x: &mut Tensor,
    columns: Range<usize>,
    positions: &[u32],
    table: &RopeTable,
) {
    turn_rows::<true>(device, d_x, columns, positions, table);
}

/// Turns every row's heads by their angles, `BACK` by the negative ones.
fn turn_rows<const BACK: bool>(
    device: &Device,
    x: &mut Tensor,
    columns: Range<usize>,
    positions: &[u32],
    table: &RopeTable,
) {
    let (width, head_size, path) = (x.columns(), table.head_size(), device.kernels());
    assert_eq!(x.rows(), positions.len(), "rows of x and positions");
    assert!(columns.end <= width, "columns {columns:?} of {width}");
    assert!(columns.len().is_multiple_of(head_size), "{columns:?} in heads of {head_size}");
    for &position in positions {
        let context_tokens = table.context_tokens();
        assert!((position as usize) < context_tokens, "position {position} of {context_tokens}");
    }
    let rows_per_task = rows_per_task(columns.len());
    device.pool().for_chunks(x.values_mut(), rows_per_task * width, |task, rows| {
        let positions = &positions[task * rows_per_task..];
        for (row, &position) in rows.chunks_exact_mut(width).zip(positions) {
            turn::<BACK>(path, &mut row[columns.clone()], table, position as usize);
        }
    });
}

/// Turns the heads of one row.
fn turn<const BACK: bool>(path: KernelPath, heads: &mut [f32], table: &RopeTable, position: usize) {
    let (cosines, sines) = table.row(position);
    match (path, table.pairing()) {
        (KernelPath::Reference, _) => reference::<f32, BACK>(heads, table, position),
        (_, Pairing::Halves) => {
            lanes::run(path, rope::RotateHalves::<BACK> { heads, cosines, sines });
        }
        (_, Pairing::Interleaved) => {
            lanes::run(path, rope::RotateInterleaved::<BACK> { heads, cosines, sines });
        }
    }
}

fn reference<T: Real, const BACK: bool>(heads: &mut [T], table: &RopeTable, position: usize) {
    let half = table.head_size() / 2;
    for head in heads.chunks_exact_mut(2 * half) {
        for pair in 0..half {
            let (first, second) = match table.pairing() {
                Pairing::Halves => (pair, pair + half),
                Pairing::Interleaved => (2 * pair, 2 * pair + 1),
            };
            let (cosine, sine) = table.pair(position, pair);
            let (cosine, sine) = (f64::from(cosine), f64::from(if BACK { -sine } else { sine }));
            let (a, b): (f64, f64) = (head[first].into(), head[second].into());
            head[first] = T::rounded(a * cosine - b * sine);
            head[second] = T::rounded(b * cosine + a * sine);
        }
    }
}
