//! Tables against known values, turns against the reference.

use super::table::frequencies;
use super::{Pairing, RopeScaling, RopeTable, backward, forward, reference};
use crate::testing::differences::{assert_gradient, dot, widened};
use crate::testing::golden::Golden;
use crate::testing::{assert_close, device, numbers, paths, same_bits};
use crate::{KernelPath, Tensor};

const PAIRINGS: [Pairing; 2] = [Pairing::Halves, Pairing::Interleaved];

fn table(head_size: usize, pairing: Pairing) -> RopeTable {
    RopeTable::new(head_size, 300, 10_000.0, &RopeScaling::None, pairing)
}

#[test]
fn a_quarter_turn_by_hand() {
    // Pair 0 turns by one radian per position.
    let device = device(KernelPath::Reference, 1);
    for (pairing, second) in [(Pairing::Halves, 2), (Pairing::Interleaved, 1)] {
        let mut x = Tensor::zeros(&device, 1, 4);
        let mut values = [0.0; 4];
        values[0] = 1.0;
        values[second] = 2.0;
        x.upload(0, &values);
        forward(&device, &mut x, 0..4, &[3], &table(4, pairing));
        let (sine, cosine) = 3.0_f32.sin_cos();
        let mut expected = [0.0; 4];
        expected[0] = cosine - 2.0 * sine;
        expected[second] = 2.0 * cosine + sine;
        assert_close(&x.to_vec(), &expected, 1e-6, "a turn by 3 radians");
    }
}

#[test]
fn fast_twins_follow_the_reference_at_every_head_size() {
    for head_size in (2..=70).step_by(2).chain([80, 96, 128, 256]) {
        for pairing in PAIRINGS {
            let oracle = device(KernelPath::Reference, 1);
            let (width, positions) = (4 * head_size + 3, [0, 1, 17, 299]);
            let x = Tensor::from_slice(&oracle, 4, width, &numbers(1, 4 * width));
            let table = table(head_size, pairing);
            let columns = 2..2 + 3 * head_size;
            let mut expected = x.clone();
            forward(&oracle, &mut expected, columns.clone(), &positions, &table);
            for path in paths() {
                let mut out = x.clone();
                forward(&device(path, 1), &mut out, columns.clone(), &positions, &table);
                // Two products and a sum of numbers below 1: at most 3 roundings of 2^-24.
                let what = format!("{head_size} {pairing:?} on {path:?}");
                assert_close(&out.to_vec(), &expected.to_vec(), 2e-7, &what);
                for row in 0..4 {
                    let rest = columns.end..width;
                    assert!(same_bits(&out.row(row)[..2], &x.row(row)[..2]), "{what}");
                    assert!(same_bits(&out.row(row)[rest.clone()], &x.row(row)[rest]), "{what}");
                }
            }
        }
    }
}

#[test]
fn rows_stand_alone() {
    let (rows, width) = (60, 12 * 64);
    for path in paths() {
        for pairing in PAIRINGS {
            let table = table(64, pairing);
            let (one, two) = (device(path, 1), device(path, 2));
            let before = Tensor::from_slice(&one, rows, width, &numbers(2, rows * width));
            let positions: Vec<u32> = (0..300).map(|row| row * 37 % 300).take(rows).collect();
            let (mut out, mut again) = (before.clone(), before.clone());
            forward(&one, &mut out, 0..width, &positions, &table);
            forward(&two, &mut again, 0..width, &positions, &table);
            assert!(same_bits(&out.to_vec(), &again.to_vec()), "threads on {path:?}");
            for row in 0..rows {
                let mut alone = Tensor::from_slice(&one, 1, width, before.row(row));
                forward(&one, &mut alone, 0..width, &positions[row..=row], &table);
                assert!(same_bits(alone.row(0), out.row(row)), "row {row} on {path:?}");
            }
        }
    }
}

#[test]
fn tables_are_the_nearest_floats() {
    let table = RopeTable::new(64, 5000, 500_000.0, &RopeScaling::None, Pairing::Halves);
    for position in [0, 1, 77, 4999] {
        for pair in 0..32 {
            let angle = position as f64 * 500_000_f64.powf(-(pair as f64) / 32.0);
            let (cosine, sine) = table.pair(position, pair);
            assert!((f64::from(cosine) - angle.cos()).abs() < 6e-8, "{position}, {pair}");
            assert!((f64::from(sine) - angle.sin()).abs() < 6e-8, "{position}, {pair}");
        }
    }
    assert_eq!(table.memory_bytes(), 5000 * 64 * 4);
}

/// Asserts that some of the frequencies are as listed.
#[track_caller]
fn check(base: f64, scaling: &RopeScaling, expected: &[(usize, f64)], magnitude: f64) {
    let (all, attention) = frequencies(128, base, scaling);
    for &(pair, value) in expected {
        let error = (all[pair] - value).abs() / value;
        assert!(error < 1e-6, "{scaling:?}, pair {pair}: {} and {value}", all[pair]);
    }
    assert!((attention - magnitude).abs() < 1e-9, "{scaling:?}: {attention}");
}

/// Made by `ROPE_INIT_FUNCTIONS[kind](config, "cpu")` of transformers 5.23.0 with head_dim 128.
#[test]
fn scaled_frequencies_follow_transformers() {
    check(
        10_000.0,
        &RopeScaling::Linear { factor: 4.0 },
        &[(0, 2.5e-1), (10, 5.928_434_059e-2), (63, 2.886_954_826e-5)],
        1.0,
    );
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context_tokens: 8192,
    };
    let expected = [
        (0, 1.0),
        (28, 3.211_446_106e-3),
        (30, 1.371_893_683e-3),
        (33, 3.126_936_499e-4),
        (36, 7.784_655_463e-5),
        (63, 3.068_925_878e-7),
    ];
    check(500_000.0, &llama3, &expected, 1.0);
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        original_context_tokens: 32_768,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: None,
    };
    let expected = [
        (0, 1.0),
        (25, 4.131_738_096e-3),
        (28, 1.848_276_588e-3),
        (33, 4.503_235_687e-4),
        (40, 4.445_698_505e-5),
        (63, 3.102_344_408e-7),
    ];
    check(1_000_000.0, &yarn, &expected, 1.138_629_436_111_989);
}

#[test]
fn divisors_slow_each_pair_down() {
    let divisors = RopeScaling::Divisors(vec![1.0, 2.0, 4.0]);
    let (all, magnitude) = frequencies(6, 64.0, &divisors);
    let expected = [1.0, 64_f64.powf(-1.0 / 3.0) / 2.0, 64_f64.powf(-2.0 / 3.0) / 4.0];
    for (frequency, expected) in all.iter().zip(expected) {
        assert!((frequency - expected).abs() < 1e-15, "{all:?}");
    }
    assert!((magnitude - 1.0).abs() < 1e-15, "{magnitude}");
}

#[test]
#[should_panic(expected = "position 300 of 300")]
fn positions_past_the_table_are_refused() {
    let device = device(KernelPath::Portable, 1);
    let mut x = Tensor::zeros(&device, 1, 4);
    forward(&device, &mut x, 0..4, &[300], &table(4, Pairing::Halves));
}

fn stretched(head_size: usize, pairing: Pairing) -> RopeTable {
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        original_context_tokens: 64,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: None,
    };
    RopeTable::new(head_size, 300, 10_000.0, &yarn, pairing)
}

#[test]
fn gradients_follow_differences() {
    for pairing in PAIRINGS {
        for table in [table(12, pairing), stretched(12, pairing)] {
            let (x, d_out) = (widened(&numbers(1, 24)), widened(&numbers(2, 24)));
            let mut d_x = d_out.clone();
            reference::<f64, true>(&mut d_x, &table, 211);
            let loss = |x: &[f64]| {
                let mut out = x.to_vec();
                reference::<f64, false>(&mut out, &table, 211);
                dot(&d_out, &out)
            };
            assert_gradient(&x, &d_x, loss, &format!("{pairing:?}"));
        }
    }
}

#[test]
fn fast_gradients_follow_the_reference_at_every_head_size() {
    for head_size in (2..=70).step_by(2).chain([80, 96, 128, 256]) {
        for pairing in PAIRINGS {
            let oracle = device(KernelPath::Reference, 1);
            let (width, positions) = (4 * head_size + 3, [0, 1, 17, 299]);
            let d_x = Tensor::from_slice(&oracle, 4, width, &numbers(3, 4 * width));
            let table = stretched(head_size, pairing);
            let columns = 2..2 + 3 * head_size;
            let mut expected = d_x.clone();
            backward(&oracle, &mut expected, columns.clone(), &positions, &table);
            for path in paths() {
                let (mut out, mut again) = (d_x.clone(), d_x.clone());
                backward(&device(path, 1), &mut out, columns.clone(), &positions, &table);
                backward(&device(path, 2), &mut again, columns.clone(), &positions, &table);
                let what = format!("{head_size} {pairing:?} on {path:?}");
                assert!(same_bits(&out.to_vec(), &again.to_vec()), "{what}");
                // As forward; the magnitude is 1.14.
                assert_close(&out.to_vec(), &expected.to_vec(), 2.3e-7, &what);
            }
        }
    }
}

#[test]
fn there_and_back() {
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        for pairing in PAIRINGS {
            let device = device(path, 1);
            let before = Tensor::from_slice(&device, 3, 128, &numbers(4, 3 * 128));
            let (table, mut x) = (table(64, pairing), before.clone());
            forward(&device, &mut x, 0..128, &[5, 0, 299], &table);
            backward(&device, &mut x, 0..128, &[5, 0, 299], &table);
            assert_close(&x.to_vec(), &before.to_vec(), 4e-7, &format!("{pairing:?}, {path:?}"));
        }
    }
}

#[test]
fn gradients_follow_pytorch() {
    let golden = Golden::read();
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let device = device(path, 1);
        for (pairing, name) in PAIRINGS.into_iter().zip(["halves", "interleaved"]) {
            let table = RopeTable::new(8, 300, 10_000.0, &RopeScaling::None, pairing);
            let d_out = golden.list("rope.d_out");
            let mut d_x = Tensor::from_slice(&device, 3, 16, &d_out);
            backward(&device, &mut d_x, 0..16, &[0, 7, 250], &table);
            golden.assert_close(&d_x.to_vec(), &format!("rope.{name}.d_x"));
        }
    }
}
