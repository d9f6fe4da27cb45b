//! Weights that change: panels written again from f32 values after each step of training.

use super::layout::{PANEL_COLUMNS, panel_bytes};
use super::{Matrix, PackedPart};
use crate::arena::Arena;
use crate::dtype::half::f32_to_bf16;
use crate::{Device, Dtype, Error, Tensor};

/// Values of a column that are written before the next column's, so that the lines stay cached.
const RUN: usize = 64;

/// In which order the values of a matrix are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[out_features, in_features]`, as weights are kept.
    Rows,
    /// `[in_features, out_features]`: the transpose of weights, for gradients of their inputs.
    Columns,
}

impl Matrix {
    /// A matrix of zeros that [`Self::write`] fills.
    ///
    /// # Errors
    ///
    /// [`Error::MatrixShape`] for an empty or unaddressable matrix.
    ///
    /// # Panics
    ///
    /// Panics unless `dtype` is F32 or BF16.
    pub fn zeros(dtype: Dtype, out_features: usize, in_features: usize) -> Result<Self, Error> {
        assert!(matches!(dtype, Dtype::F32 | Dtype::Bf16), "{dtype}: trained in F32 or BF16");
        let shape = Error::MatrixShape { out_features, in_features };
        if out_features == 0 || in_features == 0 || in_features.checked_mul(256).is_none() {
            return Err(shape);
        }
        let panel_bytes = panel_bytes(dtype, in_features);
        let total = out_features.div_ceil(PANEL_COLUMNS).checked_mul(panel_bytes);
        let Some(total) = total.filter(|&bytes| isize::try_from(bytes).is_ok()) else {
            return Err(shape);
        };
        let panels = Arena::zeros(total);
        let part = PackedPart { dtype, first_row: 0, out_features, panels, panel_bytes };
        Ok(Self { parts: vec![part], in_features, out_features })
    }

    /// Writes all values, rounded to the matrix's type.
    ///
    /// # Shapes
    ///
    /// - `values`: as `order` says
    ///
    /// # Panics
    ///
    /// Panics if the shapes differ or the matrix does not come from [`Self::zeros`].
    pub fn write(&mut self, device: &Device, values: &Tensor, order: Order) {
        let (out_features, in_features) = (self.out_features, self.in_features);
        let shape = match order {
            Order::Rows => (out_features, in_features),
            Order::Columns => (in_features, out_features),
        };
        assert_eq!((values.rows(), values.columns()), shape, "shape of the values of {self:?}");
        let values = values.values();
        assert_eq!(self.parts.len(), 1, "a matrix that can be written has one part");
        let part = &mut self.parts[0];
        let (dtype, panel_bytes) = (part.dtype, part.panel_bytes);
        assert!(matches!(dtype, Dtype::F32 | Dtype::Bf16), "{dtype}: written in F32 or BF16");
        device.pool().for_chunks(part.panels.as_mut_slice(), panel_bytes, |index, panel| {
            let first = index * PANEL_COLUMNS;
            let columns = first..out_features.min(first + PANEL_COLUMNS);
            let (words, _) = panel.as_chunks_mut::<4>();
            let source = Source { values, out_features, in_features, order };
            match dtype {
                Dtype::F32 => source.write_singles(columns, words),
                _ => source.write_pairs(columns, words),
            }
        });
    }
}

/// Values with their shape.
struct Source<'a> {
    values: &'a [f32],
    out_features: usize,
    in_features: usize,
    order: Order,
}

impl Source<'_> {
    /// One word of a panel for each `k` of each column.
    fn write_singles(&self, columns: std::ops::Range<usize>, words: &mut [[u8; 4]]) {
        match self.order {
            Order::Rows => self.for_runs(columns, |column, first, run| {
                let own = words[first * PANEL_COLUMNS..].iter_mut().skip(column);
                for (word, value) in own.step_by(PANEL_COLUMNS).zip(run) {
                    *word = value.to_le_bytes();
                }
            }),
            Order::Columns => {
                for (k, words) in words.chunks_exact_mut(PANEL_COLUMNS).enumerate() {
                    for (word, value) in words.iter_mut().zip(self.row(k, &columns)) {
                        *word = value.to_le_bytes();
                    }
                }
            }
        }
    }

    /// One word for each pair of `k`, the even one in the lower half; a last one's mate is zero.
    fn write_pairs(&self, columns: std::ops::Range<usize>, words: &mut [[u8; 4]]) {
        match self.order {
            Order::Rows => self.for_runs(columns, |column, first, run| {
                let own = words[first / 2 * PANEL_COLUMNS..].iter_mut().skip(column);
                for (word, pair) in own.step_by(PANEL_COLUMNS).zip(run.chunks(2)) {
                    *word = pair_of(pair[0], pair.get(1).copied().unwrap_or(0.0));
                }
            }),
            Order::Columns => {
                let zeros = [0.0; PANEL_COLUMNS];
                for (pair, words) in words.chunks_exact_mut(PANEL_COLUMNS).enumerate() {
                    let even = self.row(2 * pair, &columns);
                    let has_odd = 2 * pair + 1 < self.in_features;
                    let odd = if has_odd { self.row(2 * pair + 1, &columns) } else { &zeros };
                    for ((word, &even), &odd) in words.iter_mut().zip(even).zip(odd) {
                        *word = pair_of(even, odd);
                    }
                }
            }
        }
    }

    /// Runs `write(column, first, values)` for runs of every column, in turns.
    fn for_runs(
        &self,
        columns: std::ops::Range<usize>,
        mut write: impl FnMut(usize, usize, &[f32]),
    ) {
        for first in (0..self.in_features).step_by(RUN) {
            let end = self.in_features.min(first + RUN);
            for (column, n) in columns.clone().enumerate() {
                let row = &self.values[n * self.in_features..][..self.in_features];
                write(column, first, &row[first..end]);
            }
        }
    }

    /// The values of some columns at one `k`, where these lie side by side.
    fn row(&self, k: usize, columns: &std::ops::Range<usize>) -> &[f32] {
        &self.values[k * self.out_features..][columns.clone()]
    }
}

fn pair_of(even: f32, odd: f32) -> [u8; 4] {
    (u32::from(f32_to_bf16(even)) | u32::from(f32_to_bf16(odd)) << 16).to_le_bytes()
}
