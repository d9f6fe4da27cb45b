//! Errors against the platform's `f64` functions, and scalar against vector twins.
#![expect(clippy::cast_possible_truncation, reason = "bit patterns, and roundings that are meant")]

use crate::cpu::lanes::{Arithmetic, Fused, Kernel, LANES, Lanes, run};
use crate::device::KernelPath;
use crate::testing::paths;

/// Every `f32` function under test, with its true value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Exp,
    Log,
    Sin,
    Cos,
}

const FUNCTIONS: [Function; 4] = [Function::Exp, Function::Log, Function::Sin, Function::Cos];

impl Function {
    #[inline(always)]
    fn apply<A: Arithmetic>(self, x: A) -> A {
        match self {
            Self::Exp => super::exp(x),
            Self::Log => super::log(x),
            Self::Sin => super::sin_cos(x).0,
            Self::Cos => super::sin_cos(x).1,
        }
    }

    fn truth(self, x: f64) -> f64 {
        match self {
            Self::Exp => x.exp(),
            Self::Log => x.ln(),
            Self::Sin => x.sin(),
            Self::Cos => x.cos(),
        }
    }

    fn in_range(self, x: f32) -> bool {
        match self {
            Self::Exp => (-86.98..=88.722).contains(&x),
            Self::Log => x > 0.0 && x.is_finite(),
            Self::Sin | Self::Cos => x.abs() <= 8192.0,
        }
    }
}

struct OnLanes<'a>(Function, &'a mut [f32]);

impl Kernel for OnLanes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for chunk in self.1.as_chunks_mut::<LANES>().0 {
            self.0.apply(L::load(chunk)).store(chunk);
        }
    }
}

/// Bit patterns over the whole of `f32`, 16 at a time.
fn patterns() -> Vec<f32> {
    let stride = 4_099;
    let count = (u64::from(u32::MAX) / stride) as u32 / 16 * 16;
    (0..count).map(|index| f32::from_bits(index * stride as u32)).collect()
}

/// Units in the last place of the true value.
fn error_in_places(value: f32, truth: f64) -> f64 {
    let nearest = (truth.abs() as f32).max(f32::MIN_POSITIVE);
    let place = f64::from(f32::from_bits(nearest.to_bits() + 1)) - f64::from(nearest);
    (f64::from(value) - truth).abs() / place
}

fn largest_error(path: KernelPath, function: Function) -> f64 {
    let inputs: Vec<f32> = patterns().into_iter().filter(|&x| function.in_range(x)).collect();
    let inputs = &inputs[..inputs.len() / LANES * LANES];
    let mut outputs = inputs.to_vec();
    run(path, OnLanes(function, &mut outputs));
    let error = |(&x, &y): (&f32, &f32)| {
        let truth = function.truth(f64::from(x));
        match function {
            Function::Exp | Function::Log => error_in_places(y, truth),
            Function::Sin | Function::Cos => (f64::from(y) - truth).abs(),
        }
    };
    inputs.iter().zip(&outputs).map(error).fold(0.0, f64::max)
}

#[test]
fn measured_errors_stay_within_the_documented_bounds() {
    for path in paths() {
        for function in FUNCTIONS {
            let bound = match function {
                Function::Exp => 1.5,
                Function::Log => 1.0,
                Function::Sin | Function::Cos => 1e-7,
            };
            let error = largest_error(path, function);
            assert!(error <= bound, "{function:?} on {path:?}: {error}");
        }
    }
}

#[test]
fn vector_twins_agree_with_scalar_twins_to_the_bit() {
    let inputs = patterns();
    for path in paths() {
        let fused = matches!(path, KernelPath::Avx2 | KernelPath::Avx512);
        for function in FUNCTIONS {
            let mut outputs = inputs.clone();
            run(path, OnLanes(function, &mut outputs));
            for (&x, y) in inputs.iter().zip(outputs) {
                let scalar = if fused { function.apply(Fused(x)).0 } else { function.apply(x) };
                let same = scalar.to_bits() == y.to_bits() || (scalar.is_nan() && y.is_nan());
                assert!(same, "{function:?}({x:?}) on {path:?}: {scalar:?} and {y:?}");
            }
        }
    }
}

#[test]
fn values_at_the_edges() {
    assert_eq!(super::exp(0.0_f32).to_bits(), 1.0_f32.to_bits());
    assert_eq!(super::exp(f32::NEG_INFINITY).to_bits(), 0);
    assert_eq!(super::exp(-87.5_f32).to_bits(), 0);
    assert_eq!(super::exp(f32::INFINITY).to_bits(), f32::INFINITY.to_bits());
    assert_eq!(super::exp(89.0_f32).to_bits(), f32::INFINITY.to_bits());
    assert!(super::exp(f32::NAN).is_nan());
    assert_eq!(super::log(1.0_f32).to_bits(), 0);
    assert_eq!(super::log(0.0_f32).to_bits(), f32::NEG_INFINITY.to_bits());
    assert_eq!(super::log(f32::INFINITY).to_bits(), f32::INFINITY.to_bits());
    assert!(super::log(-1.0_f32).is_nan());
    assert!(super::log(f32::NAN).is_nan());
    assert_eq!(super::sin_cos(0.0_f32), (0.0, 1.0));
}

#[test]
fn double_functions_follow_the_platform() {
    for step in -700_000..=700_000_i32 {
        let x = f64::from(step) * 1.000_123e-3;
        let error = (super::double::exp(x) - x.exp()).abs() / x.exp();
        assert!(error < 4e-16, "exp({x}): {error}");
        let (sine, cosine) = super::double::sin_cos(x * 1000.0);
        assert!((sine - (x * 1000.0).sin()).abs() < 2.3e-16, "sin({x})");
        assert!((cosine - (x * 1000.0).cos()).abs() < 2.3e-16, "cos({x})");
        let positive = x.exp();
        let error = (super::double::log(positive) - positive.ln()).abs();
        assert!(error <= 4e-16 * positive.ln().abs().max(0.5), "log({positive}): {error}");
    }
    for (angle, expected) in [(0.0, 1.0_f64), (std::f64::consts::PI, -1.0)] {
        assert_eq!(super::cosine(angle).to_bits(), expected.to_bits());
    }
    assert!(super::double::log(0.0) == f64::NEG_INFINITY && super::double::log(-1.0).is_nan());
    assert!(super::double::exp(-1000.0) == 0.0 && super::double::exp(1000.0) == f64::INFINITY);
}

#[test]
fn functions_near_one_keep_the_precision_of_small_arguments() {
    use super::double::{exp_m1, log_1p};
    for step in 0..=200_000_i32 {
        let size = (f64::from(step) * 2e-4 - 38.0).exp2();
        for x in [size, -size] {
            let (truth, error) = (x.exp_m1(), (exp_m1(x) - x.exp_m1()).abs());
            assert!(error <= 9e-16 * truth.abs(), "exp_m1({x}): {error}");
            if x > -1.0 {
                let (truth, error) = (x.ln_1p(), (log_1p(x) - x.ln_1p()).abs());
                assert!(error <= 9e-16 * truth.abs(), "log_1p({x}): {error}");
            }
        }
    }
    for tiny in [0.0, 1e-300, -1e-20] {
        assert_eq!(exp_m1(tiny).to_bits(), tiny.to_bits());
        assert_eq!(log_1p(tiny).to_bits(), tiny.to_bits());
    }
    assert!(log_1p(-1.0) == f64::NEG_INFINITY && log_1p(f64::INFINITY) == f64::INFINITY);
    assert!(exp_m1(-1e4).to_bits() == (-1.0_f64).to_bits() && exp_m1(1e4) == f64::INFINITY);
    assert!(log_1p(-2.0).is_nan() && exp_m1(f64::NAN).is_nan());
}

/// The nearest numbers, by Python's `decimal` with 50 digits, each within one place of what must
/// come out everywhere.
#[test]
fn the_bits_of_a_few_values_stay() {
    for (x, exp, log) in [
        (0.5_f64, 0x3ffa_6129_8e1e_069c_u64, 0xbfe6_2e42_fefa_39ef_u64),
        (2.0, 0x401d_8e64_b8d4_ddae, 0x3fe6_2e42_fefa_39ef),
        (10.0, 0x40d5_829d_cf95_0560, 0x4002_6bb1_bbb5_5516),
    ] {
        assert!(super::double::exp(x).to_bits().abs_diff(exp) <= 1, "exp({x})");
        assert!(super::double::log(x).to_bits().abs_diff(log) <= 1, "log({x})");
    }
}
