//! Rows of a table picked by token: `out[t, :] = table[tokens[t], :]`.
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
    let (rows, columns) = (out.rows(), out.columns());
    assert_eq!(
        (rows, columns),
        (tokens.len(), table.in_features()),
        "shape of the embedding of {} tokens",
        tokens.len()
    );
    device.pool().for_chunks(out.values_mut(), columns * TASK_ROWS, |task, values| {
        let tokens = &tokens[task * TASK_ROWS..];
        for (&token, row) in tokens.iter().zip(values.chunks_exact_mut(columns)) {
            table.read_row(token as usize, row);
        }
    });
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;
    use crate::{DeviceOptions, Dtype, MatrixPart, dtype};

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
    }
}
