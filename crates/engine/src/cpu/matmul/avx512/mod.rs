//! 512-bit kernels: 4-way byte dot products (VNNI) and fused multiply-adds.
#![expect(unsafe_code, reason = "functions bound to instructions that a value proves")]

mod expand;
mod quantize;
mod tile;

use self::tile::{float_tile, tile};
use super::kernels::{BlockScales, Blocks, Columns, Form, Kernels, Quants};
use crate::{Dtype, KernelPath};

/// Kernels for processors with AVX-512 F, BW, DQ, VL and VNNI; made only where these are found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    /// The kernels.
    ///
    /// # Panics
    ///
    /// Panics if the processor lacks an instruction: a device of this path cannot be made there.
    pub(super) fn detected() -> Self {
        assert!(KernelPath::Avx512.is_supported(), "the processor has AVX-512");
        Self(())
    }
}

impl Kernels for Avx512 {
    const TILE_ROWS: usize = 6;
    const FLOAT_TILE_ROWS: usize = 12;

    fn quantize(self, x: &[f32], form: Form, records: &mut [i32], step: usize) {
        // SAFETY: an `Avx512` exists only where its instructions do.
        unsafe { quantize::quantize(x, form, records, step) }
    }

    fn expand(
        self,
        dtype: Dtype,
        panel: &[u8],
        first: usize,
        scales: &mut [BlockScales],
        quants: &mut [Quants],
    ) {
        // SAFETY: an `Avx512` exists only where its instructions do.
        unsafe { expand::expand(dtype, panel, first, scales, quants) }
    }

    fn tile(self, form: Form, blocks: Blocks<'_>, records: &[i32], sums: &mut [Columns]) {
        blocks.check(records, sums.len());
        macro_rules! by_rows {
            ($min:literal, $split:literal) => {
                match sums.len() {
                    1 => tile::<1, $min, $split>(blocks, records, sums),
                    2 => tile::<2, $min, $split>(blocks, records, sums),
                    3 => tile::<3, $min, $split>(blocks, records, sums),
                    4 => tile::<4, $min, $split>(blocks, records, sums),
                    5 => tile::<5, $min, $split>(blocks, records, sums),
                    rows_given => {
                        assert_eq!(rows_given, 6, "rows of a tile");
                        tile::<6, $min, $split>(blocks, records, sums);
                    }
                }
            };
        }
        // SAFETY: an `Avx512` exists only where its instructions do; the slices were measured
        // above, and the match hands over the number of sums.
        unsafe {
            match (form.min, form.split) {
                (true, _) => by_rows!(true, false),
                (false, false) => by_rows!(false, false),
                (false, true) => by_rows!(false, true),
            }
        }
    }

    fn expand_floats(self, dtype: Dtype, panel: &[u8], first: usize, out: &mut [Columns]) {
        // SAFETY: an `Avx512` exists only where its instructions do.
        unsafe { expand::expand_floats(dtype, panel, first, out) }
    }

    fn float_tile(self, weights: &[Columns], values: &[f32], sums: &mut [Columns]) {
        assert!(values.len() >= weights.len() * sums.len(), "values of a tile");
        // SAFETY: an `Avx512` exists only where its instructions do; the slices were measured
        // above, and the match hands over the number of sums.
        unsafe {
            match sums.len() {
                1 => float_tile::<1>(weights, values, sums),
                2 => float_tile::<2>(weights, values, sums),
                3 => float_tile::<3>(weights, values, sums),
                4 => float_tile::<4>(weights, values, sums),
                5 => float_tile::<5>(weights, values, sums),
                6 => float_tile::<6>(weights, values, sums),
                7 => float_tile::<7>(weights, values, sums),
                8 => float_tile::<8>(weights, values, sums),
                9 => float_tile::<9>(weights, values, sums),
                10 => float_tile::<10>(weights, values, sums),
                11 => float_tile::<11>(weights, values, sums),
                count => {
                    assert_eq!(count, 12, "rows of a tile");
                    float_tile::<12>(weights, values, sums);
                }
            }
        }
    }
}
