//! Rotary embedding in lanes.

use super::lanes::{Kernel, LANES, Lanes};

/// Rotates the heads of one row whose pairs are channels `i` and `i + head_size / 2`; `BACK` by the
/// negative angle.
pub(crate) struct RotateHalves<'a, const BACK: bool> {
    /// Heads side by side, each twice as long as `cosines`.
    pub(crate) heads: &'a mut [f32],
    /// One cosine and one sine per pair.
    pub(crate) cosines: &'a [f32],
    pub(crate) sines: &'a [f32],
}

impl<const BACK: bool> Kernel for RotateHalves<'_, BACK> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let half = self.cosines.len();
        let (cosines, cosine_tail) = self.cosines.as_chunks::<LANES>();
        let (sines, sine_tail) = self.sines.as_chunks::<LANES>();
        for head in self.heads.chunks_exact_mut(2 * half) {
            let (low, high) = head.split_at_mut(half);
            let (low, low_tail) = low.as_chunks_mut::<LANES>();
            let (high, high_tail) = high.as_chunks_mut::<LANES>();
            let pairs = low.iter_mut().zip(high).zip(cosines.iter().zip(sines));
            for ((low, high), (cosine, sine)) in pairs {
                let pair = (L::load(low), L::load(high));
                let rotated = rotate(pair, L::load(cosine), angle::<L, BACK>(L::load(sine)));
                rotated.0.store(low);
                rotated.1.store(high);
            }
            if !low_tail.is_empty() {
                let pair = (L::load_partial(low_tail), L::load_partial(high_tail));
                let sine = angle::<L, BACK>(L::load_partial(sine_tail));
                let rotated = rotate(pair, L::load_partial(cosine_tail), sine);
                rotated.0.store_partial(low_tail);
                rotated.1.store_partial(high_tail);
            }
        }
    }
}

/// The sine of the angle, or of its negative.
#[inline(always)]
fn angle<L: Lanes, const BACK: bool>(sine: L) -> L {
    if BACK { sine.neg() } else { sine }
}

#[inline(always)]
fn rotate<L: Lanes>((low, high): (L, L), cosine: L, sine: L) -> (L, L) {
    let rotated_low = low.mul_add(cosine, high.mul(sine.neg()));
    (rotated_low, high.mul_add(cosine, low.mul(sine)))
}

/// Rotates the heads of one row whose pairs are channels `2 i` and `2 i + 1`; `BACK` by the negative
/// angle.
pub(crate) struct RotateInterleaved<'a, const BACK: bool> {
    /// Heads side by side, each as long as `cosines`.
    pub(crate) heads: &'a mut [f32],
    /// Each pair's cosine twice.
    pub(crate) cosines: &'a [f32],
    /// Each pair's sine twice, the first negated.
    pub(crate) sines: &'a [f32],
}

impl<const BACK: bool> Kernel for RotateInterleaved<'_, BACK> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (cosines, cosine_tail) = self.cosines.as_chunks::<LANES>();
        let (sines, sine_tail) = self.sines.as_chunks::<LANES>();
        for head in self.heads.chunks_exact_mut(self.cosines.len()) {
            let (chunks, tail) = head.as_chunks_mut::<LANES>();
            for (chunk, (cosine, sine)) in chunks.iter_mut().zip(cosines.iter().zip(sines)) {
                let sine = angle::<L, BACK>(L::load(sine));
                turn(L::load(chunk), L::load(cosine), sine).store(chunk);
            }
            if !tail.is_empty() {
                let (cosine, sine) = (L::load_partial(cosine_tail), L::load_partial(sine_tail));
                let sine = angle::<L, BACK>(sine);
                turn(L::load_partial(tail), cosine, sine).store_partial(tail);
            }
        }
    }
}

#[inline(always)]
fn turn<L: Lanes>(x: L, cosine: L, sine: L) -> L {
    x.mul_add(cosine, x.swap_pairs().mul(sine))
}
