//! RMSNorm by hand and against its reference.

use super::*;
use crate::testing::{assert_close, device, numbers, paths, same_bits};

#[test]
fn an_example_by_hand() {
    let device = device(KernelPath::Reference, 1);
    let x = Tensor::from_slice(&device, 1, 2, &[3.0, 4.0]);
    let weight = Tensor::from_slice(&device, 1, 2, &[1.0, 2.0]);
    let mut out = Tensor::zeros(&device, 1, 2);
    forward(&device, &mut out, &x, &weight, 0.0);
    // The root of the mean square is sqrt(12.5).
    assert_close(&out.to_vec(), &[0.848_528_1, 2.262_741_7], 1e-6, "3, 4");
}

#[test]
fn fast_twins_follow_the_reference_at_every_size() {
    let sizes = (1..=70).chain([576, 960, 2048]);
    for columns in sizes {
        let oracle = device(KernelPath::Reference, 1);
        let x = Tensor::from_slice(&oracle, 3, columns, &numbers(1, 3 * columns));
        let weight = Tensor::from_slice(&oracle, 1, columns, &numbers(2, columns));
        let mut expected = Tensor::zeros(&oracle, 3, columns);
        forward(&oracle, &mut expected, &x, &weight, 1e-5);
        for path in paths() {
            let device = device(path, 1);
            let mut out = Tensor::zeros(&device, 3, columns);
            forward(&device, &mut out, &x, &weight, 1e-5);
            // A lane adds at most 2048 / 64 squares: far below 2^-18 relative; values reach
            // sqrt(columns) at most where one value dominates.
            let what = format!("{columns} on {path:?}");
            assert_close(&out.to_vec(), &expected.to_vec(), 4e-6, &what);
        }
    }
}

#[test]
fn rows_stand_alone() {
    let (rows, columns) = (41, 576);
    for path in paths() {
        let (one, two) = (device(path, 1), device(path, 2));
        let values = numbers(3, rows * columns);
        let x = Tensor::from_slice(&one, rows, columns, &values);
        let weight = Tensor::from_slice(&one, 1, columns, &numbers(4, columns));
        let (mut out, mut again) = (x.clone(), x.clone());
        forward(&one, &mut out, &x, &weight, 1e-6);
        forward(&two, &mut again, &x, &weight, 1e-6);
        assert!(same_bits(&out.to_vec(), &again.to_vec()), "threads on {path:?}");
        for row in 0..rows {
            let x = Tensor::from_slice(&one, 1, columns, x.row(row));
            let mut alone = Tensor::zeros(&one, 1, columns);
            forward(&one, &mut alone, &x, &weight, 1e-6);
            assert!(same_bits(alone.row(0), out.row(row)), "row {row} on {path:?}");
        }
    }
}

#[test]
fn heads_are_rows_of_their_own() {
    for head_size in [8, 16, 48, 64, 80, 128] {
        for path in paths().into_iter().chain([KernelPath::Reference]) {
            let device = device(path, 2);
            let width = 7 * head_size;
            let mut x = Tensor::from_slice(&device, 5, width, &numbers(5, 5 * width));
            let before = x.clone();
            let weight = Tensor::from_slice(&device, 1, head_size, &numbers(6, head_size));
            let columns = head_size..4 * head_size;
            forward_heads(&device, &mut x, columns.clone(), &weight, 1e-6);
            for row in 0..5 {
                let mut expected = before.row(row).to_vec();
                let heads = Tensor::from_slice(&device, 3, head_size, &expected[columns.clone()]);
                let mut out = Tensor::zeros(&device, 3, head_size);
                forward(&device, &mut out, &heads, &weight, 1e-6);
                expected[columns.clone()].copy_from_slice(out.values());
                assert!(same_bits(x.row(row), &expected), "{head_size} on {path:?}");
            }
        }
    }
}
