//! Losses by hand and against the sampler; gradients against differences, PyTorch and the reference.

use super::*;
use crate::testing::differences::{assert_gradient, widened};
use crate::testing::golden::Golden;
use crate::testing::{assert_close, device, numbers, paths, same_bits};

/// Logits, targets and weights of a chunk of rows.
struct Case {
    logits: Tensor,
    tokens: Vec<u32>,
    weights: Vec<f32>,
    scale: f32,
    temperature: f32,
}

/// All that is written.
#[derive(Debug)]
struct Written {
    d_logits: Vec<f32>,
    losses: Vec<f32>,
    logprobs: Vec<f32>,
    entropies: Vec<f32>,
}

impl Case {
    /// Logits between -15 and 15; every fifth row is ignored.
    fn new(rows: usize, vocab: usize) -> Self {
        let values: Vec<f32> = numbers(1, rows * vocab).iter().map(|x| 15.0 * x).collect();
        let logits = Tensor::from_slice(&device(KernelPath::Reference, 1), rows, vocab, &values);
        let mut weights = numbers(2, rows);
        weights.iter_mut().skip(2).step_by(5).for_each(|weight| *weight = 0.0);
        let count = u32::try_from(vocab).unwrap();
        let token = |row: u32| if row % 5 == 2 { u32::MAX } else { row * 7919 % count };
        let tokens = (0..).take(rows).map(token).collect();
        Self { logits, tokens, weights, scale: 0.25, temperature: 1.0 }
    }

    fn run(&self, device: &Device) -> Written {
        let rows = self.tokens.len();
        let mut logits = self.logits.clone();
        let mut written = Written {
            d_logits: Vec::new(),
            losses: vec![f32::NAN; rows],
            logprobs: vec![f32::NAN; rows],
            entropies: vec![f32::NAN; rows],
        };
        let results = Results {
            losses: &mut written.losses,
            logprobs: &mut written.logprobs,
            entropies: Some(&mut written.entropies),
        };
        forward_backward(device, &mut logits, &self.targets(0..rows), results);
        written.d_logits = logits.to_vec();
        written
    }

    fn targets(&self, rows: std::ops::Range<usize>) -> Targets<'_> {
        Targets {
            tokens: &self.tokens[rows.clone()],
            weights: &self.weights[rows],
            scale: self.scale,
            temperature: self.temperature,
        }
    }
}

#[test]
fn an_example_by_hand() {
    let oracle = device(KernelPath::Reference, 1);
    let case = Case {
        logits: Tensor::from_slice(&oracle, 2, 2, &[1.0, 3.0, 9.0, 9.0]),
        tokens: vec![0, 7],
        weights: vec![1.0, 0.0],
        scale: 0.5,
        temperature: 2.0,
    };
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let written = case.run(&device(path, 1));
        // Probabilities 1 / (1 + e^±1).
        assert_close(&written.logprobs, &[-1.313_261_7, 0.0], 1e-6, "log-probability");
        assert_close(&written.losses, &[0.656_630_8, 0.0], 1e-6, "loss");
        assert_close(&written.entropies, &[0.582_203_1, 0.0], 1e-6, "entropy");
        let expected = [-0.182_764_65, 0.182_764_65, 0.0, 0.0];
        assert_close(&written.d_logits, &expected, 1e-7, "gradient");
    }
}

#[test]
fn gradients_follow_differences() {
    for vocab in (1..=20).chain([70]) {
        for temperature in [0.5, 1.0, 2.0] {
            let logits: Vec<f64> = widened(&numbers(3, vocab)).iter().map(|x| 3.0 * x).collect();
            let (factor, target) = (-0.7, vocab / 2);
            let mut d_logits = logits.clone();
            reference_backward(&mut d_logits, target, factor, temperature);
            let loss = |logits: &[f64]| -factor * reference(logits, target, temperature)[0];
            assert_gradient(&logits, &d_logits, loss, &format!("{vocab} at {temperature}"));
        }
    }
}

#[test]
fn fast_twins_follow_the_reference_at_every_size() {
    for vocab in (1..=70).chain([255, 256, 257, 49_152]) {
        for temperature in [0.3, 1.0, 2.0] {
            let case = Case { temperature, ..Case::new(4, vocab) };
            let expected = case.run(&device(KernelPath::Reference, 1));
            for path in paths() {
                let written = case.run(&device(path, 1));
                let what = format!("{vocab} at {temperature} on {path:?}");
                // Exponents reach 100, whose rounding of 4e-6 comes where probabilities are 0;
                // those that count lie within 20 of the largest: 2e-6 of a probability. Log-sums
                // agree within 1e-6, log-probabilities of 100 within 8e-6 more.
                let factor = case.scale / temperature;
                assert_close(&written.d_logits, &expected.d_logits, 3e-6 * factor, &what);
                assert_close(&written.logprobs, &expected.logprobs, 1e-5, &what);
                assert_close(&written.losses, &expected.losses, 1e-5, &what);
                assert_close(&written.entropies, &expected.entropies, 2e-5, &what);
            }
        }
    }
}

#[test]
fn log_probabilities_are_those_of_the_sampler() {
    let case = Case { temperature: 0.7, ..Case::new(9, 1003) };
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let device = device(path, 2);
        let written = case.run(&device);
        for row in (0..9).filter(|row| row % 5 != 2) {
            let logits = case.logits.row(row);
            let sums = log_softmax::row(&device, logits, 0.7);
            let logprob = sums.logprob(logits[case.tokens[row] as usize]);
            assert!(same_bits(&[written.logprobs[row]], &[logprob]), "row {row} on {path:?}");
        }
    }
}

#[test]
fn rows_stand_alone() {
    let (rows, vocab) = (61, 331);
    let case = Case::new(rows, vocab);
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let expected = case.run(&device(path, 1));
        for (threads, part) in [(2, rows), (3, rows), (2, 7), (1, 1)] {
            let device = device(path, threads);
            for first in (0..rows).step_by(part) {
                let range = first..rows.min(first + part);
                let of_part = Case {
                    logits: Tensor::from_slice(
                        &device,
                        range.len(),
                        vocab,
                        &case.logits.values()[first * vocab..range.end * vocab],
                    ),
                    tokens: case.tokens[range.clone()].to_vec(),
                    weights: case.weights[range.clone()].to_vec(),
                    ..case
                };
                let written = of_part.run(&device);
                let what = format!("{threads} threads, {part} rows on {path:?}");
                let d_logits = &expected.d_logits[first * vocab..range.end * vocab];
                assert!(same_bits(&written.d_logits, d_logits), "{what}");
                assert!(same_bits(&written.losses, &expected.losses[range.clone()]), "{what}");
                assert!(same_bits(&written.logprobs, &expected.logprobs[range.clone()]), "{what}");
                assert!(same_bits(&written.entropies, &expected.entropies[range]), "{what}");
            }
        }
    }
}

#[test]
fn losses_alone_are_the_same_and_leave_the_logits() {
    let case = Case::new(9, 100);
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let device = device(path, 2);
        let expected = case.run(&device);
        let (mut losses, mut logprobs, mut entropies) = ([1.0; 9], [1.0; 9], [1.0; 9]);
        let results = Results {
            losses: &mut losses,
            logprobs: &mut logprobs,
            entropies: Some(&mut entropies),
        };
        forward(&device, &case.logits, &case.targets(0..9), results);
        assert!(same_bits(&losses, &expected.losses), "{path:?}");
        assert!(same_bits(&logprobs, &expected.logprobs), "{path:?}");
        assert!(same_bits(&entropies, &expected.entropies), "{path:?}");
    }
}

#[test]
fn masked_tokens_have_no_part_and_numbers_that_are_none_show() {
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let device = device(path, 1);
        let mut case = Case::new(1, 40);
        case.logits.row_mut(0)[3] = f32::NEG_INFINITY;
        let written = case.run(&device);
        assert!(written.d_logits[3] == 0.0, "{written:?} on {path:?}");
        assert!(written.entropies[0].is_finite(), "{written:?} on {path:?}");
        let sum: f32 = written.d_logits.iter().sum();
        assert!(sum.abs() < 1e-6, "the gradient sums to {sum} on {path:?}");
        case.logits.row_mut(0)[3] = f32::NAN;
        let written = case.run(&device);
        assert!(written.losses[0].is_nan() && written.d_logits[9].is_nan(), "{path:?}");
    }
}

#[test]
fn losses_and_gradients_follow_pytorch() {
    let golden = Golden::read();
    let (rows, vocab) = (4, 37);
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let device = device(path, 1);
        let logits = golden.list("cross_entropy.logits");
        let case = Case {
            logits: Tensor::from_slice(&device, rows, vocab, &logits),
            tokens: vec![5, 36, 0, 17],
            weights: golden.list("cross_entropy.weights"),
            scale: 0.25,
            temperature: 0.75,
        };
        let written = case.run(&device);
        golden.assert_close(&written.losses, "cross_entropy.losses");
        golden.assert_close(&written.logprobs, "cross_entropy.logprobs");
        golden.assert_close(&written.entropies, "cross_entropy.entropies");
        golden.assert_close(&written.d_logits, "cross_entropy.d_logits");
    }
}

#[test]
#[should_panic(expected = "target 40 of 40")]
fn targets_outside_the_vocabulary_are_refused() {
    let mut case = Case::new(1, 40);
    case.tokens[0] = 40;
    let _ = case.run(&device(KernelPath::Portable, 1));
}
