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
