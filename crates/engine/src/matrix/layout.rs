//! How weights lie in memory: panels of 32 columns, the same bytes for every kernel and row count.
//!
//! A *column* of a product is a row of the stored matrix. A panel holds 32 columns in two halves
//! of 16 lanes and runs through `k` in order, so a kernel streams it front to back. All pieces are
//! multiples of 64 bytes; numbers are little-endian.
//!
//! Quantized types, in blocks of 32 `k`. A *group* is 4 consecutive `k`; a *vector* is 64 bytes,
//! byte `4 * lane + k % 4`, for one half and group: the operand of a 4-way dot product. Quants are
//! unsigned; Q8_0 is stored as `q + 128`, the others as in their files.
//!
//! ```text
//! Q8_0         d: 32 f16                         | 8 groups × 2 halves: vector
//! Q4_0, Q4_1   d: 32 f16 [, min: 32 f16]         | 4 pairs × 2 halves: vector of both nibbles
//! Q5_0, Q5_1   the same                          | the same | 2 halves: bit g is group g's
//! Q4_K, Q5_K   per 8 blocks d, dmin: 32 f16 each, per block scale, min: 32 u8 each | as Q4, Q5
//! Q6_K         per 8 blocks d: 32 f16, per block two scales: 32 i8 each | as Q4
//!              | 2 halves × 2: two bits at 2 * (g % 4) of a byte are group g's
//! BF16         per pair of k: 2 halves of 16 lanes × 2 k   (a last odd k is paired with zeros)
//! F16, F32     per k: 32 columns
//! ```

use crate::Dtype;
use crate::dtype::u16_at;

/// Columns of a panel.
pub(crate) const PANEL_COLUMNS: usize = 32;
/// Elements along `k` of a block, for every quantized type.
pub(crate) const BLOCK: usize = 32;
/// Bytes of 32 f16 numbers, and of a vector.
pub(crate) const LINE: usize = 64;

/// One column's share of a block: what the bits of the file say, not yet numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ColumnBlock {
    /// f16 scale, of the block or of its superblock.
    pub(crate) d: u16,
    /// f16 minimum, or scale of the minimums of a superblock; 0 if the type has none.
    pub(crate) min: u16,
    /// K types: the block's scale and minimum, or the two scales of Q6_K's halves.
    pub(crate) group: [u8; 2],
    /// Unsigned quants in order of `k`.
    pub(crate) quants: [u8; BLOCK],
}

/// Where the pieces of a quantized panel lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockLayout {
    /// Blocks that share a header.
    pub(crate) super_blocks: usize,
    /// Bytes in front of these blocks.
    pub(crate) header_bytes: usize,
    /// Bytes of a block.
    pub(crate) block_bytes: usize,
    /// Where a block's quants begin.
    pub(crate) quants_at: usize,
    /// Bits of a quant beyond its nibble; none for whole bytes.
    pub(super) high_bits: Option<usize>,
    has_min: bool,
}

impl BlockLayout {
    /// The layout of a quantized type; none for floats.
    pub(crate) const fn of(dtype: Dtype) -> Option<Self> {
        let (super_blocks, header_bytes, quants_at, high_bits, has_min) = match dtype {
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => return None,
            Dtype::Q8_0 => (1, 0, LINE, None, false),
            Dtype::Q4_0 => (1, 0, LINE, Some(0), false),
            Dtype::Q4_1 => (1, 0, 2 * LINE, Some(0), true),
            Dtype::Q5_0 => (1, 0, LINE, Some(1), false),
            Dtype::Q5_1 => (1, 0, 2 * LINE, Some(1), true),
            Dtype::Q4K => (8, 2 * LINE, LINE, Some(0), true),
            Dtype::Q5K => (8, 2 * LINE, LINE, Some(1), true),
            Dtype::Q6K => (8, LINE, LINE, Some(2), false),
        };
        let quants_bytes = match high_bits {
            None => 16 * LINE,
            Some(bits) => (8 + 2 * bits) * LINE,
        };
        let block_bytes = quants_at + quants_bytes;
        Some(Self { super_blocks, header_bytes, block_bytes, quants_at, high_bits, has_min })
    }

    /// Bytes of a panel of `blocks`.
    pub(crate) const fn panel_bytes(&self, blocks: usize) -> usize {
        blocks.div_ceil(self.super_blocks) * self.header_bytes + blocks * self.block_bytes
    }

    /// Where the header of a block's superblock begins.
    pub(crate) const fn header_at(&self, block: usize) -> usize {
        block / self.super_blocks * (self.header_bytes + self.super_blocks * self.block_bytes)
    }

    /// Where a block begins.
    pub(crate) const fn block_at(&self, block: usize) -> usize {
        self.header_at(block) + self.header_bytes + block % self.super_blocks * self.block_bytes
    }

    /// Writes one column's scales of a block.
    pub(super) fn write_scales(
        &self,
        panel: &mut [u8],
        block: usize,
        column: usize,
        value: &ColumnBlock,
    ) {
        let at = self.block_at(block);
        let scales_at = if self.header_bytes > 0 { self.header_at(block) } else { at };
        write_u16(panel, scales_at + 2 * column, value.d);
        if self.has_min {
            write_u16(panel, scales_at + LINE + 2 * column, value.min);
        }
        if self.header_bytes > 0 {
            panel[at + column] = value.group[0];
            panel[at + PANEL_COLUMNS + column] = value.group[1];
        }
    }

    /// The quants of a block.
    pub(super) fn quants_mut<'a>(&self, panel: &'a mut [u8], block: usize) -> &'a mut [u8] {
        let at = self.block_at(block);
        &mut panel[at + self.quants_at..at + self.block_bytes]
    }

    /// Writes one column of a block of a zeroed panel, element by element: what packing must equal.
    #[cfg(test)]
    pub(super) fn write(&self, panel: &mut [u8], block: usize, column: usize, value: &ColumnBlock) {
        self.write_scales(panel, block, column, value);
        let quants = self.quants_mut(panel, block);
        for (k, &quant) in value.quants.iter().enumerate() {
            match self.high_bits {
                None => quants[byte_at(k, column)] = quant,
                Some(high_bits) => {
                    let (at, shift) = nibble_at(k, column);
                    quants[at] |= (quant & 0xf) << shift;
                    let (at, shift) = high_at(high_bits, k, column);
                    if high_bits > 0 {
                        quants[8 * LINE + at] |= (quant >> 4) << shift;
                    }
                }
            }
        }
    }

    /// Reads one column of a block back.
    pub(crate) fn read(&self, panel: &[u8], block: usize, column: usize) -> ColumnBlock {
        let at = self.block_at(block);
        let scales_at = if self.header_bytes > 0 { self.header_at(block) } else { at };
        let mut value =
            ColumnBlock { d: u16_at(panel, scales_at + 2 * column), ..Default::default() };
        if self.has_min {
            value.min = u16_at(panel, scales_at + LINE + 2 * column);
        }
        if self.header_bytes > 0 {
            value.group = [panel[at + column], panel[at + PANEL_COLUMNS + column]];
        }
        let quants = &panel[at + self.quants_at..];
        for (k, quant) in value.quants.iter_mut().enumerate() {
            *quant = match self.high_bits {
                None => quants[byte_at(k, column)],
                Some(high_bits) => {
                    let (at, shift) = nibble_at(k, column);
                    let low = (quants[at] >> shift) & 0xf;
                    let (at, shift) = high_at(high_bits, k, column);
                    let mask = (1 << high_bits) - 1;
                    let high = if high_bits > 0 { quants[8 * LINE + at] >> shift } else { 0 };
                    low | ((high & mask) << 4)
                }
            };
        }
        value
    }
}

/// Bytes of a panel of any type.
pub(crate) const fn panel_bytes(dtype: Dtype, in_features: usize) -> usize {
    match BlockLayout::of(dtype) {
        Some(layout) => layout.panel_bytes(in_features / BLOCK),
        None => match dtype {
            Dtype::F32 => in_features * PANEL_COLUMNS * 4,
            Dtype::Bf16 => in_features.next_multiple_of(2) * PANEL_COLUMNS * 2,
            _ => in_features * PANEL_COLUMNS * 2,
        },
    }
}

/// Where an element of a float panel lies.
pub(crate) const fn float_at(dtype: Dtype, k: usize, column: usize) -> usize {
    match dtype {
        Dtype::F32 => (k * PANEL_COLUMNS + column) * 4,
        Dtype::Bf16 => k / 2 * (PANEL_COLUMNS * 4) + column * 4 + k % 2 * 2,
        _ => (k * PANEL_COLUMNS + column) * 2,
    }
}

/// The byte of a column's lane that belongs to `k`, in the vector of its half and group.
const fn lane_at(k: usize, column: usize) -> usize {
    column % 16 * 4 + k % 4
}

const fn byte_at(k: usize, column: usize) -> usize {
    (k / 4 * 2 + column / 16) * LINE + lane_at(k, column)
}

const fn nibble_at(k: usize, column: usize) -> (usize, usize) {
    ((k / 8 * 2 + column / 16) * LINE + lane_at(k, column), k / 4 % 2 * 4)
}

const fn high_at(high_bits: usize, k: usize, column: usize) -> (usize, usize) {
    let (half, group) = (column / 16, k / 4);
    let vector = if high_bits == 2 { half * 2 + group / 4 } else { half };
    let shift = if high_bits == 2 { group % 4 * 2 } else { group };
    (vector * LINE + lane_at(k, column), shift)
}

fn write_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}
