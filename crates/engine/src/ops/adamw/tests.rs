//! Steps by hand, against the reference and against PyTorch.

use super::*;
use crate::testing::golden::Golden;
use crate::testing::{assert_close, device, numbers, paths, same_bits};

const OPTIONS: AdamWOptions = AdamWOptions {
    learning_rate: 0.01,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-3,
    epsilon_form: EpsilonForm::AfterCorrection,
    weight_decay: 0.1,
};

const FORMS: [EpsilonForm; 3] =
    [EpsilonForm::AfterCorrection, EpsilonForm::BeforeCorrection, EpsilonForm::InsideRoot];

/// Weights and both moments after some steps, the gradients of each in a list.
fn run(
    device: &Device,
    options: &AdamWOptions,
    weights: &[f32],
    lists: &[Vec<f32>],
) -> [Vec<f32>; 3] {
    let tensor = |values: &[f32]| Tensor::from_slice(device, 1, values.len(), values);
    let zeros = Tensor::zeros(device, 1, weights.len());
    let mut all = [tensor(weights), zeros.clone(), zeros];
    for (number, gradients) in (1..).zip(lists) {
        let [weights, first_moments, second_moments] = &mut all;
        let state = AdamWState { weights, first_moments, second_moments };
        step(device, options, number, state, &tensor(gradients), 0.5);
    }
    all.map(|tensor| tensor.to_vec())
}

#[test]
fn the_first_step_by_hand() {
    // Corrected moments of the first step are the gradient and its square: 2 and 4. The second
    // moment's bias is 0.05, whose root is 0.223607.
    for (epsilon_form, expected) in [
        (EpsilonForm::AfterCorrection, 1.0 - 0.001 - 0.01 * 2.0 / (2.0 + 1.0)),
        (EpsilonForm::BeforeCorrection, 1.0 - 0.001 - 0.01 * 2.0 / (2.0 + 1.0 / 0.223_607)),
        (EpsilonForm::InsideRoot, 1.0 - 0.001 - 0.01 * 2.0 / 5_f32.sqrt()),
    ] {
        let options = AdamWOptions { epsilon: 1.0, epsilon_form, ..OPTIONS };
        for path in paths().into_iter().chain([KernelPath::Reference]) {
            let all = run(&device(path, 1), &options, &[1.0], &[vec![4.0]]);
            let what = format!("{epsilon_form:?} on {path:?}");
            assert_close(&all.concat(), &[expected, 0.2, 0.2], 2e-7, &what);
        }
    }
}

#[test]
fn fast_twins_follow_the_reference_at_every_size() {
    for length in (0..=70).chain([16_383, 16_384, 16_385]) {
        for epsilon_form in FORMS {
            let options = AdamWOptions { epsilon_form, ..OPTIONS };
            let weights = numbers(1, length);
            let lists: Vec<Vec<f32>> = (2..6).map(|seed| numbers(seed, length)).collect();
            let expected = run(&device(KernelPath::Reference, 1), &options, &weights, &lists);
            for path in paths() {
                let actual = run(&device(path, 1), &options, &weights, &lists);
                let what = format!("{length}, {epsilon_form:?} on {path:?}");
                // Weights up to 1 are rounded twice in each of four steps; a change is at most
                // about 0.01 and has some ten roundings of it.
                for (actual, expected) in actual.iter().zip(&expected) {
                    assert_close(actual, expected, 6e-7, &what);
                }
            }
        }
    }
}

#[test]
fn parts_and_threads_change_no_bit() {
    let length = 40_001;
    let weights = numbers(1, length);
    let lists: Vec<Vec<f32>> = (2..5).map(|seed| numbers(seed, length)).collect();
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let expected = run(&device(path, 1), &OPTIONS, &weights, &lists);
        for (threads, part) in [(2, length), (3, length), (2, 1000), (1, 7777)] {
            let device = device(path, threads);
            let mut actual = [const { Vec::new() }; 3];
            for first in (0..length).step_by(part) {
                let range = first..length.min(first + part);
                let lists: Vec<Vec<f32>> =
                    lists.iter().map(|list| list[range.clone()].to_vec()).collect();
                let after = run(&device, &OPTIONS, &weights[range], &lists);
                actual.iter_mut().zip(after).for_each(|(all, part)| all.extend(part));
            }
            for (actual, expected) in actual.iter().zip(&expected) {
                assert!(same_bits(actual, expected), "{threads} threads, {part} on {path:?}");
            }
        }
    }
}

#[test]
fn powers_are_exact_enough_for_any_step() {
    for (base, exponent) in [(0.9, 1), (0.95, 7), (0.999, 1000), (0.9, 1_000_000), (0.0, 1)] {
        let (value, expected) = (power(base, exponent), base.powf(exponent as f64));
        assert!((value - expected).abs() <= 1e-13 * expected, "{value}, expected {expected}");
    }
}

#[test]
fn steps_follow_pytorch() {
    let golden = Golden::read();
    let weights = golden.list("adamw.weights");
    let lists: Vec<Vec<f32>> =
        (1..=3).map(|step| golden.list(&format!("adamw.gradients.{step}"))).collect();
    let names = ["after_correction", "before_correction", "inside_root"];
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        for (epsilon_form, name) in FORMS.into_iter().zip(names) {
            // Steps as large as the weights, so that an error of theirs is one of the weights.
            let options = AdamWOptions { learning_rate: 0.5, epsilon_form, ..OPTIONS };
            let all = run(&device(path, 1), &options, &weights, &lists);
            for (values, list) in all.iter().zip(["weights", "first_moments", "second_moments"]) {
                golden.assert_close(values, &format!("adamw.{name}.{list}"));
            }
        }
    }
}
