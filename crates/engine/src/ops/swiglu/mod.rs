//! SwiGLU: `out[c] = gate[c] / (1 + e^-gate[c]) * up[c]`, gate and up side by side in each row.
//!
//! Every value stands alone, so no result depends on batch, chunking or threads
//! (`fast_twins_follow_the_reference_and_do_not_depend_on_threads`); the exponential is the
//! engine's own.
//!
//! Source: Shazeer, "GLU variants improve transformer", 2020, arXiv:2002.05202.

#[cfg(test)]
mod tests;

use crate::cpu::{lanes, swiglu};
use crate::math::double;
use crate::ops::rows_per_task;
use crate::{Device, KernelPath, Tensor};

/// Gates every row.
///
/// # Shapes
///
/// - `gate_up`: `[rows, 2 * columns]`, the gate first
/// - `out`: `[rows, columns]`
///
/// # Panics
///
/// Panics if the shapes differ.
pub fn forward(device: &Device, out: &mut Tensor, gate_up: &Tensor) {
    let columns = out.columns();
    assert_eq!(gate_up.columns(), 2 * columns, "columns of gate_up and twice those of out");
    assert_eq!(gate_up.rows(), out.rows(), "rows of gate_up and of out");
    let rows_per_task = rows_per_task(columns);
    let path = device.kernels();
    device.pool().for_chunks(out.values_mut(), rows_per_task * columns.max(1), |task, rows| {
        for (index, out) in rows.chunks_exact_mut(columns).enumerate() {
            let (gate, up) = gate_up.row(task * rows_per_task + index).split_at(columns);
            match path {
                KernelPath::Reference => reference(out, gate, up),
                _ => lanes::run(path, swiglu::Swiglu { out, gate, up }),
            }
        }
    });
}

#[expect(clippy::cast_possible_truncation, reason = "results in f64 are rounded to f32 once")]
fn reference(out: &mut [f32], gate: &[f32], up: &[f32]) {
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        let gate = f64::from(gate);
        *out = (gate / (1.0 + double::exp(-gate)) * f64::from(up)) as f32;
    }
}
