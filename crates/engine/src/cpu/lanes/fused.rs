//! One lane of the paths with fused products: the scalar twin that tests compare with.

use super::Arithmetic;

/// One lane of a path with fused products: `mul_add` rounds once.
#[derive(Clone, Copy)]
pub(crate) struct Fused(pub(crate) f32);

/// Forwards every operation but `mul_add` to `f32`.
impl Arithmetic for Fused {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(value)
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(self.0 * other.0)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(self.0 / other.0)
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(self.0.mul_add(factor.0, term.0))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.sqrt())
    }
    #[inline(always)]
    fn neg(self) -> Self {
        Self(-self.0)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(Arithmetic::max(self.0, other.0))
    }
    #[inline(always)]
    fn select_less(self, bound: Self, then: Self, otherwise: Self) -> Self {
        if self.0 < bound.0 { then } else { otherwise }
    }
    #[inline(always)]
    fn add_bits(self, value: u32) -> Self {
        Self(self.0.add_bits(value))
    }
    #[inline(always)]
    fn and_bits(self, mask: u32) -> Self {
        Self(self.0.and_bits(mask))
    }
    #[inline(always)]
    fn xor_bits(self, other: Self) -> Self {
        Self(self.0.xor_bits(other.0))
    }
    #[inline(always)]
    fn shift_up<const BITS: u32>(self) -> Self {
        Self(self.0.shift_up::<BITS>())
    }
    #[inline(always)]
    fn shifted_integer<const BITS: u32>(self) -> Self {
        Self(self.0.shifted_integer::<BITS>())
    }
}
