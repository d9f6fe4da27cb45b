//! Packed blocks into operands, in plain Rust that each kernel path compiles for its vectors.

use super::kernels::{BlockScales, Columns, Quants};
use crate::Dtype;
use crate::matrix::layout::{BlockLayout, LINE, PANEL_COLUMNS};

/// Expands `scales.len()` blocks of a panel from `first` on; `halves` converts 32 f16 numbers.
#[inline(always)]
pub(super) fn expand(
    dtype: Dtype,
    panel: &[u8],
    first: usize,
    scales: &mut [BlockScales],
    quants: &mut [Quants],
    halves: impl Fn(&[u8; LINE]) -> Columns,
) {
    let Some(layout) = BlockLayout::of(dtype) else { return };
    for (i, scales) in scales.iter_mut().enumerate() {
        let block = &panel[layout.block_at(first + i)..][..layout.block_bytes];
        let header = if layout.header_bytes == 0 {
            block
        } else {
            &panel[layout.header_at(first + i)..][..layout.header_bytes]
        };
        expand_scales(dtype, header, block, scales, &halves);
        let packed = &block[layout.quants_at..];
        match dtype {
            Dtype::Q4_0 | Dtype::Q4_1 | Dtype::Q4K => expand_quants::<0>(packed, &mut quants[i]),
            Dtype::Q5_0 | Dtype::Q5_1 | Dtype::Q5K => expand_quants::<1>(packed, &mut quants[i]),
            Dtype::Q6K => expand_quants::<2>(packed, &mut quants[i]),
            _ => {}
        }
    }
}

#[inline(always)]
fn expand_scales(
    dtype: Dtype,
    header: &[u8],
    block: &[u8],
    out: &mut BlockScales,
    halves: &impl Fn(&[u8; LINE]) -> Columns,
) {
    let (header, _) = header.as_chunks::<LINE>();
    let (groups, _) = block.as_chunks::<PANEL_COLUMNS>();
    let d = halves(&header[0]);
    match dtype {
        Dtype::Q4_1 | Dtype::Q5_1 => {
            out.scale[0] = d;
            out.min = halves(&header[1]);
        }
        Dtype::Q4K | Dtype::Q5K => {
            out.scale[0] = product(&d, |c| f32::from(groups[0][c]));
            out.min = product(&halves(&header[1]), |c| -f32::from(groups[1][c]));
        }
        Dtype::Q6K => {
            out.scale =
                [0, 1].map(|half: usize| product(&d, |c| f32::from(groups[half][c].cast_signed())));
        }
        _ => out.scale[0] = d,
    }
}

#[inline(always)]
fn product(d: &Columns, factor: impl Fn(usize) -> f32) -> Columns {
    Columns(std::array::from_fn(|c| d.0[c] * factor(c)))
}

/// One byte a quant out of nibbles and `HIGH` more bits, by the layout in `matrix::layout`.
#[inline(always)]
fn expand_quants<const HIGH: usize>(packed: &[u8], out: &mut Quants) {
    let (packed, _) = packed.as_chunks::<LINE>();
    let (nibbles, planes) = packed.split_at(8);
    let (out, _) = out.0.as_chunks_mut::<LINE>();
    for pair in 0..4 {
        for half in 0..2 {
            let nibbles = &nibbles[2 * pair + half];
            let (even, odd) = (4 * pair + half, 4 * pair + 2 + half);
            for i in 0..LINE {
                let high = match HIGH {
                    0 => 0,
                    1 => planes[half][i] >> (2 * pair),
                    _ => planes[2 * half + pair / 2][i] >> (4 * (pair % 2)),
                };
                let mask = (1 << HIGH) - 1;
                out[even][i] = (nibbles[i] & 0xf) | ((high & mask) << 4);
                out[odd][i] = (nibbles[i] >> 4) | (((high >> HIGH) & mask) << 4);
            }
        }
    }
}

/// Expands elements of a float panel from `first` on; `halves` converts 32 f16 numbers.
#[inline(always)]
pub(super) fn expand_floats(
    dtype: Dtype,
    panel: &[u8],
    first: usize,
    out: &mut [Columns],
    halves: impl Fn(&[u8; LINE]) -> Columns,
) {
    match dtype {
        Dtype::F16 => {
            let (lines, _) = panel.as_chunks::<LINE>();
            for (out, line) in out.iter_mut().zip(&lines[first..]) {
                *out = halves(line);
            }
        }
        Dtype::Bf16 => {
            let (pairs, _) = panel.as_chunks::<{ 2 * LINE }>();
            for (out, pair) in out.as_chunks_mut::<2>().0.iter_mut().zip(&pairs[first / 2..]) {
                let (lanes, _) = pair.as_chunks::<4>();
                let lanes: [u32; PANEL_COLUMNS] =
                    std::array::from_fn(|c| u32::from_le_bytes(lanes[c]));
                // The odd element comes first, as in the processor's own instruction.
                out[0] = Columns(lanes.map(|lane| f32::from_bits(lane & 0xffff_0000)));
                out[1] = Columns(lanes.map(|lane| f32::from_bits(lane << 16)));
            }
        }
        _ => {
            let (rows, _) = panel.as_chunks::<{ 2 * LINE }>();
            for (out, row) in out.iter_mut().zip(&rows[first..]) {
                for (value, bytes) in out.0.iter_mut().zip(row.as_chunks::<4>().0) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
        }
    }
}
