//! 512-bit kernels: 4-way byte dot products (VNNI) and fused multiply-adds.
#![expect(unsafe_code, reason = "functions bound to instructions that a value proves")]

mod expand;
mod quantize;
mod tile;

use self::tile::{float_tile, pair_tile, tile};
use super::kernels::{BlockScales, Blocks, Columns, Form, Kernels, PAIR_BYTES, Quants, add_pairs};
use crate::{Dtype, KernelPath};

/// Kernels for processors with AVX-512 F, BW, DQ, VL and VNNI; made only where these are found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512 {
    /// Whether the processor has AVX-512 BF16 too.
    bf16_dot: bool,
}

impl Avx512 {
    /// The kernels.
    ///
    /// # Panics
    ///
    /// Panics if the processor lacks an instruction: a device of this path cannot be made there.
    pub(super) fn detected() -> Self {
        assert!(KernelPath::Avx512.is_supported(), "the processor has AVX-512");
        Self { bf16_dot: is_x86_feature_detected!("avx512bf16") }
    }
}

/// Calls the instance of a kernel that is made for the number of rows of `sums`.
macro_rules! by_rows {
    ($sums:ident, tile, $min:literal, $split:literal, $arguments:tt) => {
        by_rows!(@match $sums, tile, [$min, $split], $arguments, [1 2 3 4 5 6 7 8 9 10 11 12])
    };
    ($sums:ident, $kernel:ident, $arguments:tt) => {
        by_rows!(@match $sums, $kernel, [], $arguments, [1 2 3 4 5 6 7 8 9 10 11 12])
    };
    (@match $sums:ident, $kernel:ident, $flags:tt, $arguments:tt, [$($rows:literal)*]) => {
        match $sums.len() {
            $($rows => by_rows!(@call $kernel, $rows, $flags, $arguments),)*
            rows => assert_eq!(rows, 0, "a tile has few rows"),
        }
    };
    (@call $kernel:ident, $rows:literal, [$($flag:literal),*], ($($argument:expr),*)) => {
        // SAFETY: an `Avx512` exists only where its instructions do; the caller of this macro
        // measured the slices, and `sums` has this number of rows.
        unsafe { $kernel::<$rows $(, $flag)*>($($argument),*) }
    };
}

impl Kernels for Avx512 {
    const TILE_ROWS: usize = 12;
    const FLOAT_TILE_ROWS: usize = 12;

    fn quantize(self, x: &[f32], form: Form, records: &mut [i32], stride: usize) {
        // SAFETY: an `Avx512` exists only where its instructions do.
        unsafe { quantize::quantize(x, form, records, stride) }
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
        match (form.min, form.split) {
            (true, _) => by_rows!(sums, tile, true, false, (blocks, records, sums)),
            (false, false) => by_rows!(sums, tile, false, false, (blocks, records, sums)),
            (false, true) => by_rows!(sums, tile, false, true, (blocks, records, sums)),
        }
    }

    fn expand_floats(self, dtype: Dtype, panel: &[u8], first: usize, out: &mut [Columns]) {
        // SAFETY: an `Avx512` exists only where its instructions do.
        unsafe { expand::expand_floats(dtype, panel, first, out) }
    }

    fn float_tile(self, weights: &[Columns], next: &[u8], values: &[f32], sums: &mut [Columns]) {
        assert!(values.len() >= weights.len() * sums.len(), "values of a tile");
        by_rows!(sums, float_tile, (weights, next, values, sums));
    }

    fn multiplies_pairs(self) -> bool {
        self.bf16_dot
    }

    fn pair_tile(
        self,
        pairs: &[[u8; PAIR_BYTES]],
        next: &[u8],
        values: &[f32],
        sums: &mut [Columns],
    ) {
        if !self.bf16_dot {
            return add_pairs(pairs, values, sums);
        }
        assert!(values.len() >= pairs.len() * sums.len(), "values of a tile");
        by_rows!(sums, pair_tile, (pairs, next, values, sums));
    }
}
