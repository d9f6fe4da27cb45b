//! Weights, checked and re-laid once from the layout of their file.

pub(crate) mod blocks;
pub(crate) mod layout;
mod pack;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;

pub use self::values::Order;

use self::layout::{BLOCK, BlockLayout, PANEL_COLUMNS, float_at, panel_bytes};
use crate::arena::Arena;
use crate::{Device, Dtype, Error, dtype};

/// What a thread packs at a time of a large matrix: a large page, as two threads that touch a page
/// first get in each other's way.
const TASK_BYTES: usize = 2 << 20;

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
///
/// Held in one layout for every number of activation rows, within 3 % of the bytes of the file
/// (apart from the last panel of a part, which is filled up to 32 rows).
#[derive(Clone)]
pub struct Matrix {
    parts: Vec<PackedPart>,
    in_features: usize,
    out_features: usize,
}

/// Stacked rows of one type, in panels.
#[derive(Clone)]
pub(crate) struct PackedPart {
    pub(crate) dtype: Dtype,
    /// The first row of this part in the whole matrix.
    pub(crate) first_row: usize,
    pub(crate) out_features: usize,
    /// Panel after panel, [`panel_bytes`] each.
    panels: Arena<u8>,
    panel_bytes: usize,
}

impl Matrix {
    /// Checks the parts and lays them out for the kernels. Neighbors of one type become one.
    ///
    /// # Errors
    ///
    /// [`Error::MatrixShape`] for an empty or unaddressable matrix, [`Error::RowLength`] if
    /// `in_features` are not whole blocks, [`Error::MatrixBytes`] if a part has not the bytes of
    /// its shape.
    pub fn pack(
        device: &Device,
        parts: &[MatrixPart<'_>],
        in_features: usize,
    ) -> Result<Self, Error> {
        let mut matrix = Self { parts: Vec::new(), in_features, out_features: 0 };
        for part in parts {
            check(part, in_features)?;
        }
        for run in parts.chunk_by(|a, b| a.dtype == b.dtype) {
            let first_row = matrix.out_features;
            let rows = run.iter().try_fold(0_usize, |n, part| n.checked_add(part.out_features));
            let total = rows.and_then(|rows| rows.checked_add(first_row));
            let (Some(out_features), Some(total)) = (rows, total) else {
                return Err(Error::MatrixShape { out_features: usize::MAX, in_features });
            };
            matrix.parts.push(pack_run(device, run, first_row, out_features, in_features)?);
            matrix.out_features = total;
        }
        if matrix.out_features == 0 {
            return Err(Error::MatrixShape { out_features: 0, in_features });
        }
        Ok(matrix)
    }

    /// What [`Self::memory_bytes`] is going to be once these parts, each a type and a number of
    /// rows, are packed; saturating.
    #[must_use]
    pub fn packed_bytes(parts: &[(Dtype, usize)], in_features: usize) -> usize {
        let runs = parts.chunk_by(|(a, _), (b, _)| a == b);
        let run_bytes = |run: &[(Dtype, usize)]| {
            let rows = run.iter().fold(0_usize, |rows, (_, more)| rows.saturating_add(*more));
            rows.div_ceil(PANEL_COLUMNS).saturating_mul(panel_bytes(run[0].0, in_features))
        };
        runs.map(run_bytes).fold(0, usize::saturating_add)
    }

    /// Writes the exact values of row `n`.
    ///
    /// # Panics
    ///
    /// Panics if the row does not exist or `out` is not one row long.
    pub fn read_row(&self, n: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.in_features, "length of a row of {self:?}");
        assert!(n < self.out_features, "row {n} lies outside {self:?}");
        let part = self.parts.iter().rfind(|part| part.first_row <= n);
        if let Some(part) = part {
            part.read_row(n - part.first_row, out);
        }
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
        self.parts.iter().map(|part| part.panels.as_slice().len()).sum()
    }

    /// The types of its parts, in order.
    pub fn dtypes(&self) -> impl Iterator<Item = Dtype> {
        self.parts.iter().map(|part| part.dtype)
    }

    /// The parts in order.
    pub(crate) fn parts(&self) -> &[PackedPart] {
        &self.parts
    }
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matrix[{}, {}]", self.out_features, self.in_features)?;
        f.debug_list().entries(self.parts.iter().map(|part| part.dtype)).finish()
    }
}

impl PackedPart {
    /// Panels from `first` on, and so to the end, for a kernel that looks ahead.
    pub(crate) fn panels_from(&self, first: usize) -> &[u8] {
        &self.panels.as_slice()[first * self.panel_bytes..]
    }

    fn read_row(&self, n: usize, out: &mut [f32]) {
        let panel = self.panels_from(n / PANEL_COLUMNS);
        let column = n % PANEL_COLUMNS;
        if let Some(layout) = BlockLayout::of(self.dtype) {
            for (b, values) in out.chunks_exact_mut(BLOCK).enumerate() {
                blocks::values(self.dtype, &layout.read(panel, b, column), values);
            }
            return;
        }
        let bytes = self.dtype.block_bytes();
        for (k, value) in out.iter_mut().enumerate() {
            let at = float_at(self.dtype, k, column);
            dtype::dequantize_row(self.dtype, &panel[at..at + bytes], std::slice::from_mut(value));
        }
    }
}

/// Refuses a part whose bytes do not fit its shape.
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

/// Packs checked parts of one type. Their bytes exist, so sizes near theirs can be addressed.
fn pack_run(
    device: &Device,
    run: &[MatrixPart<'_>],
    first_row: usize,
    out_features: usize,
    in_features: usize,
) -> Result<PackedPart, Error> {
    let dtype = run[0].dtype;
    let row_bytes = run[0].bytes.len() / run[0].out_features;
    let rows: Vec<&[u8]> = run.iter().flat_map(|part| part.bytes.chunks_exact(row_bytes)).collect();
    let panel_bytes = panel_bytes(dtype, in_features);
    let total = out_features.div_ceil(PANEL_COLUMNS).checked_mul(panel_bytes);
    let Some(total) = total.filter(|&bytes| isize::try_from(bytes).is_ok()) else {
        return Err(Error::MatrixShape { out_features, in_features });
    };
    let mut panels = Arena::zeros(total);
    let panels_per_thread = out_features.div_ceil(PANEL_COLUMNS) / device.threads();
    let task_panels = (TASK_BYTES / panel_bytes).min(panels_per_thread / 4).max(1);
    device.pool().for_chunks(panels.as_mut_slice(), task_panels * panel_bytes, |task, bytes| {
        let rows = rows[task * task_panels * PANEL_COLUMNS..].chunks(PANEL_COLUMNS);
        for (rows, panel) in rows.zip(bytes.chunks_exact_mut(panel_bytes)) {
            pack::pack_panel(dtype, rows, panel);
        }
    });
    Ok(PackedPart { dtype, first_row, out_features, panels, panel_bytes })
}
