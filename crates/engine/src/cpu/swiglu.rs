//! SwiGLU in lanes.

use super::lanes::{Kernel, LANES, Lanes};
use crate::math;

/// One run of gated values: `out = gate / (1 + e^-gate) * up`.
pub(crate) struct Swiglu<'a> {
    pub(crate) out: &'a mut [f32],
    pub(crate) gate: &'a [f32],
    pub(crate) up: &'a [f32],
}

impl Kernel for Swiglu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (out, out_tail) = self.out.as_chunks_mut::<LANES>();
        let (gate, gate_tail) = self.gate.as_chunks::<LANES>();
        let (up, up_tail) = self.up.as_chunks::<LANES>();
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            gated(L::load(gate), L::load(up)).store(out);
        }
        if !out_tail.is_empty() {
            let value = gated(L::load_partial(gate_tail), L::load_partial(up_tail));
            value.store_partial(out_tail);
        }
    }
}

#[inline(always)]
fn gated<L: Lanes>(gate: L, up: L) -> L {
    gate.div(math::exp(gate.neg()).add(L::splat(1.0))).mul(up)
}

/// One run of gradients: with `s = 1 / (1 + e^-gate)`, `d_up = d_out * gate * s` and
/// `d_gate = d_out * up * s * (1 + gate * (1 - s))`.
pub(crate) struct Backward<'a> {
    pub(crate) d_gate: &'a mut [f32],
    pub(crate) d_up: &'a mut [f32],
    pub(crate) d_out: &'a [f32],
    pub(crate) gate: &'a [f32],
    pub(crate) up: &'a [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (d_gate, d_gate_tail) = self.d_gate.as_chunks_mut::<LANES>();
        let (d_up, d_up_tail) = self.d_up.as_chunks_mut::<LANES>();
        let (d_out, d_out_tail) = self.d_out.as_chunks::<LANES>();
        let (gate, gate_tail) = self.gate.as_chunks::<LANES>();
        let (up, up_tail) = self.up.as_chunks::<LANES>();
        let inputs = d_out.iter().zip(gate.iter().zip(up));
        for ((d_gate, d_up), (d_out, (gate, up))) in d_gate.iter_mut().zip(d_up).zip(inputs) {
            let gradients = gradients(L::load(d_out), L::load(gate), L::load(up));
            gradients.0.store(d_gate);
            gradients.1.store(d_up);
        }
        if !d_gate_tail.is_empty() {
            let (gate, up) = (L::load_partial(gate_tail), L::load_partial(up_tail));
            let gradients = gradients(L::load_partial(d_out_tail), gate, up);
            gradients.0.store_partial(d_gate_tail);
            gradients.1.store_partial(d_up_tail);
        }
    }
}

/// The gradients of gate and up.
#[inline(always)]
fn gradients<L: Lanes>(d_out: L, gate: L, up: L) -> (L, L) {
    let (zero, one) = (L::splat(0.0), L::splat(1.0));
    let exponential = math::exp(gate.neg());
    let open = one.div(exponential.add(one));
    // 1 - open, without cancellation on either side.
    let closed = gate.select_less(zero, one.sub(open), exponential.mul(open));
    let slope = gate.mul_add(closed, one).mul(open);
    (d_out.mul(up).mul(slope), d_out.mul(gate.mul(open)))
}
