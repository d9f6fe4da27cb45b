//! Weights, checked and re-laid once from the layout of their file.

use std::fmt;

use crate::{Device, Dtype, Error, dtype};

/// Rows of a matrix as they lie in a file.
#[derive(Clone, Copy, Debug)]
pub struct MatrixPart<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Number of rows.
    pub out_features: usize,
    /// `out_features` rows of blocks, one after the other.
    pub bytes: &'a [u8],
}

/// Weights `[out_features, in_features]`: parts of one or several types, stacked by rows.
#[derive(Clone)]
pub struct Matrix {
    parts: Vec<Part>,
    in_features: usize,
    out_features: usize,
}

#[derive(Clone)]
struct Part {
    dtype: Dtype,
    /// The first row of this part in the whole matrix.
    first_row: usize,
    out_features: usize,
    bytes: Vec<u8>,
}

impl Matrix {
    /// Checks the parts and lays them out for the kernels.
    ///
    /// # Errors
    ///
    /// [`Error::MatrixShape`] for an empty or unaddressable matrix, [`Error::RowLength`] if
    /// `in_features` are not whole blocks, [`Error::MatrixBytes`] if a part has not the bytes of
    /// its shape.
    pub fn pack(
        _device: &Device,
        parts: &[MatrixPart<'_>],
        in_features: usize,
    ) -> Result<Self, Error> {
        let mut matrix = Self { parts: Vec::new(), in_features, out_features: 0 };
        for part in parts {
            check(part, in_features)?;
            matrix.parts.push(Part {
                dtype: part.dtype,
                first_row: matrix.out_features,
                out_features: part.out_features,
                bytes: part.bytes.to_vec(),
            });
            matrix.out_features = matrix
                .out_features
                .checked_add(part.out_features)
                .ok_or(Error::MatrixShape { out_features: usize::MAX, in_features })?;
        }
        if matrix.out_features == 0 {
            return Err(Error::MatrixShape { out_features: 0, in_features });
        }
        Ok(matrix)
    }

    /// Rows of the matrix, columns of a product with it.
    #[must_use]
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Columns of the matrix and of the activations it multiplies.
    #[must_use]
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// Memory taken by the weights, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    /// Writes the exact values of row `n`.
    ///
    /// # Panics
    ///
    /// Panics if the row does not exist or `out` is not one row long.
    pub fn read_row(&self, n: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.in_features, "length of a row of {self:?}");
        let part = self
            .parts
            .iter()
            .find(|part| (part.first_row..part.first_row + part.out_features).contains(&n));
        let Some(part) = part else {
            unreachable_row(self, n);
        };
        let row_bytes = part.bytes.len() / part.out_features;
        let bytes = &part.bytes[(n - part.first_row) * row_bytes..][..row_bytes];
        dtype::dequantize_row(part.dtype, bytes, out);
    }
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matrix[{}, {}]", self.out_features, self.in_features)?;
        f.debug_list().entries(self.parts.iter().map(|part| part.dtype)).finish()
    }
}

#[expect(clippy::panic, reason = "a row outside the matrix is a mistake of the caller")]
fn unreachable_row(matrix: &Matrix, n: usize) -> ! {
    panic!("row {n} lies outside {matrix:?}")
}

fn check(part: &MatrixPart<'_>, in_features: usize) -> Result<(), Error> {
    let (dtype, out_features) = (part.dtype, part.out_features);
    let shape = Error::MatrixShape { out_features, in_features };
    if out_features == 0 || in_features == 0 {
        return Err(shape);
    }
    let block_elements = dtype.block_elements();
    if !in_features.is_multiple_of(block_elements) {
        return Err(Error::RowLength { dtype, elements: in_features, block_elements });
    }
    let row_bytes = dtype.row_bytes(in_features);
    let Some(expected_bytes) = row_bytes.and_then(|bytes| bytes.checked_mul(out_features)) else {
        return Err(shape);
    };
    if part.bytes.len() != expected_bytes {
        let actual_bytes = part.bytes.len();
        return Err(Error::MatrixBytes {
            dtype,
            out_features,
            in_features,
            expected_bytes,
            actual_bytes,
        });
    }
    Ok(())
}
