//! SwiGLU: `out[c] = gate[c] / (1 + e^-gate[c]) * up[c]`, gate and up side by side in each row.
//!
//! Backward, with `s = 1 / (1 + e^-gate)`: `d_up = d_out * gate * s` and
//! `d_gate = d_out * up * s * (1 + gate * (1 - s))`.
//!
//! Every value stands alone, so no result depends on batch, chunking or threads
//! (`fast_twins_follow_the_reference_and_do_not_depend_on_threads`); the exponential is the
//! engine's own.
//!
//! Source: Shazeer, "GLU variants improve transformer", 2020, arXiv:2002.05202.

#[cfg(test)]
mod tests;

use crate::cpu::{lanes, swiglu};
use crate::math::{Real, double};
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

/// The gradient of [`forward`]; `d_gate_up` is overwritten.
///
/// # Shapes
///
/// - `d_gate_up`, `gate_up`: `[rows, 2 * columns]`, the gate first
/// - `d_out`: `[rows, columns]`
///
/// # Panics
///
/// Panics if the shapes differ.
pub fn backward(device: &Device, d_gate_up: &mut Tensor, d_out: &Tensor, gate_up: &Tensor) {
    let (rows, columns) = (d_out.rows(), d_out.columns());
    let shape = (rows, 2 * columns);
    assert_eq!((gate_up.rows(), gate_up.columns()), shape, "shape of gate_up by d_out");
    assert_eq!((d_gate_up.rows(), d_gate_up.columns()), shape, "shape of d_gate_up by d_out");
    let rows_per_task = rows_per_task(2 * columns);
    let (path, run) = (device.kernels(), rows_per_task * shape.1.max(1));
    device.pool().for_chunks(d_gate_up.values_mut(), run, |task, rows| {
        for (index, row) in rows.chunks_exact_mut(2 * columns).enumerate() {
            let row_index = task * rows_per_task + index;
            let (d_gate, d_up) = row.split_at_mut(columns);
            let (gate, up) = gate_up.row(row_index).split_at(columns);
            let d_out = d_out.row(row_index);
            match path {
                KernelPath::Reference => reference_backward([d_gate, d_up], d_out, gate, up),
                _ => lanes::run(path, swiglu::Backward { d_gate, d_up, d_out, gate, up }),
            }
        }
    });
}

fn reference<T: Real>(out: &mut [T], gate: &[T], up: &[T]) {
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        let gate = gate.into();
        *out = T::rounded(gate / (1.0 + double::exp(-gate)) * up.into());
    }
}

fn reference_backward<T: Real>([d_gate, d_up]: [&mut [T]; 2], d_out: &[T], gate: &[T], up: &[T]) {
    for c in 0..d_out.len() {
        let (d_out, gate, up) = (d_out[c].into(), gate[c].into(), up[c].into());
        let open = 1.0 / (1.0 + double::exp(-gate));
        let closed = 1.0 / (1.0 + double::exp(gate));
        d_up[c] = T::rounded(d_out * gate * open);
        d_gate[c] = T::rounded(d_out * up * open * (1.0 + gate * closed));
    }
}
