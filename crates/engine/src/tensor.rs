//! Activations: f32 numbers in rows and columns.

use std::fmt;

use crate::Device;
use crate::arena::Arena;

/// Values that are worth a thread's while where each takes an instruction or two.
const TASK_VALUES: usize = 1 << 16;

/// f32 activations `[rows, columns]`, row-major and aligned to 64 bytes, on a device.
///
/// The number of rows may change with each step of a model ([`Tensor::resize_rows`]); memory is
/// only taken when it grows beyond what was ever needed.
#[derive(Clone)]
pub struct Tensor {
    data: Arena<f32>,
    rows: usize,
    columns: usize,
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Panics
    ///
    /// Panics if the tensor cannot be addressed.
    #[must_use]
    pub fn zeros(_device: &Device, rows: usize, columns: usize) -> Self {
        let len = rows.checked_mul(columns).expect("a tensor can be addressed");
        Self { data: Arena::zeros(len), rows, columns }
    }

    /// A tensor with a copy of `values`, row after row.
    ///
    /// # Panics
    ///
    /// Panics unless there are `rows * columns` values.
    #[must_use]
    pub fn from_slice(device: &Device, rows: usize, columns: usize, values: &[f32]) -> Self {
        let mut tensor = Self::zeros(device, rows, columns);
        assert_eq!(values.len(), rows * columns, "values of a [{rows}, {columns}] tensor");
        tensor.upload(0, values);
        tensor
    }

    /// Makes this `[rows, columns]`, keeping the leading rows; new rows are unspecified but
    /// initialized.
    ///
    /// # Panics
    ///
    /// Panics if the tensor cannot be addressed.
    pub fn resize_rows(&mut self, rows: usize) {
        let len = rows.checked_mul(self.columns).expect("a tensor can be addressed");
        if len > self.data.as_slice().len() {
            let mut grown = Arena::zeros(len);
            grown.as_mut_slice()[..self.rows * self.columns].copy_from_slice(self.values());
            self.data = grown;
        }
        self.rows = rows;
    }

    /// Writes whole rows from `first_row` on.
    ///
    /// # Panics
    ///
    /// Panics unless `values` are whole rows that exist.
    pub fn upload(&mut self, first_row: usize, values: &[f32]) {
        let (rows, columns) = (self.rows, self.columns);
        let start = first_row * columns;
        assert!(
            first_row <= rows && values.len() <= (rows - first_row) * columns,
            "{} values from row {first_row} on do not fit a [{rows}, {columns}] tensor",
            values.len()
        );
        assert!(columns == 0 || values.len().is_multiple_of(columns), "uploads are whole rows");
        self.values_mut()[start..start + values.len()].copy_from_slice(values);
    }

    /// Copies one row of another tensor into one of this.
    ///
    /// # Panics
    ///
    /// Panics if a row does not exist or the columns differ.
    pub fn copy_row(&mut self, row: usize, from: &Self, from_row: usize) {
        assert_eq!(self.columns, from.columns, "columns of both tensors");
        self.row_mut(row).copy_from_slice(from.row(from_row));
    }

    /// Copies all rows of another tensor.
    ///
    /// # Panics
    ///
    /// Panics if the shapes differ.
    pub fn copy_from(&mut self, from: &Self) {
        assert_eq!((self.rows, self.columns), (from.rows, from.columns), "shapes of both tensors");
        self.values_mut().copy_from_slice(from.values());
    }

    /// Adds the values of another tensor; the same bits on every path and number of threads.
    ///
    /// # Panics
    ///
    /// Panics if the shapes differ.
    pub fn add(&mut self, device: &Device, other: &Self) {
        assert_eq!(
            (self.rows, self.columns),
            (other.rows, other.columns),
            "shapes of both tensors"
        );
        device.pool().for_chunks(self.values_mut(), TASK_VALUES, |task, values| {
            let others = &other.values()[task * TASK_VALUES..];
            values.iter_mut().zip(others).for_each(|(value, other)| *value += other);
        });
    }

    /// Moves every value toward that of another tensor: `value += share * (other - value)`; the same
    /// bits on every path and number of threads.
    ///
    /// # Panics
    ///
    /// Panics if the shapes differ.
    pub fn approach(&mut self, device: &Device, other: &Self, share: f32) {
        assert_eq!(
            (self.rows, self.columns),
            (other.rows, other.columns),
            "shapes of both tensors"
        );
        device.pool().for_chunks(self.values_mut(), TASK_VALUES, |task, values| {
            let others = &other.values()[task * TASK_VALUES..];
            let pairs = values.iter_mut().zip(others);
            pairs.for_each(|(value, other)| *value += share * (other - *value));
        });
    }

    /// Multiplies every value; the same bits on every path and number of threads.
    pub fn scale(&mut self, device: &Device, factor: f32) {
        device.pool().for_chunks(self.values_mut(), TASK_VALUES, |_, values| {
            values.iter_mut().for_each(|value| *value *= factor);
        });
    }

    /// Sets every value to zero, on all threads.
    pub fn clear(&mut self, device: &Device) {
        device.pool().for_chunks(self.values_mut(), TASK_VALUES, |_, values| values.fill(0.0));
    }

    /// Sets every value.
    pub fn fill(&mut self, value: f32) {
        self.values_mut().fill(value);
    }

    /// Copies one row to the caller.
    ///
    /// # Panics
    ///
    /// Panics if the row does not exist or `out` is not one row long.
    pub fn download_row(&self, row: usize, out: &mut [f32]) {
        out.copy_from_slice(self.row(row));
    }

    /// All values, row after row, copied to the caller.
    #[must_use]
    pub fn to_vec(&self) -> Vec<f32> {
        self.values().to_vec()
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Memory taken, in bytes, rows held in reserve included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.data.as_slice()[..self.rows * self.columns]
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.data.as_mut_slice()[..self.rows * self.columns]
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.columns..][..self.columns]
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let columns = self.columns;
        &mut self.values_mut()[row * columns..][..columns]
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor[{}, {}]", self.rows, self.columns)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are copied")]
mod tests {
    use super::*;
    use crate::DeviceOptions;

    #[test]
    fn rows_survive_growth_and_come_back() {
        let device = Device::cpu(&DeviceOptions::default()).unwrap();
        let mut tensor = Tensor::from_slice(&device, 2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        tensor.resize_rows(1);
        assert_eq!(tensor.to_vec(), [1.0, 2.0, 3.0]);
        tensor.resize_rows(4);
        assert_eq!(tensor.row(0), [1.0, 2.0, 3.0]);
        tensor.upload(3, &[7.0, 8.0, 9.0]);
        let mut row = [0.0; 3];
        tensor.download_row(3, &mut row);
        assert_eq!(row, [7.0, 8.0, 9.0]);
        let other = tensor.clone();
        tensor.copy_row(1, &other, 3);
        assert_eq!(tensor.row(1), [7.0, 8.0, 9.0]);
    }

    #[test]
    fn sums_and_products_are_by_place() {
        let options = DeviceOptions { threads: std::num::NonZeroUsize::new(3), kernels: None };
        let device = Device::cpu(&options).unwrap();
        let columns = TASK_VALUES / 2 + 1;
        let values: Vec<f32> = (0..5 * columns).map(|i| i as f32).collect();
        let mut tensor = Tensor::from_slice(&device, 5, columns, &values);
        tensor.add(&device, &tensor.clone());
        assert!(tensor.to_vec().iter().zip(&values).all(|(sum, value)| *sum == 2.0 * value));
        tensor.scale(&device, 0.25);
        assert!(tensor.to_vec().iter().zip(&values).all(|(sum, value)| *sum == 0.5 * value));
        tensor.clear(&device);
        assert!(tensor.to_vec().iter().all(|value| value.to_bits() == 0));
    }
}
