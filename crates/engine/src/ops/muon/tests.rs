//! Orthogonality, and steps against the reference and PyTorch.

use super::*;
use crate::testing::golden::Golden;
use crate::testing::{assert_close, device, numbers, paths, same_bits};

const OPTIONS: MuonOptions = MuonOptions {
    learning_rate: 0.02,
    momentum: 0.95,
    form: Momentum::Nesterov,
    scale: MuonScale::Original,
    weight_decay: 0.1,
};

/// Weights and momentum after steps with these gradients.
fn run(
    device: &Device,
    options: &MuonOptions,
    [rows, columns]: [usize; 2],
    weights: &[f32],
    lists: &[Vec<f32>],
) -> [Vec<f32>; 2] {
    let tensor = |values: &[f32]| Tensor::from_slice(device, rows, columns, values);
    let (mut weights, mut momentum) = (tensor(weights), Tensor::zeros(device, rows, columns));
    for gradients in lists {
        let state = MuonState { weights: &mut weights, momentum: &mut momentum };
        step(device, options, state, &tensor(gradients), 0.5);
    }
    [weights, momentum].map(|tensor| tensor.to_vec())
}

#[test]
fn one_number_by_hand() {
    // A matrix of one number is its sign times what the polynomial makes of 1.
    let [a, b, c] = COEFFICIENTS;
    let expected = (0..PASSES).fold(1.0, |x: f64, _| a * x + b * x.powi(3) + c * x.powi(5));
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let device = device(path, 1);
        let tensor = |rows, columns, value| {
            let mut tensor = Tensor::zeros(&device, rows, columns);
            tensor.fill(value);
            tensor
        };
        let values = orthogonal(&device, tensor(1, 1, -3.0));
        assert_close(values.values(), &[f32::rounded(-expected)], 2e-6, &format!("{path:?}"));
        assert!(orthogonal(&device, tensor(2, 3, 0.0)).values().iter().all(|&x| x == 0.0));
    }
}

#[test]
fn rows_or_columns_become_nearly_orthogonal() {
    for (rows, columns) in [(8, 32), (32, 8), (24, 60)] {
        for path in paths() {
            let device = device(path, 1);
            let x = numbers(1, rows * columns);
            let x = orthogonal(&device, Tensor::from_slice(&device, rows, columns, &x));
            let x = if rows <= columns { x } else { transposed(&device, &x) };
            let (short, long) = (x.rows(), x.columns());
            for (index, left) in x.values().chunks(long).enumerate() {
                for (other, right) in x.values().chunks(long).enumerate() {
                    let dot: f32 = left.iter().zip(right).map(|(l, r)| l * r).sum();
                    let expected = if index == other { 1.0 } else { 0.0 };
                    // Squares of singular values lie between 0.45 and 1.5.
                    assert!((dot - expected).abs() < 0.55, "{index}, {other} of {short}: {dot}");
                }
            }
        }
    }
}

#[test]
fn fast_twins_follow_the_reference() {
    for shape in [[1, 1], [1, 17], [17, 1], [7, 9], [16, 16], [33, 20], [48, 130], [70, 64]] {
        for (form, scale) in
            [(Momentum::Nesterov, MuonScale::Original), (Momentum::Plain, MuonScale::AdamW)]
        {
            let options = MuonOptions { form, scale, ..OPTIONS };
            let count = shape[0] * shape[1];
            let lists: Vec<Vec<f32>> = (2..5).map(|seed| numbers(seed, count)).collect();
            let weights = numbers(1, count);
            let oracle = device(KernelPath::Reference, 1);
            let expected = run(&oracle, &options, shape, &weights, &lists);
            for path in paths() {
                let actual = run(&device(path, 1), &options, shape, &weights, &lists);
                let what = format!("{shape:?}, {form:?}, {scale:?} on {path:?}");
                // A step is at most 0.02 * 2 of an orthogonal matrix, whose smallest singular
                // directions carry errors of up to 485 * 1e-6.
                assert_close(&actual[0], &expected[0], 2e-5, &what);
                assert_close(&actual[1], &expected[1], 1e-7, &what);
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let shape = [70, 150];
    let (weights, lists) = (numbers(1, 70 * 150), [numbers(2, 70 * 150)]);
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let expected = run(&device(path, 1), &OPTIONS, shape, &weights, &lists);
        for threads in [2, 3] {
            let actual = run(&device(path, threads), &OPTIONS, shape, &weights, &lists);
            for (actual, expected) in actual.iter().zip(&expected) {
                assert!(same_bits(actual, expected), "{threads} threads on {path:?}");
            }
        }
    }
}

#[test]
fn steps_follow_pytorch() {
    let golden = Golden::read();
    for (name, shape) in [("wide", [6, 10]), ("tall", [10, 6])] {
        let list = |list: &str| golden.list(&format!("muon.{name}.{list}"));
        let lists = [list("gradients.1"), list("gradients.2")];
        for path in paths().into_iter().chain([KernelPath::Reference]) {
            for (scale, form, kind) in [
                (MuonScale::Original, Momentum::Nesterov, "original"),
                (MuonScale::AdamW, Momentum::Plain, "adamw"),
            ] {
                let options = MuonOptions { learning_rate: 0.5, scale, form, ..OPTIONS };
                let all = run(&device(path, 1), &options, shape, &list("weights"), &lists);
                golden.assert_close(&all[0], &format!("muon.{name}.{kind}.weights"));
                golden.assert_close(&all[1], &format!("muon.{name}.{kind}.momentum"));
            }
        }
    }
}
