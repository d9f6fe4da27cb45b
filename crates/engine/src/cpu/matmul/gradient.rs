//! Gradients of weights: `d_weights[n, k] += Σ_t d_out[t, n] * x[t, k]`, one chain over the tokens
//! that goes on from what `d_weights` holds.
//!
//! The two operands of a product lie as products want them, only for other axes: columns of `x`
//! side by side are a panel, columns of `d_out` side by side are a tile, and tokens are what sums
//! run over. Both are copied once into that order.

use std::cell::Cell;
use std::ops::Range;

use super::kernels::{Columns, Kernels, PAIR_BYTES};
use super::{ROW_BLOCK, ROW_BLOCK_BYTES, TASKS_PER_THREAD, Tiling};
use crate::dtype::half::{bf16_to_f32, f32_to_bf16};
use crate::matrix::layout::PANEL_COLUMNS;
use crate::ops::matmul::Precision;
use crate::threads::Strip;
use crate::{Device, KernelPath, Tensor};

/// Tokens that a tile goes over at once: their part of a panel stays in the first-level cache.
const PIECE_DEPTH: usize = 128;
/// Steps of the sum whose `d_out` all tiles of a task copy before the next ones': so that lines of
/// the cache are read once, in the order of memory.
const COPIED_DEPTH: usize = 32;

thread_local! {
    static TILES: Cell<Vec<f32>> = Cell::default();
    static PANELS: Cell<Vec<Columns>> = Cell::default();
    static PAIR_PANELS: Cell<Vec<[u8; PAIR_BYTES]>> = Cell::default();
}

/// [`crate::ops::matmul::add_weight_gradient`] on the fast paths; shapes are checked there.
pub(crate) fn add_weight_gradient(
    device: &Device,
    d_weights: &mut Tensor,
    d_out: &Tensor,
    x: &Tensor,
    precision: Precision,
) {
    let gradient = Gradient { device, d_out, x, precision };
    let d_weights = d_weights.values_mut();
    match device.kernels() {
        #[cfg(target_arch = "x86_64")]
        KernelPath::Avx2 => gradient.run(super::avx2::Avx2::detected(), d_weights),
        #[cfg(target_arch = "x86_64")]
        KernelPath::Avx512 => gradient.run(super::avx512::Avx512::detected(), d_weights),
        _ => gradient.run(super::portable::Portable, d_weights),
    }
}

struct Gradient<'a> {
    device: &'a Device,
    d_out: &'a Tensor,
    x: &'a Tensor,
    precision: Precision,
}

impl Gradient<'_> {
    fn run<K: Kernels>(&self, kernels: K, d_weights: &mut [f32]) {
        let tokens = self.x.rows();
        let mut tiles = TILES.take();
        match self.precision {
            Precision::F32 => {
                self.pack_tiles::<K>(&mut tiles, tokens, write_singles);
                self.with_panels(&PANELS, tokens, fill_singles, |panels| {
                    let operands = Operands { tiles: &tiles, panels, depth: tokens };
                    let tile = |p: &[Columns], v: &[f32], s: &mut [Columns]| {
                        kernels.float_tile(p, &[], v, s);
                    };
                    self.multiply::<K, _>(&operands, d_weights, tile);
                });
            }
            Precision::Bf16 if kernels.multiplies_pairs() => {
                let depth = tokens.div_ceil(2);
                self.pack_tiles::<K>(&mut tiles, depth, write_pairs);
                self.with_panels(&PAIR_PANELS, depth, fill_pairs, |panels| {
                    let operands = Operands { tiles: &tiles, panels, depth };
                    let tile = |p: &[[u8; PAIR_BYTES]], v: &[f32], s: &mut [Columns]| {
                        kernels.pair_tile(p, &[], v, s);
                    };
                    self.multiply::<K, _>(&operands, d_weights, tile);
                });
            }
            Precision::Bf16 => {
                let depth = tokens.next_multiple_of(2);
                self.pack_tiles::<K>(&mut tiles, depth, write_split);
                self.with_panels(&PANELS, depth, fill_split, |panels| {
                    let operands = Operands { tiles: &tiles, panels, depth };
                    let tile = |p: &[Columns], v: &[f32], s: &mut [Columns]| {
                        kernels.float_tile(p, &[], v, s);
                    };
                    self.multiply::<K, _>(&operands, d_weights, tile);
                });
            }
        }
        TILES.set(tiles);
    }

    /// Copies the columns of `d_out`, a tile's of them side by side: `[tile][depth][column]`.
    fn pack_tiles<K: Kernels>(&self, tiles: &mut Vec<f32>, depth: usize, write: WriteTile) {
        let tiling = Tiling::new(self.d_out.columns(), K::FLOAT_TILE_ROWS);
        let slot_len = tiling.tile_rows * depth;
        let len = tiling.count * slot_len;
        tiles.resize(len.max(tiles.len()), 0.0);
        let each = tiling.count.div_ceil(TASKS_PER_THREAD * self.device.threads());
        self.device.pool().for_chunks(&mut tiles[..len], each * slot_len, |task, slots| {
            for first in (0..depth).step_by(COPIED_DEPTH) {
                let steps = first..depth.min(first + COPIED_DEPTH);
                for (i, slot) in slots.chunks_exact_mut(slot_len).enumerate() {
                    let columns = tiling.tile(task * each + i);
                    let slot = &mut slot[first * columns.len()..steps.end * columns.len()];
                    write(self.d_out, steps.clone(), columns, slot);
                }
            }
        });
    }

    /// Lends the columns of `x`, a panel's of them side by side: `[panel][depth][column]`.
    fn with_panels<E: Blank>(
        &self,
        room: &'static std::thread::LocalKey<Cell<Vec<E>>>,
        depth: usize,
        fill: impl Fn(&Tensor, Range<usize>, &mut [E]) + Sync,
        work: impl FnOnce(&[E]),
    ) {
        let columns = self.x.columns();
        let len = columns.div_ceil(PANEL_COLUMNS) * depth;
        let mut panels = room.take();
        panels.resize(len.max(panels.len()), E::BLANK);
        self.device.pool().for_chunks(&mut panels[..len], depth, |index, panel| {
            let first = index * PANEL_COLUMNS;
            fill(self.x, first..columns.min(first + PANEL_COLUMNS), panel);
        });
        work(&panels[..len]);
        room.set(panels);
    }

    /// All products, each task with some panels, that is columns of `d_weights`.
    fn multiply<K: Kernels, E: Sync>(
        &self,
        operands: &Operands<'_, E>,
        d_weights: &mut [f32],
        tile: impl Fn(&[E], &[f32], &mut [Columns]) + Sync,
    ) {
        let columns = self.x.columns();
        let tiling = Tiling::new(self.d_out.columns(), K::FLOAT_TILE_ROWS);
        let block_rows = (ROW_BLOCK_BYTES / (operands.depth * size_of::<f32>()))
            .clamp(*ROW_BLOCK.start(), *ROW_BLOCK.end());
        let block_tiles = block_rows / tiling.tile_rows;
        let panels = columns.div_ceil(PANEL_COLUMNS);
        let each = panels.div_ceil(TASKS_PER_THREAD * self.device.threads());
        let width = each * PANEL_COLUMNS;
        self.device.pool().for_columns(d_weights, columns, 0..columns, width, |mut strip| {
            for first in (0..tiling.count).step_by(block_tiles) {
                let tiles = first..tiling.count.min(first + block_tiles);
                for column in (0..strip.width()).step_by(PANEL_COLUMNS) {
                    operands.add_block(&mut strip, column, tiling, tiles.clone(), &tile);
                }
            }
        });
    }
}

/// Copied operands.
struct Operands<'a, E> {
    tiles: &'a [f32],
    panels: &'a [E],
    depth: usize,
}

impl<E> Operands<'_, E> {
    /// One panel against some tiles: pieces of the panel in turn, all tiles over each.
    fn add_block(
        &self,
        strip: &mut Strip<'_>,
        first: usize,
        tiling: Tiling,
        tiles: Range<usize>,
        tile: impl Fn(&[E], &[f32], &mut [Columns]),
    ) {
        let columns = first..strip.width().min(first + PANEL_COLUMNS);
        let panel = (strip.first() + first) / PANEL_COLUMNS;
        let panel = &self.panels[panel * self.depth..][..self.depth];
        let rows = tiling.tile(tiles.start).start..tiling.tile(tiles.end - 1).end;
        let mut sums = [Columns::ZERO; *ROW_BLOCK.end()];
        let sums = &mut sums[..rows.len()];
        for (sum, row) in sums.iter_mut().zip(rows.clone()) {
            copy_panel_row(&mut sum.0[..columns.len()], &strip.row(row)[columns.clone()]);
        }
        for (index, piece) in panel.chunks(PIECE_DEPTH).enumerate() {
            for number in tiles.clone() {
                let own = tiling.tile(number);
                let at = number * tiling.tile_rows * self.depth + index * PIECE_DEPTH * own.len();
                let values = &self.tiles[at..][..piece.len() * own.len()];
                tile(piece, values, &mut sums[own.start - rows.start..own.end - rows.start]);
            }
        }
        for (sum, row) in sums.iter().zip(rows) {
            copy_panel_row(&mut strip.row(row)[columns.clone()], &sum.0[..columns.len()]);
        }
    }
}

/// Copies the numbers of a panel's columns: without a call where there are as many as a panel has.
#[inline(always)]
fn copy_panel_row(to: &mut [f32], from: &[f32]) {
    match (to.as_chunks_mut::<PANEL_COLUMNS>(), from.as_chunks::<PANEL_COLUMNS>()) {
        (([to], []), ([from], [])) => *to = *from,
        ((_, to), (_, from)) => to.copy_from_slice(from),
    }
}

/// What a panel holds before it is filled.
trait Blank: Copy + Send + Sync + 'static {
    const BLANK: Self;
}

impl Blank for Columns {
    const BLANK: Self = Self::ZERO;
}

impl Blank for [u8; PAIR_BYTES] {
    const BLANK: Self = [0; PAIR_BYTES];
}

/// Writes the values of some steps of the sum and of some columns as a tile.
type WriteTile = fn(&Tensor, Range<usize>, Range<usize>, &mut [f32]);

fn write_singles(d_out: &Tensor, tokens: Range<usize>, columns: Range<usize>, slot: &mut [f32]) {
    // Most tiles have one of these widths, and then a copy is a few instructions.
    match columns.len() {
        12 => write_columns::<12>(d_out, tokens, columns.start, slot),
        11 => write_columns::<11>(d_out, tokens, columns.start, slot),
        10 => write_columns::<10>(d_out, tokens, columns.start, slot),
        width => {
            for (token, values) in tokens.zip(slot.chunks_exact_mut(width)) {
                values.copy_from_slice(&d_out.row(token)[columns.clone()]);
            }
        }
    }
}

fn write_columns<const N: usize>(
    d_out: &Tensor,
    tokens: Range<usize>,
    first: usize,
    slot: &mut [f32],
) {
    let (slots, _) = slot.as_chunks_mut::<N>();
    for (token, values) in tokens.zip(slots) {
        values.copy_from_slice(&d_out.row(token)[first..first + N]);
    }
}

/// Rounded to bf16; the two of each pair trade places, as the odd one is added first.
fn write_split(d_out: &Tensor, steps: Range<usize>, columns: Range<usize>, slot: &mut [f32]) {
    let width = columns.len();
    for_pairs(d_out, steps.start / 2..steps.end / 2, columns, |pair, column, [even, odd]| {
        let pair = pair - steps.start / 2;
        slot[2 * pair * width + column] = bf16_to_f32(odd);
        slot[(2 * pair + 1) * width + column] = bf16_to_f32(even);
    });
}

/// The bits of two rounded values, the even one in the lower half.
fn write_pairs(d_out: &Tensor, pairs: Range<usize>, columns: Range<usize>, slot: &mut [f32]) {
    let width = columns.len();
    for_pairs(d_out, pairs.clone(), columns, |pair, column, [even, odd]| {
        slot[(pair - pairs.start) * width + column] =
            f32::from_bits(u32::from(even) | u32::from(odd) << 16);
    });
}

fn fill_singles(x: &Tensor, columns: Range<usize>, panel: &mut [Columns]) {
    for (token, values) in panel.iter_mut().enumerate() {
        copy_panel_row(&mut values.0[..columns.len()], &x.row(token)[columns.clone()]);
    }
}

fn fill_split(x: &Tensor, columns: Range<usize>, panel: &mut [Columns]) {
    for_pairs(x, 0..x.rows().div_ceil(2), columns, |pair, column, [even, odd]| {
        panel[2 * pair].0[column] = bf16_to_f32(odd);
        panel[2 * pair + 1].0[column] = bf16_to_f32(even);
    });
}

fn fill_pairs(x: &Tensor, columns: Range<usize>, panel: &mut [[u8; PAIR_BYTES]]) {
    for_pairs(x, 0..x.rows().div_ceil(2), columns, |pair, column, [even, odd]| {
        let word = u32::from(even) | u32::from(odd) << 16;
        let (lanes, _) = panel[pair].as_chunks_mut::<4>();
        lanes[column] = word.to_le_bytes();
    });
}

/// Runs `write(pair, column, values)` for the values of two tokens each, rounded to bf16; a last
/// token alone is paired with zero.
#[inline(always)]
fn for_pairs(
    x: &Tensor,
    pairs: Range<usize>,
    columns: Range<usize>,
    mut write: impl FnMut(usize, usize, [u16; 2]),
) {
    for pair in pairs {
        let even = &x.row(2 * pair)[columns.clone()];
        if 2 * pair + 1 < x.rows() {
            let odd = &x.row(2 * pair + 1)[columns.clone()];
            for (column, (&even, &odd)) in even.iter().zip(odd).enumerate() {
                write(pair, column, [f32_to_bf16(even), f32_to_bf16(odd)]);
            }
        } else {
            for (column, &even) in even.iter().enumerate() {
                write(pair, column, [f32_to_bf16(even), 0]);
            }
        }
    }
}
