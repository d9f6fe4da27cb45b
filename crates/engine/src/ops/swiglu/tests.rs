//! Forward by hand and against the reference; gradients against differences, PyTorch and the
//! reference.

use super::*;
use crate::testing::differences::{assert_gradient, dot, widened};
use crate::testing::golden::Golden;
use crate::testing::{assert_close, device, numbers, paths, same_bits};

#[test]
fn an_example_by_hand() {
    let device = device(KernelPath::Reference, 1);
    let gate_up = Tensor::from_slice(&device, 1, 4, &[0.0, 1.0, 5.0, 3.0]);
    let mut out = Tensor::zeros(&device, 1, 2);
    forward(&device, &mut out, &gate_up);
    // 1 / (1 + e^-1) = 0.7310586.
    assert_close(&out.to_vec(), &[0.0, 2.193_175_7], 1e-6, "gates 0 and 1");
}

#[test]
fn fast_twins_follow_the_reference_and_do_not_depend_on_threads() {
    for (rows, columns) in (1..=40).map(|columns| (2, columns)).chain([(19, 1536)]) {
        let oracle = device(KernelPath::Reference, 1);
        let values: Vec<f32> =
            numbers(1, 2 * rows * columns).iter().map(|value| 20.0 * value).collect();
        let gate_up = Tensor::from_slice(&oracle, rows, 2 * columns, &values);
        let mut expected = Tensor::zeros(&oracle, rows, columns);
        forward(&oracle, &mut expected, &gate_up);
        for path in paths() {
            let (one, two) = (device(path, 1), device(path, 2));
            let mut out = Tensor::zeros(&one, rows, columns);
            let mut again = out.clone();
            forward(&one, &mut out, &gate_up);
            forward(&two, &mut again, &gate_up);
            assert!(same_bits(&out.to_vec(), &again.to_vec()), "{columns} on {path:?}");
            // Values reach 400; the exponential and three roundings cost about 4 units of
            // 2^-24.
            let what = format!("{columns} on {path:?}");
            assert_close(&out.to_vec(), &expected.to_vec(), 400.0 * 3e-7, &what);
        }
    }
}

#[test]
fn far_gates_are_zero_or_open() {
    for path in paths() {
        let device = device(path, 1);
        let gate_up = Tensor::from_slice(&device, 1, 6, &[-200.0, 200.0, 90.0, 1.0, 1.0, 1.0]);
        let mut out = Tensor::zeros(&device, 1, 3);
        forward(&device, &mut out, &gate_up);
        assert!(out.to_vec() == [0.0, 200.0, 90.0], "{out:?} on {path:?}");
    }
}

#[test]
fn gradients_follow_differences() {
    let columns = 70;
    let gate: Vec<f64> = widened(&numbers(1, columns)).iter().map(|x| 8.0 * x).collect();
    let [up, d_out] = [2, 3].map(|seed| widened(&numbers(seed, columns)));
    let loss = |gate: &[f64], up: &[f64]| {
        let mut out = vec![0.0; columns];
        reference(&mut out, gate, up);
        dot(&d_out, &out)
    };
    let (mut d_gate, mut d_up) = (vec![0.0; columns], vec![0.0; columns]);
    reference_backward([&mut d_gate, &mut d_up], &d_out, &gate, &up);
    assert_gradient(&gate, &d_gate, |gate| loss(gate, &up), "d_gate");
    assert_gradient(&up, &d_up, |up| loss(&gate, up), "d_up");
}

#[test]
fn fast_gradients_follow_the_reference_and_do_not_depend_on_threads() {
    for (rows, columns) in (1..=70).map(|columns| (2, columns)).chain([(19, 1536)]) {
        let oracle = device(KernelPath::Reference, 1);
        let values: Vec<f32> = numbers(1, 2 * rows * columns).iter().map(|x| 20.0 * x).collect();
        let gate_up = Tensor::from_slice(&oracle, rows, 2 * columns, &values);
        let d_out = Tensor::from_slice(&oracle, rows, columns, &numbers(2, rows * columns));
        let mut expected = gate_up.clone();
        backward(&oracle, &mut expected, &d_out, &gate_up);
        for path in paths() {
            let (mut actual, mut again) = (gate_up.clone(), expected.clone());
            backward(&device(path, 1), &mut actual, &d_out, &gate_up);
            backward(&device(path, 2), &mut again, &d_out, &gate_up);
            let what = format!("{columns} on {path:?}");
            assert!(same_bits(&actual.to_vec(), &again.to_vec()), "{what}");
            // Values reach 22; the exponential and about six roundings of 2^-24.
            assert_close(&actual.to_vec(), &expected.to_vec(), 22.0 * 4e-7, &what);
        }
    }
}

#[test]
fn gradients_of_far_gates_are_zero_or_straight() {
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let device = device(path, 1);
        let gate_up = Tensor::from_slice(&device, 1, 6, &[-200.0, 200.0, 90.0, 2.0, 3.0, 4.0]);
        let d_out = Tensor::from_slice(&device, 1, 3, &[1.0, 1.0, 0.5]);
        let mut d_gate_up = Tensor::zeros(&device, 1, 6);
        backward(&device, &mut d_gate_up, &d_out, &gate_up);
        let expected = [0.0, 3.0, 2.0, 0.0, 200.0, 45.0];
        assert_close(&d_gate_up.to_vec(), &expected, 1e-6, &format!("{path:?}"));
    }
}

#[test]
fn gradients_follow_pytorch() {
    let golden = Golden::read();
    let (rows, columns) = (3, 20);
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let device = device(path, 1);
        let gate_up = golden.list("swiglu.gate_up");
        let gate_up = Tensor::from_slice(&device, rows, 2 * columns, &gate_up);
        let d_out = Tensor::from_slice(&device, rows, columns, &golden.list("swiglu.d_out"));
        let mut out = Tensor::zeros(&device, rows, columns);
        forward(&device, &mut out, &gate_up);
        golden.assert_close(&out.to_vec(), "swiglu.out");
        let mut d_gate_up = gate_up.clone();
        backward(&device, &mut d_gate_up, &d_out, &gate_up);
        golden.assert_close(&d_gate_up.to_vec(), "swiglu.d_gate_up");
    }
}
