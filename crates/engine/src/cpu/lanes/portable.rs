//! Lanes as a plain array, for any machine, and their scalar twin, one `f32`.

use super::{Arithmetic, Kernel, LANES, Lanes};

/// Sixteen lanes in an array; `mul_add` rounds twice.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct PortableLanes([f32; LANES]);

impl Arithmetic for f32 {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self / other
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        self * factor + term
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self::sqrt(self)
    }
    #[inline(always)]
    fn neg(self) -> Self {
        -self
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    fn select_less(self, bound: Self, then: Self, otherwise: Self) -> Self {
        if self < bound { then } else { otherwise }
    }
    #[inline(always)]
    fn add_bits(self, value: u32) -> Self {
        Self::from_bits(self.to_bits().wrapping_add(value))
    }
    #[inline(always)]
    fn and_bits(self, mask: u32) -> Self {
        Self::from_bits(self.to_bits() & mask)
    }
    #[inline(always)]
    fn xor_bits(self, other: Self) -> Self {
        Self::from_bits(self.to_bits() ^ other.to_bits())
    }
    #[inline(always)]
    fn shift_up<const BITS: u32>(self) -> Self {
        Self::from_bits(self.to_bits() << BITS)
    }
    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "callers shift down to far fewer than 24 bits")]
    fn shifted_integer<const BITS: u32>(self) -> Self {
        (self.to_bits().cast_signed() >> BITS) as Self
    }
}

impl PortableLanes {
    #[inline(always)]
    fn map(self, function: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(function))
    }

    #[inline(always)]
    fn zip(self, other: Self, function: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| function(self.0[lane], other.0[lane])))
    }

    /// Adds or compares halves: 8 with 8, 4 with 4, 2 with 2, 1 with 1.
    #[inline(always)]
    fn fold_halves(self, function: impl Fn(f32, f32) -> f32) -> f32 {
        let mut values = self.0;
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                values[lane] = function(values[lane], values[lane + half]);
            }
            half /= 2;
        }
        values[0]
    }
}

impl Arithmetic for PortableLanes {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, Arithmetic::add)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, Arithmetic::sub)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, Arithmetic::mul)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, Arithmetic::div)
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * factor.0[lane] + term.0[lane]))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.map(f32::sqrt)
    }
    #[inline(always)]
    fn neg(self) -> Self {
        self.map(Arithmetic::neg)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, Arithmetic::max)
    }
    #[inline(always)]
    fn select_less(self, bound: Self, then: Self, otherwise: Self) -> Self {
        Self(std::array::from_fn(|lane| {
            self.0[lane].select_less(bound.0[lane], then.0[lane], otherwise.0[lane])
        }))
    }
    #[inline(always)]
    fn add_bits(self, value: u32) -> Self {
        self.map(|lane| lane.add_bits(value))
    }
    #[inline(always)]
    fn and_bits(self, mask: u32) -> Self {
        self.map(|lane| lane.and_bits(mask))
    }
    #[inline(always)]
    fn xor_bits(self, other: Self) -> Self {
        self.zip(other, Arithmetic::xor_bits)
    }
    #[inline(always)]
    fn shift_up<const BITS: u32>(self) -> Self {
        self.map(Arithmetic::shift_up::<BITS>)
    }
    #[inline(always)]
    fn shifted_integer<const BITS: u32>(self) -> Self {
        self.map(Arithmetic::shifted_integer::<BITS>)
    }
}

impl Lanes for PortableLanes {
    const ACCUMULATORS: usize = 4;

    #[inline(never)]
    fn run_apart<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Self>()
    }
    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        Self(*values)
    }
    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        *values = self.0;
    }
    #[inline(always)]
    fn load_bf16_pair(values: &[u16; 2 * LANES]) -> (Self, Self) {
        let widen = |value: u16| f32::from_bits(u32::from(value) << 16);
        let even = std::array::from_fn(|lane| widen(values[2 * lane]));
        let odd = std::array::from_fn(|lane| widen(values[2 * lane + 1]));
        (Self(even), Self(odd))
    }
    #[inline(always)]
    fn swap_pairs(self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane ^ 1]))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        self.fold_halves(Arithmetic::add)
    }
    #[inline(always)]
    fn maximum(self) -> f32 {
        self.fold_halves(Arithmetic::max)
    }
}
