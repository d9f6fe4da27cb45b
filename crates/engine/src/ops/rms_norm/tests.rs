//! Forward by hand and against the reference; gradients against differences, PyTorch and the
//! reference.

use super::*;
use crate::testing::differences::{assert_gradient, dot, widened};
use crate::testing::golden::Golden;
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

#[test]
fn gradients_follow_differences() {
    for columns in (1..=20).chain([70]) {
        let [x, weight, d_out] = [1, 2, 3].map(|seed| widened(&numbers(seed, columns)));
        let loss = |x: &[f64], weight: &[f64]| {
            let mut out = x.to_vec();
            // An epsilon of the size of the squares, for values near 0 bend the function sharply.
            reference(&mut out, weight, 0.1);
            dot(&d_out, &out)
        };
        let run = Run { d_out: &d_out, x: &x, weight: &weight, epsilon: 0.1 };
        let mut d_x = vec![1.0; columns];
        reference_input_gradient(&mut d_x, Store::Overwrite, &run);
        assert_gradient(&x, &d_x, |x| loss(x, &weight), &format!("d_x of {columns}"));
        let mut d_weight = vec![0.0; columns];
        let root = 1.0 / root_mean_square(&x, 0.1);
        reference_weight_gradient(&mut d_weight, &d_out, &x, root);
        let what = format!("d_weight of {columns}");
        assert_gradient(&weight, &d_weight, |weight| loss(&x, weight), &what);
        let before = d_x.clone();
        reference_input_gradient(&mut d_x, Store::Add, &run);
        assert!(d_x.iter().zip(&before).all(|(twice, once)| (twice - 2.0 * once).abs() < 1e-12));
    }
}

/// The inputs of a backward pass, and the gradients that it adds to.
struct Case {
    x: Tensor,
    weight: Tensor,
    d_out: Tensor,
    before: Tensor,
    d_weight: Tensor,
}

impl Case {
    fn new(rows: usize, columns: usize) -> Self {
        let device = device(KernelPath::Reference, 1);
        let tensor =
            |seed, rows| Tensor::from_slice(&device, rows, columns, &numbers(seed, rows * columns));
        Self {
            x: tensor(1, rows),
            weight: tensor(2, 1),
            d_out: tensor(3, rows),
            before: tensor(4, rows),
            d_weight: tensor(5, 1),
        }
    }

    /// `d_x` and `d_weight` after the rows, `part` of them at a time.
    fn run(&self, device: &Device, part: usize, store: Store) -> [Vec<f32>; 2] {
        let columns = self.x.columns();
        let mut d_weight = self.d_weight.clone();
        let mut all = Vec::new();
        for first in (0..self.x.rows()).step_by(part) {
            let rows = part.min(self.x.rows() - first);
            let of = |tensor: &Tensor| {
                let values = &tensor.values()[first * columns..][..rows * columns];
                Tensor::from_slice(device, rows, columns, values)
            };
            let (x, d_out, mut d_x) = (of(&self.x), of(&self.d_out), of(&self.before));
            let inputs = Inputs { x: &x, weight: &self.weight, epsilon: 1e-3 };
            let gradients = Gradients { d_x: &mut d_x, store, d_weight: Some(&mut d_weight) };
            backward(device, gradients, &d_out, &inputs);
            all.extend(d_x.to_vec());
        }
        [all, d_weight.to_vec()]
    }
}

#[test]
fn fast_gradients_follow_the_reference_at_every_size() {
    for columns in (1..=70).chain([576, 960, 2048]) {
        let case = Case::new(7, columns);
        for store in [Store::Overwrite, Store::Add] {
            let expected = case.run(&device(KernelPath::Reference, 1), 7, store);
            for path in paths() {
                let actual = case.run(&device(path, 1), 7, store);
                // Rows of one small value have roots up to 1/sqrt(1e-3) = 32, and terms as large
                // that cancel; a term has about 8 roundings of 2^-24.
                for (actual, expected) in actual.iter().zip(&expected) {
                    let what = format!("{columns} on {path:?}");
                    assert_close(actual, expected, 32.0 * 5e-7, &what);
                }
            }
        }
    }
}

#[test]
fn parts_of_a_batch_and_threads_change_no_bit() {
    let case = Case::new(61, 200);
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let expected = case.run(&device(path, 1), 61, Store::Add);
        for (threads, part) in [(2, 61), (3, 61), (1, 1), (2, 7), (2, 60)] {
            let actual = case.run(&device(path, threads), part, Store::Add);
            for (actual, expected) in actual.iter().zip(&expected) {
                let what = format!("{threads} threads, {part} rows on {path:?}");
                assert!(same_bits(actual, expected), "{what}");
            }
        }
    }
}

#[test]
fn gradients_of_heads_are_those_of_rows() {
    for head_size in [8, 16, 33, 48, 64, 80, 128] {
        for path in paths().into_iter().chain([KernelPath::Reference]) {
            let device = device(path, 2);
            let (width, columns) = (5 * head_size + 3, head_size..4 * head_size);
            let x = Tensor::from_slice(&device, 9, width, &numbers(6, 9 * width));
            let before = Tensor::from_slice(&device, 9, width, &numbers(7, 9 * width));
            let weight = Tensor::from_slice(&device, 1, head_size, &numbers(8, head_size));
            let mut d_heads = before.clone();
            let mut d_weight = weight.clone();
            let inputs = Inputs { x: &x, weight: &weight, epsilon: 1e-6 };
            let range = columns.clone();
            backward_heads(&device, &mut d_heads, range, Some(&mut d_weight), &inputs);
            let heads_of = |tensor: &Tensor, row: usize| {
                Tensor::from_slice(&device, 3, head_size, &tensor.row(row)[columns.clone()])
            };
            let mut expected_weight = weight.clone();
            for row in 0..9 {
                let (x, d_out) = (heads_of(&x, row), heads_of(&before, row));
                let mut d_x = Tensor::zeros(&device, 3, head_size);
                let gradients = Gradients {
                    d_x: &mut d_x,
                    store: Store::Overwrite,
                    d_weight: Some(&mut expected_weight),
                };
                backward(&device, gradients, &d_out, &Inputs { x: &x, ..inputs });
                let mut expected = before.row(row).to_vec();
                expected[columns.clone()].copy_from_slice(d_x.values());
                assert!(same_bits(d_heads.row(row), &expected), "{head_size} on {path:?}");
            }
            let same = same_bits(&d_weight.to_vec(), &expected_weight.to_vec());
            assert!(same, "d_weight of {head_size} on {path:?}");
        }
    }
}

#[test]
fn gradients_follow_pytorch() {
    let golden = Golden::read();
    let (rows, columns) = (3, 20);
    for path in paths().into_iter().chain([KernelPath::Reference]) {
        let device = device(path, 1);
        let tensor = |name: &str, rows| {
            Tensor::from_slice(&device, rows, columns, &golden.list(&format!("rms_norm.{name}")))
        };
        let (x, weight, d_out) = (tensor("x", rows), tensor("weight", 1), tensor("d_out", rows));
        let mut out = Tensor::zeros(&device, rows, columns);
        forward(&device, &mut out, &x, &weight, 1e-5);
        golden.assert_close(&out.to_vec(), "rms_norm.out");
        let (mut d_x, mut d_weight) = (out.clone(), Tensor::zeros(&device, 1, columns));
        let gradients =
            Gradients { d_x: &mut d_x, store: Store::Overwrite, d_weight: Some(&mut d_weight) };
        let inputs = Inputs { x: &x, weight: &weight, epsilon: 1e-5 };
        backward(&device, gradients, &d_out, &inputs);
        golden.assert_close(&d_x.to_vec(), "rms_norm.d_x");
        golden.assert_close(&d_weight.to_vec(), "rms_norm.d_weight");
    }
}
