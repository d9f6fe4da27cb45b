//! SwiGLU by hand and against its reference.

use super::*;
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
