//! The same functions for one `f64`, for tables, references and sums: within 1 unit in the last
//! place.
//!
//! Coefficients and range reductions: fdlibm `e_exp.c`, `e_log.c`, `k_sin.c`, `k_cos.c`,
//! `e_rem_pio2.c`.

/// Added to and taken from a small number, it rounds that number to an integer, ties to even.
const ROUNDING: f64 = 6_755_399_441_055_744.0;

const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// `coefficients[0] + coefficients[1] x + …` by Horner's rule.
fn polynomial<const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, &coefficient| sum * x + coefficient)
}

/// `e^x`, the same bits on every machine: 0 below −708, infinity above 709.78, not a number where `x`
/// is not a number.
#[must_use]
pub fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x > 709.782_712_893_384 {
        return f64::INFINITY;
    }
    if x < -708.0 {
        return 0.0;
    }
    let biased = x * std::f64::consts::LOG2_E + ROUNDING;
    let n = biased - ROUNDING;
    let high = x - n * LN_2_HIGH;
    let low = n * LN_2_LOW;
    let r = high - low;
    let square = r * r;
    let tail = polynomial(
        square,
        [
            1.666_666_666_666_660_2e-1,
            -2.777_777_777_701_559_3e-3,
            6.613_756_321_437_934e-5,
            -1.653_390_220_546_525_2e-6,
            4.138_136_797_057_238_5e-8,
        ],
    );
    let c = r - square * tail;
    let y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    // 2^n in two factors, so that the largest results do not pass through infinity.
    let exponent = biased.to_bits().wrapping_sub(ROUNDING.to_bits());
    let half_power = f64::from_bits(exponent.wrapping_add(1022) << 52);
    y * half_power * 2.0
}

/// The natural logarithm, the same bits on every machine: −infinity at 0, not a number below 0.
#[must_use]
pub fn log(x: f64) -> f64 {
    /// The bit pattern of √½.
    const HALF_ROOT: u64 = 0x3fe6_a09e_667f_3bcd;
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    let (normal, lift) =
        if x < f64::MIN_POSITIVE { (x * 18_014_398_509_481_984.0, -54.0) } else { (x, 0.0) };
    let shifted = normal.to_bits().wrapping_sub(HALF_ROOT);
    #[expect(clippy::cast_precision_loss, reason = "an exponent has eleven bits")]
    let exponent = (shifted.cast_signed() >> 52) as f64 + lift;
    let f = f64::from_bits((shifted & 0x000f_ffff_ffff_ffff).wrapping_add(HALF_ROOT)) - 1.0;
    let half_square = 0.5 * f * f;
    let s = f / (2.0 + f);
    let z = s * s;
    let tail = z * polynomial(
        z,
        [
            6.666_666_666_666_735e-1,
            3.999_999_999_940_942e-1,
            2.857_142_874_366_239e-1,
            2.222_219_843_214_978_4e-1,
            1.818_357_216_161_805e-1,
            1.531_383_769_920_937_3e-1,
            1.479_819_860_511_658_6e-1,
        ],
    );
    exponent * LN_2_HIGH - ((half_square - (s * (half_square + tail) + exponent * LN_2_LOW)) - f)
}

/// `log(1 + x)` with the full precision of small `x`, within 4 units in the last place.
///
/// The rounding of `1 + x` is divided out again: `x / ((1 + x) - 1)` is what it did to the argument,
/// and for so small a change the logarithm is a straight line.
///
/// Source: Kahan's method, as in Goldberg 1991, "What every computer scientist should know about
/// floating-point arithmetic", theorem 4.
#[must_use]
#[expect(clippy::float_cmp, reason = "whether the sum was rounded to exactly one")]
pub fn log_1p(x: f64) -> f64 {
    let sum = 1.0 + x;
    if sum == 1.0 {
        return x;
    }
    let logarithm = log(sum);
    if x.abs() < 1.0 { logarithm * (x / (sum - 1.0)) } else { logarithm }
}

/// `e^x - 1` with the full precision of small `x`, within 4 units in the last place.
///
/// Source: Kahan's method, as in Higham 2002, "Accuracy and stability of numerical algorithms",
/// section 1.14.1.
#[must_use]
#[expect(clippy::float_cmp, reason = "whether the power was rounded to exactly one")]
pub fn exp_m1(x: f64) -> f64 {
    let power = exp(x);
    if power == 1.0 {
        return x;
    }
    let less = power - 1.0;
    if x.abs() < 1.0 { less * (x / log(power)) } else { less }
}

/// Sine and cosine of an angle in radians between −2^20 and 2^20.
pub(crate) fn sin_cos(angle: f64) -> (f64, f64) {
    // π/2 in three parts of 33 bits and a rest: the products with the quarter count are exact.
    const PART_1: f64 = 1.570_796_326_734_125_6;
    const PART_2: f64 = 6.077_100_506_303_966e-11;
    const PART_3: f64 = 2.022_266_248_711_166_5e-21;
    const REST: f64 = 8.478_427_660_368_9e-32;
    let biased = angle * std::f64::consts::FRAC_2_PI + ROUNDING;
    let quarters = biased - ROUNDING;
    let r =
        (((angle - quarters * PART_1) - quarters * PART_2) - quarters * PART_3) - quarters * REST;
    let z = r * r;
    let sine = r + r
        * z
        * polynomial(
            z,
            [
                -1.666_666_666_666_663_2e-1,
                8.333_333_333_322_49e-3,
                -1.984_126_982_985_795e-4,
                2.755_731_370_707_006_8e-6,
                -2.505_076_025_340_686_3e-8,
                1.589_690_995_211_55e-10,
            ],
        );
    let tail = z
        * z
        * polynomial(
            z,
            [
                4.166_666_666_666_66e-2,
                -1.388_888_888_887_411e-3,
                2.480_158_728_947_673e-5,
                -2.755_731_435_139_066_3e-7,
                2.087_572_321_298_175e-9,
                -1.135_964_755_778_819_5e-11,
            ],
        );
    let half = 0.5 * z;
    let rounded = 1.0 - half;
    let cosine = rounded + (((1.0 - rounded) - half) + tail);
    match biased.to_bits() & 3 {
        0 => (sine, cosine),
        1 => (cosine, -sine),
        2 => (-sine, -cosine),
        _ => (-cosine, sine),
    }
}
