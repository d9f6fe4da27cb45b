//! Every operation of every path's lanes against one `f32` at a time.

use super::{Kernel, LANES, Lanes, run};
use crate::testing::{numbers, paths, same_bits};

/// Results of all operations on two lots of lanes, in one list.
struct Everything<'a> {
    left: &'a [f32; LANES],
    right: &'a [f32; LANES],
    halves: &'a [u16; 2 * LANES],
}

impl Kernel for Everything<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Vec<f32> {
        let (left, right) = (L::load(self.left), L::load(self.right));
        let (even, odd) = L::load_bf16_pair(self.halves);
        let results = [
            left.add(right),
            left.sub(right),
            left.mul(right),
            left.div(right),
            left.mul(left).sqrt(),
            left.neg(),
            left.max(right),
            left.select_less(right, L::splat(3.0), left),
            left.add_bits(5),
            left.and_bits(0xffff_0000),
            left.xor_bits(right),
            left.shift_up::<3>(),
            left.shifted_integer::<23>(),
            left.swap_pairs(),
            even,
            odd,
            L::load_partial(&self.left[..5]),
        ];
        let mut list = vec![0.0; LANES * results.len()];
        for (lanes, out) in results.into_iter().zip(list.as_chunks_mut::<LANES>().0) {
            lanes.store(out);
        }
        let mut partial = [7.0; 9];
        right.store_partial(&mut partial);
        list.extend(partial);
        list.extend([left.sum(), right.maximum()]);
        list
    }
}

fn expected(left: &[f32; LANES], right: &[f32; LANES], halves: &[u16; 2 * LANES]) -> Vec<f32> {
    let zip = |function: &dyn Fn(f32, f32) -> f32| -> Vec<f32> {
        left.iter().zip(right).map(|(&a, &b)| function(a, b)).collect()
    };
    let bits = |function: &dyn Fn(u32) -> u32| -> Vec<f32> {
        left.iter().map(|a| f32::from_bits(function(a.to_bits()))).collect()
    };
    let widened: Vec<f32> = halves.iter().map(|&v| f32::from_bits(u32::from(v) << 16)).collect();
    let mut list = zip(&|a, b| a + b);
    list.extend(zip(&|a, b| a - b));
    list.extend(zip(&|a, b| a * b));
    list.extend(zip(&|a, b| a / b));
    list.extend(zip(&|a, _| (a * a).sqrt()));
    list.extend(zip(&|a, _| -a));
    list.extend(zip(&|a, b| if a > b { a } else { b }));
    list.extend(zip(&|a, b| if a < b { 3.0 } else { a }));
    list.extend(bits(&|a| a.wrapping_add(5)));
    list.extend(bits(&|a| a & 0xffff_0000));
    list.extend(zip(&|a, b| f32::from_bits(a.to_bits() ^ b.to_bits())));
    list.extend(bits(&|a| a << 3));
    list.extend(left.iter().map(|a| (a.to_bits().cast_signed() >> 23) as f32));
    list.extend((0..LANES).map(|lane| left[lane ^ 1]));
    list.extend(widened.iter().step_by(2));
    list.extend(widened.iter().skip(1).step_by(2));
    list.extend(left.iter().take(5).chain(&[0.0; 11]));
    list.extend(&right[..9]);
    let fold = |function: &dyn Fn(f32, f32) -> f32, mut values: Vec<f32>| {
        while values.len() > 1 {
            let half = values.len() / 2;
            values = (0..half).map(|lane| function(values[lane], values[lane + half])).collect();
        }
        values[0]
    };
    list.push(fold(&|a, b| a + b, left.to_vec()));
    list.push(fold(&f32::max, right.to_vec()));
    list
}

#[test]
fn lanes_do_what_single_values_do() {
    for seed in 0..50 {
        let left: [f32; LANES] = numbers(seed, LANES).try_into().unwrap();
        let right: [f32; LANES] = numbers(seed + 100, LANES).try_into().unwrap();
        let halves: Vec<u16> =
            numbers(seed, 2 * LANES).iter().map(|v| (v.to_bits() >> 16) as u16).collect();
        let halves: [u16; 2 * LANES] = halves.try_into().unwrap();
        let expected = expected(&left, &right, &halves);
        for path in paths() {
            let all = run(path, Everything { left: &left, right: &right, halves: &halves });
            assert!(same_bits(&all, &expected), "{path:?}: {all:?}, expected {expected:?}");
        }
    }
}

/// One `mul_add`, whose rounding is a property of the path.
struct MulAdd([f32; 3]);

impl Kernel for MulAdd {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self) -> f32 {
        let [a, b, c] = self.0.map(L::splat);
        a.mul_add(b, c).maximum()
    }
}

#[test]
fn fused_products_round_once() {
    // (1 + 2^-12)^2 - 1 - 2^-11 is 2^-24, which a rounded product loses.
    let a = 1.0 + 1.0 / 4096.0;
    for path in paths() {
        let rest = run(path, MulAdd([a, a, -(1.0 + 1.0 / 2048.0)]));
        let fused = path != crate::KernelPath::Portable;
        let expected = if fused { 1.0 / 16_777_216.0 } else { 0.0 };
        assert!(same_bits(&[rest], &[expected]), "{path:?}: {rest}");
    }
}
