//! Rows of a table picked by token: `out[t, :] = table[tokens[t], :]`.
//!
//! Backward, `d_table[tokens[t], :] += d_out[t, :]` in token order, one chain per value of the table
//! that goes on from what is there: a batch in parts gives the same bits, on any number of threads
//! (`parts_of_a_batch_and_threads_change_no_bit`).
//!
//! The values are the table's exact meaning on every kernel path, so no result depends on the
//! path, the batch or the threads.

use crate::{Device, Matrix, Tensor};

/// Rows that are worth a task: some tens of microseconds.
const TASK_ROWS: usize = 16;

/// Writes the table's row of each token.
///
/// # Shapes
///
/// - `out`: `[tokens.len(), in_features]`
/// - `table`: `[vocab, in_features]`
///
/// # Panics
///
/// Panics if the shapes differ or a token lies outside the table.
pub fn forward(device: &Device, out: &mut Tensor, table: &Matrix, tokens: &[u32]) {
    let read_row = |token: usize, row: &mut [f32]| table.read_row(token, row);
    read_rows(device, out, table.in_features(), tokens, read_row);
}

/// As [`forward`], of a table in `f32` that learns: a table rounded for products would add its own
/// error to everything that follows, and save nothing.
///
/// # Shapes
///
/// As [`forward`]'s; `table`: `[vocab, columns]`
///
/// # Panics
///
/// Panics if the shapes differ or a token lies outside the table.
pub fn forward_learning(device: &Device, out: &mut Tensor, table: &Tensor, tokens: &[u32]) {
    let read_row = |token: usize, row: &mut [f32]| table.download_row(token, row);
    read_rows(device, out, table.columns(), tokens, read_row);
}

fn read_rows(
    device: &Device,
    out: &mut Tensor,
    columns: usize,
    tokens: &[u32],
    read_row: impl Fn(usize, &mut [f32]) + Sync,
) {
    let shape = (out.rows(), out.columns());
    assert_eq!(shape, (tokens.len(), columns), "shape of the embedding of {} tokens", tokens.len());
    device.pool().for_chunks(out.values_mut(), columns * TASK_ROWS, |task, values| {
        let tokens = &tokens[task * TASK_ROWS..];
        for (&token, row) in tokens.iter().zip(values.chunks_exact_mut(columns)) {
            read_row(token as usize, row);
        }
    });
}

/// Columns of the table that are worth a task, over all tokens.
const TASK_COLUMNS: usize = 64;

/// Adds the gradient of each token's row to that of the table.
///
/// Additions of `f32` alone: the bits are the same on every kernel path.
///
/// # Shapes
///
/// - `d_table`: `[vocab, columns]`, added to
/// - `d_out`: `[tokens.len(), columns]`
///
/// # Panics
///
/// Panics if the shapes differ or a token lies outside the table.
pub fn backward(device: &Device, d_table: &mut Tensor, d_out: &Tensor, tokens: &[u32]) {
    let (vocab, columns) = (d_table.rows(), d_table.columns());
    let shape = (d_out.rows(), d_out.columns());
    assert_eq!(shape, (tokens.len(), columns), "shape of d_out, for {} tokens", tokens.len());
    for &token in tokens {
        assert!((token as usize) < vocab, "token {token} of {vocab}");
    }
    device.pool().for_columns(
        d_table.values_mut(),
        columns,
        0..columns,
        TASK_COLUMNS,
        |mut strip| {
            let part = strip.first()..strip.first() + strip.width();
            for (t, &token) in tokens.iter().enumerate() {
                let d_row = strip.row(token as usize).iter_mut();
                d_row.zip(&d_out.row(t)[part.clone()]).for_each(|(sum, d_out)| *sum += d_out);
            }
        },
    );
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;
    use crate::testing::golden::Golden;
    use crate::testing::{device, numbers, paths, same_bits};
    use crate::{DeviceOptions, Dtype, KernelPath, MatrixPart, dtype};

    #[test]
    fn tokens_pick_their_rows() {
        let device = Device::cpu(&DeviceOptions::default()).unwrap();
        let values: Vec<f32> = (0..5 * 3).map(|i| i as f32).collect();
        let bytes = dtype::quantize_row(Dtype::F16, &values).unwrap();
        let part = MatrixPart { dtype: Dtype::F16, out_features: 5, bytes: &bytes };
        let table = Matrix::pack(&device, &[part], 3).unwrap();
        let mut out = Tensor::zeros(&device, 3, 3);
        forward(&device, &mut out, &table, &[4, 0, 4]);
        assert_eq!(out.to_vec(), [12.0, 13.0, 14.0, 0.0, 1.0, 2.0, 12.0, 13.0, 14.0]);

        let many: Vec<u32> = (0..40).map(|t| t * 3 % 5).collect();
        let mut out = Tensor::zeros(&device, 40, 3);
        forward(&device, &mut out, &table, &many);
        for (t, &token) in many.iter().enumerate() {
            assert_eq!(out.row(t)[1], (3 * token + 1) as f32);
        }

        let table = Tensor::from_slice(&device, 5, 3, &values);
        let mut learning = Tensor::zeros(&device, 40, 3);
        forward_learning(&device, &mut learning, &table, &many);
        assert_eq!(learning.to_vec(), out.to_vec());
    }

    #[test]
    fn gradients_are_added_where_they_came_from() {
        let device = device(KernelPath::Portable, 1);
        let mut d_table = Tensor::from_slice(&device, 3, 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let d_out = Tensor::from_slice(&device, 3, 2, &[10.0, 20.0, 100.0, 200.0, 40.0, 50.0]);
        backward(&device, &mut d_table, &d_out, &[2, 0, 2]);
        assert_eq!(d_table.to_vec(), [101.0, 202.0, 3.0, 4.0, 55.0, 76.0]);
    }

    #[test]
    fn gradients_are_those_of_a_product_with_zeros_and_ones() {
        for columns in (1..=70).chain([576]) {
            let (vocab, tokens) = (7, [3, 3, 0, 6, 3]);
            let values = numbers(1, tokens.len() * columns);
            let expected: Vec<f32> = (0..vocab * columns)
                .map(|index| {
                    let (token, column) = (index / columns, index % columns);
                    let rows = (0..tokens.len()).filter(|&t| tokens[t] as usize == token);
                    rows.map(|t| values[t * columns + column]).fold(0.0, |sum, value| sum + value)
                })
                .collect();
            for path in paths().into_iter().chain([KernelPath::Reference]) {
                let device = device(path, 2);
                let mut d_table = Tensor::zeros(&device, vocab, columns);
                let d_out = Tensor::from_slice(&device, tokens.len(), columns, &values);
                backward(&device, &mut d_table, &d_out, &tokens);
                assert!(same_bits(&d_table.to_vec(), &expected), "{columns} on {path:?}");
            }
        }
    }

    #[test]
    fn parts_of_a_batch_and_threads_change_no_bit() {
        let (vocab, columns, rows) = (11, 200, 61);
        let tokens: Vec<u32> = (0..61).map(|t| t * t % 11).collect();
        let one = device(KernelPath::best(), 1);
        let values = numbers(2, rows * columns);
        let before = Tensor::from_slice(&one, vocab, columns, &numbers(3, vocab * columns));
        let mut expected = before.clone();
        let d_out = Tensor::from_slice(&one, rows, columns, &values);
        backward(&one, &mut expected, &d_out, &tokens);
        for (threads, part) in [(2, 61), (3, 61), (1, 1), (2, 7), (2, 60)] {
            let device = device(KernelPath::best(), threads);
            let mut d_table = before.clone();
            for (values, tokens) in values.chunks(part * columns).zip(tokens.chunks(part)) {
                let d_out = Tensor::from_slice(&device, tokens.len(), columns, values);
                backward(&device, &mut d_table, &d_out, tokens);
            }
            let same = same_bits(&d_table.to_vec(), &expected.to_vec());
            assert!(same, "{threads} threads, {part} rows");
        }
    }

    #[test]
    fn gradients_follow_pytorch() {
        let (golden, device) = (Golden::read(), device(KernelPath::best(), 1));
        let d_out = Tensor::from_slice(&device, 6, 5, &golden.list("embedding.d_out"));
        let mut d_table = Tensor::zeros(&device, 7, 5);
        backward(&device, &mut d_table, &d_out, &[3, 0, 3, 6, 3, 1]);
        golden.assert_close(&d_table.to_vec(), "embedding.d_table");
    }

    #[test]
    #[should_panic(expected = "token 3 of 3")]
    fn tokens_outside_the_table_are_refused() {
        let device = device(KernelPath::Portable, 1);
        let (mut d_table, d_out) = (Tensor::zeros(&device, 3, 2), Tensor::zeros(&device, 1, 2));
        backward(&device, &mut d_table, &d_out, &[3]);
    }
}
