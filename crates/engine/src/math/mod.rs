//! Exponential, logarithm, sine and cosine as polynomials of our own, the same bits wherever they
//! run.
//!
//! The platform's math library differs from machine to machine; these functions use nothing but
//! IEEE additions, products and divisions. Each `f32` function is written once over
//! [`Arithmetic`]: for one value and for sixteen lanes, so that the scalar and the vector twin of a
//! path agree to the bit (`vector_twins_agree_with_scalar_twins_to_the_bit`).
//!
//! Largest errors found against `f64` (`measured_errors_stay_within_the_documented_bounds`), in
//! units of the last place of the true value:
//!
//! | function | range | error |
//! |---|---|---|
//! | [`exp`] | −86.98 … 88.72 | 1.5 |
//! | [`log`] | all positive values | 1.0 |
//! | [`sin_cos`] | −8192 … 8192 | 1e-7 absolute |
//!
//! The `f64` functions of [`double`] serve tables and references, where speed is no matter.

pub(crate) mod double;
mod real;

#[cfg(test)]
mod tests;

pub(crate) use real::Real;

use crate::cpu::lanes::Arithmetic;

/// The cosine of an angle in radians between −2^20 and 2^20, the same bits on every machine: for
/// schedules, whose rates end in the weights.
#[must_use]
pub fn cosine(angle: f64) -> f64 {
    double::sin_cos(angle).1
}

/// Added to and taken from a small number, it rounds that number to an integer, ties to even; the
/// low bits of the sum are the integer itself.
const ROUNDING: f32 = 12_582_912.0;

/// `coefficients[0] * x^(n-1) + … + coefficients[n-1]` by Horner's rule.
#[inline(always)]
fn polynomial<A: Arithmetic, const N: usize>(x: A, coefficients: [f32; N]) -> A {
    let mut sum = A::splat(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        sum = sum.mul_add(x, A::splat(coefficient));
    }
    sum
}

/// `e^x`: 0 below −86.98, infinity above 88.72, not a number where `x` is not a number.
///
/// `x = n ln 2 + r`; `e^r` is a polynomial, `2^n` is made from its bits. The polynomial is of `2
/// e^r` and the power `2^(n-1)`, so that the largest results do not pass through infinity.
/// Coefficients: Cephes `expf`.
#[inline(always)]
pub(crate) fn exp<A: Arithmetic>(x: A) -> A {
    /// ln of the largest finite number.
    const HIGHEST: f32 = 88.722_83;
    /// 125.5 ln 2: below it `2^(n-1)` would not be a normal number.
    const LOWEST: f32 = -86.98;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let biased = x.mul_add(A::splat(std::f32::consts::LOG2_E), A::splat(ROUNDING));
    let n = biased.sub(A::splat(ROUNDING));
    let r = n.mul_add(A::splat(-LN_2_HIGH), x);
    let r = n.mul_add(A::splat(-LN_2_LOW), r);
    let tail = polynomial(
        r,
        [
            2.0 * 1.987_569_2e-4,
            2.0 * 1.398_199_9e-3,
            2.0 * 8.333_452e-3,
            2.0 * 4.166_579_6e-2,
            2.0 * 1.666_666_5e-1,
            2.0 * 0.5,
        ],
    );
    let twice = tail.mul_add(r.mul(r), r.add(r)).add(A::splat(2.0));
    // The exponent field of 2^(n-1) is n + 126; the higher bits of `biased` fall off the shift.
    let power = biased.add_bits(126).shift_up::<23>();
    let result = twice.mul(power);
    let result = A::splat(HIGHEST).select_less(x, A::splat(f32::INFINITY), result);
    x.select_less(A::splat(LOWEST), A::splat(0.0), result)
}

/// The natural logarithm: −infinity at 0, not a number below 0.
///
/// `x = 2^e (1 + f)` with `1 + f` between √½ and √2. Coefficients: Cephes `logf`.
#[inline(always)]
pub(crate) fn log<A: Arithmetic>(x: A) -> A {
    /// The bit pattern of √½.
    const HALF_ROOT: u32 = 0x3f35_04f3;
    const SMALLEST_NORMAL: f32 = f32::MIN_POSITIVE;
    // Subnormal values are brought up by 2^23 first.
    let smallest = A::splat(SMALLEST_NORMAL);
    let normal = x.select_less(smallest, x.mul(A::splat(8_388_608.0)), x);
    let lift = x.select_less(smallest, A::splat(-23.0), A::splat(0.0));
    let shifted = normal.add_bits(HALF_ROOT.wrapping_neg());
    let exponent = shifted.shifted_integer::<23>().add(lift);
    let fraction = shifted.and_bits(0x007f_ffff).add_bits(HALF_ROOT);
    let result = log_from_parts(fraction.sub(A::splat(1.0)), exponent);
    let largest = A::splat(f32::MAX);
    let result = largest.select_less(x, x, result);
    let zero = A::splat(0.0);
    let result = zero.select_less(x, result, A::splat(f32::NEG_INFINITY));
    let result = x.select_less(zero, A::splat(f32::NAN), result);
    // A value that is not a number failed every comparison so far; here it becomes the result.
    let zero_or_nan = A::splat(f32::NEG_INFINITY).select_less(x, zero, x.sub(x));
    result.add(zero_or_nan)
}

/// `log(1 + fraction) + exponent ln 2` for `fraction` between √½ − 1 and √2 − 1.
#[inline(always)]
pub(crate) fn log_from_parts<A: Arithmetic>(fraction: A, exponent: A) -> A {
    let square = fraction.mul(fraction);
    let tail = polynomial(
        fraction,
        [
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_8e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    let small = exponent.mul_add(A::splat(-2.121_944_4e-4), fraction.mul(square).mul(tail));
    let small = square.mul_add(A::splat(-0.5), small);
    exponent.mul_add(A::splat(0.693_359_4), fraction.add(small))
}

/// Sine and cosine of an angle in radians, for angles between −8192 and 8192.
///
/// The angle is brought to within π/4 of a multiple of π/2, whose three-part subtraction is exact
/// enough in that range. Coefficients: Cephes `sinf`, `cosf`.
#[inline(always)]
pub(crate) fn sin_cos<A: Arithmetic>(angle: A) -> (A, A) {
    let biased = angle.mul_add(A::splat(std::f32::consts::FRAC_2_PI), A::splat(ROUNDING));
    let quarters = biased.sub(A::splat(ROUNDING));
    let r = quarters.mul_add(A::splat(-1.570_312_5), angle);
    let r = quarters.mul_add(A::splat(-4.837_513e-4), r);
    let r = quarters.mul_add(A::splat(-7.549_79e-8), r);
    let square = r.mul(r);
    let tail = polynomial(square, [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1]);
    let sine = tail.mul_add(square.mul(r), r);
    let tail = polynomial(square, [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2]);
    let cosine = tail.mul_add(square.mul(square), square.mul_add(A::splat(-0.5), A::splat(1.0)));
    // Odd quarters swap the two; the second bit is the sine's sign, and one quarter later the
    // cosine's.
    let odd = biased.and_bits(1).shift_up::<24>();
    let zero = A::splat(0.0);
    let sine_magnitude = zero.select_less(odd, cosine, sine);
    let cosine_magnitude = zero.select_less(odd, sine, cosine);
    let sine_sign = biased.and_bits(2).shift_up::<30>();
    let cosine_sign = biased.add_bits(1).and_bits(2).shift_up::<30>();
    (sine_magnitude.xor_bits(sine_sign), cosine_magnitude.xor_bits(cosine_sign))
}
