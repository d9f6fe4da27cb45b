//! Packing: the rows of a panel side by side, in the order of the file, written in whole words.
//!
//! Four consecutive `k` of a column are four neighboring bytes of a panel, whatever the type, so a
//! column's share of a vector is one 32-bit word.

use super::blocks;
use super::layout::{BLOCK, BlockLayout, ColumnBlock, LINE, PANEL_COLUMNS};
use crate::Dtype;

/// Lays up to 32 stored rows out as the columns of a zeroed panel.
pub(super) fn pack_panel(dtype: Dtype, rows: &[&[u8]], panel: &mut [u8]) {
    match BlockLayout::of(dtype) {
        Some(layout) => pack_blocks(dtype, layout, rows, panel),
        None => pack_floats(dtype, rows, panel),
    }
}

/// A superblock of every column after the other: what is being written stays in the cache.
fn pack_blocks(dtype: Dtype, layout: BlockLayout, rows: &[&[u8]], panel: &mut [u8]) {
    let stored = dtype.block_elements() / BLOCK;
    let blocks = rows[0].len() / dtype.block_bytes() * stored;
    for first in (0..blocks).step_by(stored) {
        for (column, row) in rows.iter().enumerate() {
            for block in first..first + stored {
                let value = blocks::read(dtype, row, block);
                layout.write_scales(panel, block, column, &value);
                write_quants(&layout, layout.quants_mut(panel, block), column, &value);
            }
        }
    }
}

/// Writes one column's quants of a block.
fn write_quants(layout: &BlockLayout, quants: &mut [u8], column: usize, value: &ColumnBlock) {
    let (vectors, _) = quants.as_chunks_mut::<LINE>();
    let (half, lane) = (column / 16, column % 16);
    let mut put = |vector: usize, word: u32| {
        let (lanes, _) = vectors[vector].as_chunks_mut::<4>();
        lanes[lane] = word.to_le_bytes();
    };
    let (groups, _) = value.quants.as_chunks::<4>();
    let word = |group: usize| u32::from_le_bytes(groups[group]);
    let Some(high_bits) = layout.high_bits else {
        return (0..8).for_each(|group| put(2 * group + half, word(group)));
    };
    let low = |group: usize| word(group) & 0x0f0f_0f0f;
    for pair in 0..4 {
        put(2 * pair + half, low(2 * pair) | low(2 * pair + 1) << 4);
    }
    let high = |group: usize| (word(group) >> 4) & 0x0f0f_0f0f;
    let gathered = |first: usize, bits: usize| {
        (0..8 / bits).fold(0, |word, group| word | high(first + group) << (bits * group))
    };
    match high_bits {
        0 => {}
        1 => put(8 + half, gathered(0, 1)),
        _ => (0..2).for_each(|part| put(8 + 2 * half + part, gathered(4 * part, 2))),
    }
}

/// A line of every column after the other.
fn pack_floats(dtype: Dtype, rows: &[&[u8]], panel: &mut [u8]) {
    match dtype {
        Dtype::F16 => pack_elements::<2>(rows, panel),
        // A pair of BF16 is one word; the panel has a zero for a last one's mate.
        _ => pack_elements::<4>(rows, panel),
    }
}

/// Elements, or pairs of them, of `N` bytes: `[k, 32 columns]` from `[32 columns, k]`.
fn pack_elements<const N: usize>(rows: &[&[u8]], panel: &mut [u8]) {
    let (lines, _) = panel.as_chunks_mut::<N>();
    for (index, lines) in lines.chunks_mut(LINE / N * PANEL_COLUMNS).enumerate() {
        for (column, row) in rows.iter().enumerate() {
            let row = &row[index * LINE..row.len().min((index + 1) * LINE)];
            let (elements, rest) = row.as_chunks::<N>();
            let own = lines.iter_mut().skip(column).step_by(PANEL_COLUMNS);
            for (place, element) in own.zip(elements) {
                *place = *element;
            }
            if !rest.is_empty() {
                lines[elements.len() * PANEL_COLUMNS + column][..rest.len()].copy_from_slice(rest);
            }
        }
    }
}
