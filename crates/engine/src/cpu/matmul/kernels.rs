//! What a kernel path provides, and the operands that it works on.

use std::cell::Cell;

use super::activations::RECORD;
use crate::Dtype;
use crate::matrix::layout::{BLOCK, PANEL_COLUMNS};

/// One number for each column of a panel.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Columns(pub(super) [f32; PANEL_COLUMNS]);

impl Columns {
    pub(super) const ZERO: Self = Self([0.0; PANEL_COLUMNS]);

    /// The numbers of an f32 panel where they lie; none where that is not aligned, or numbers have
    /// another order of bytes.
    #[expect(unsafe_code, reason = "bytes viewed as numbers")]
    pub(super) fn of_panel(bytes: &[u8]) -> Option<&[Self]> {
        // SAFETY: any bytes are f32 numbers, of which `Columns` are an array without padding; the
        // alignment is respected.
        let (before, columns, _) = unsafe { bytes.align_to::<Self>() };
        (before.is_empty() && cfg!(target_endian = "little")).then_some(columns)
    }
}

/// The numbers that turn a block's integer sums into real ones.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct BlockScales {
    /// Scale of a block; of its halves if the form is split.
    pub(super) scale: [Columns; 2],
    /// What every element of a column adds, if the form has a minimum.
    pub(super) min: Columns,
}

impl BlockScales {
    pub(super) const ZERO: Self = Self { scale: [Columns::ZERO; 2], min: Columns::ZERO };
}

/// Bytes of a block's quants when there is one to a byte: 8 groups × 2 halves × 64.
pub(super) const QUANTS_BYTES: usize = BLOCK * PANEL_COLUMNS;

/// Bytes of two `k` of all columns in bf16.
pub(super) const PAIR_BYTES: usize = 4 * PANEL_COLUMNS;

/// A block's quants, one to a byte.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Quants(pub(super) [u8; QUANTS_BYTES]);

impl Quants {
    pub(super) const ZERO: Self = Self([0; QUANTS_BYTES]);
}

/// How a quantized type's quants become numbers: `scale * (quant - offset)` or
/// `scale * quant + min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// What is subtracted from unsigned quants.
    pub(super) offset: i32,
    /// Whether there is a minimum; then the offset is 0.
    pub(super) min: bool,
    /// Whether each 16 elements have a scale of their own.
    pub(super) split: bool,
}

impl Form {
    /// The form of a quantized type.
    pub(super) const fn of(dtype: Dtype) -> Self {
        let (offset, min, split) = match dtype {
            Dtype::Q8_0 => (128, false, false),
            Dtype::Q4_0 => (8, false, false),
            Dtype::Q5_0 => (16, false, false),
            Dtype::Q6K => (32, false, true),
            _ => (0, true, false),
        };
        Self { offset, min, split }
    }
}

/// Some blocks' quants: expanded, or in a panel whose quants are operands as they lie.
#[derive(Clone, Copy, Debug)]
pub(super) enum QuantBlocks<'a> {
    Expanded(&'a [Quants]),
    /// `QUANTS_BYTES` at every multiple of `stride`.
    InPlace {
        bytes: &'a [u8],
        stride: usize,
    },
}

impl QuantBlocks<'_> {
    /// Where the first block begins, and the bytes from one block to the next.
    pub(super) fn start(&self) -> (*const u8, usize) {
        match *self {
            Self::Expanded(quants) => (quants.as_ptr().cast(), QUANTS_BYTES),
            Self::InPlace { bytes, stride } => (bytes.as_ptr(), stride),
        }
    }

    /// The quants of a block.
    pub(super) fn block(&self, block: usize) -> &[u8] {
        match *self {
            Self::Expanded(quants) => &quants[block].0,
            Self::InPlace { bytes, stride } => &bytes[block * stride..][..QUANTS_BYTES],
        }
    }
}

/// Some blocks of a panel as operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks<'a> {
    pub(super) quants: QuantBlocks<'a>,
    /// One for each block.
    pub(super) scales: &'a [BlockScales],
    /// What is wanted after these blocks: fetched into the cache on the way.
    pub(super) next: &'a [u8],
}

impl Blocks<'_> {
    /// Measures the operands of a tile.
    ///
    /// # Panics
    ///
    /// Panics if quants or records of a block are missing, or there is no row or no block.
    pub(super) fn check(&self, records: &[i32], tile_rows: usize) {
        let count = self.scales.len();
        assert!(count > 0 && tile_rows > 0, "a tile has blocks and rows");
        assert_eq!(self.quants.block(count - 1).len(), QUANTS_BYTES, "quants of a tile");
        assert!(records.len() >= tile_rows * count * RECORD, "records of a tile");
    }
}

/// The arithmetic of one kernel path. A value is the proof that the processor can run it.
pub(super) trait Kernels: Copy + Sync {
    /// Most rows of a tile of quantized weights.
    const TILE_ROWS: usize;
    /// Most rows of a tile of float weights.
    const FLOAT_TILE_ROWS: usize;

    /// Quantizes one row of activations to its records, of [`RECORD`] words for each block, one
    /// record at every `stride`.
    fn quantize(self, x: &[f32], form: Form, records: &mut [i32], stride: usize);

    /// Expands `scales.len()` blocks of a panel from `first` on. `quants` stay empty for types
    /// whose quants are operands as they lie.
    fn expand(
        self,
        dtype: Dtype,
        panel: &[u8],
        first: usize,
        scales: &mut [BlockScales],
        quants: &mut [Quants],
    );

    /// Adds the products of `sums.len()` rows, [`Kernels::TILE_ROWS`] at most, with all blocks.
    /// Records lie as `[block][row][word]`.
    fn tile(self, form: Form, blocks: Blocks<'_>, records: &[i32], sums: &mut [Columns]);

    /// Expands elements of a float panel from `first` on to f32, one [`Columns`] for each `k`; the
    /// two of a pair of bf16 trade places.
    fn expand_floats(self, dtype: Dtype, panel: &[u8], first: usize, out: &mut [Columns]);

    /// Adds the products of `sums.len()` rows, [`Kernels::FLOAT_TILE_ROWS`] at most. Values lie
    /// as `[k][row]`; `next` is fetched into the cache on the way.
    fn float_tile(self, weights: &[Columns], next: &[u8], values: &[f32], sums: &mut [Columns]);

    /// Whether bf16 weights are multiplied as they lie, by [`Kernels::pair_tile`].
    fn multiplies_pairs(self) -> bool {
        false
    }

    /// As [`Kernels::float_tile`] for pairs of bf16; values are the bits of pairs too.
    fn pair_tile(
        self,
        pairs: &[[u8; PAIR_BYTES]],
        _next: &[u8],
        values: &[f32],
        sums: &mut [Columns],
    ) {
        add_pairs(pairs, values, sums);
    }
}

/// Adds the products of pairs of bf16 as the processor's instruction does: of each pair the odd
/// element first, each product added with one rounding.
pub(super) fn add_pairs(pairs: &[[u8; PAIR_BYTES]], values: &[f32], sums: &mut [Columns]) {
    for (pair, values) in pairs.iter().zip(values.chunks_exact(sums.len())) {
        let (lanes, _) = pair.as_chunks::<4>();
        for (sums, value) in sums.iter_mut().zip(values) {
            let [even, odd] = split_pair(value.to_bits());
            for (sum, lane) in sums.0.iter_mut().zip(lanes) {
                let weight = split_pair(u32::from_le_bytes(*lane));
                *sum = weight[0].mul_add(even, weight[1].mul_add(odd, *sum));
            }
        }
    }
}

/// The two bf16 of a pair, the even one from the lower half.
fn split_pair(pair: u32) -> [f32; 2] {
    [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)]
}

/// A thread's memory for expanded panels and running sums, kept from one product to the next.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) scales: Vec<BlockScales>,
    pub(super) quants: Vec<Quants>,
    pub(super) weights: Vec<Columns>,
    pub(super) sums: Vec<Columns>,
}

impl Scratch {
    /// Makes room for some blocks and rows; what lies there is left from earlier work.
    pub(super) fn reserve_blocks(&mut self, blocks: usize, rows: usize) {
        self.scales.resize(blocks.max(self.scales.len()), BlockScales::ZERO);
        self.quants.resize(blocks.max(self.quants.len()), Quants::ZERO);
        self.sums.resize(rows.max(self.sums.len()), Columns::ZERO);
    }

    /// Makes room for some f32 weights and rows; what lies there is left from earlier work.
    pub(super) fn reserve_weights(&mut self, depth: usize, rows: usize) {
        self.weights.resize(depth.max(self.weights.len()), Columns::ZERO);
        self.sums.resize(rows.max(self.sums.len()), Columns::ZERO);
    }
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// Lends this thread's scratch.
pub(super) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take();
    let result = work(&mut scratch);
    SCRATCH.set(scratch);
    result
}

/// Float tiles fetch a share of what is wanted next at every so many `k`.
pub(super) const PREFETCH_STEP: usize = 8;

/// Share number `index` of `count` of what is wanted next, in whole cache lines.
#[inline(always)]
pub(super) fn share(next: &[u8], index: usize, count: usize) -> &[u8] {
    let lines = (next.len() / 64).div_ceil(count);
    let start = (index * lines * 64).min(next.len());
    &next[start..(start + lines * 64).min(next.len())]
}
