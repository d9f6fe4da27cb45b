//! How the rows of a step are dealt out to threads; the results do not depend on it.
//!
//! Neighboring rows of one sequence form a block whose query vectors share the loads of keys and
//! values. A task is a block against one kv head: over all spans of the sequence where there are
//! tasks enough for the threads, over one span where there are not. The records of the tasks then
//! become rows of the output.

use std::cell::Cell;
use std::ops::Range;

use super::AttentionRow;
use super::cache::{Element, HEAD_SIZE_MAX, Head, KvCache, PAGE_TOKENS};
use crate::cpu::attention::{Attend, Finish, Record, SPAN_TILES, VECTORS};
use crate::cpu::lanes::{self, LANES};
use crate::ops::rows_per_task;
use crate::{Device, Tensor};

/// Tasks per thread above which spans are not dealt out one by one.
const TASKS_PER_THREAD: usize = 4;

thread_local! {
    /// Records of a step, kept by the caller's thread from one step to the next.
    static RECORDS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    /// Queries, partial records and scores of a task.
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Lends the first `length` numbers of a thread's buffer, with whatever they hold.
pub(super) fn with_buffer(
    buffer: &'static std::thread::LocalKey<Cell<Vec<f32>>>,
    length: usize,
    task: impl FnOnce(&mut [f32]),
) {
    let mut numbers = buffer.take();
    if numbers.len() < length {
        numbers.resize(length, 0.0);
    }
    task(&mut numbers[..length]);
    buffer.set(numbers);
}

/// One layer's attention for the rows of a step.
pub(super) struct Step<'a, E> {
    pub(super) device: &'a Device,
    pub(super) cache: &'a KvCache,
    pub(super) all: &'a [E],
    pub(super) layer: usize,
    pub(super) rows: &'a [AttentionRow<'a>],
}

/// The tasks of a step: every unit of heads × every block × every piece of spans.
struct Tasks {
    record: Record,
    /// Query heads per kv head.
    group: usize,
    /// Units that a group is cut into, each of at most [`VECTORS`] heads.
    units: usize,
    /// Rows of each block.
    blocks: Vec<Range<usize>>,
    /// Block of each row.
    block_of_row: Vec<usize>,
    /// Pieces that the spans are dealt out in: 1, or one for each span.
    pieces: usize,
    /// Most spans of a row.
    spans: usize,
}

impl Tasks {
    /// Numbers that a task leaves: a record for each vector it may have.
    fn records_length(&self) -> usize {
        VECTORS * self.record.length()
    }

    /// Heads of a unit, counted within their group.
    fn unit_heads(&self, unit: usize) -> Range<usize> {
        unit * VECTORS..self.group.min((unit + 1) * VECTORS)
    }

    /// The number of the task with a unit (counted over all kv heads), a block and a piece.
    fn number(&self, unit: usize, block: usize, piece: usize) -> usize {
        (unit * self.blocks.len() + block) * self.pieces + piece
    }
}

impl<E: Element> Step<'_, E> {
    /// Attends and writes `out`, and the logarithms of the sums of weights where there is room.
    pub(super) fn forward(&self, out: &mut Tensor, log_sums: Option<&mut Tensor>, qkv: &Tensor) {
        let tasks = self.deal(out.columns());
        let count = tasks.number(self.cache.shape().kv_heads * tasks.units, 0, 0);
        let length = tasks.records_length();
        with_buffer(&RECORDS, count * length, |records| {
            self.device.pool().for_chunks(records, length, |task, records| {
                self.attend(&tasks, task, qkv, records);
            });
            let (width, rows) = (out.columns(), rows_per_task(out.columns()));
            let Some(log_sums) = log_sums else {
                self.device.pool().for_chunks(out.values_mut(), rows * width, |chunk, out| {
                    for (index, out) in out.chunks_exact_mut(width).enumerate() {
                        self.finish(&tasks, chunk * rows + index, records, out, &mut []);
                    }
                });
                return;
            };
            let heads = log_sums.columns();
            let log_sums = log_sums.values_mut().chunks_exact_mut(heads);
            let mut pairs: Vec<_> =
                out.values_mut().chunks_exact_mut(width).zip(log_sums).collect();
            self.device.pool().for_chunks(&mut pairs, rows, |chunk, pairs| {
                for (index, (out, log_sums)) in pairs.iter_mut().enumerate() {
                    self.finish(&tasks, chunk * rows + index, records, out, log_sums);
                }
            });
        });
    }

    /// Forms blocks of rows and decides whether spans are tasks of their own.
    fn deal(&self, query_width: usize) -> Tasks {
        let shape = self.cache.shape();
        let group = query_width / (shape.kv_heads * shape.head_size);
        let rows_max = (VECTORS / group.min(VECTORS)).max(1);
        let mut blocks: Vec<Range<usize>> = Vec::with_capacity(self.rows.len());
        let mut block_of_row = Vec::with_capacity(self.rows.len());
        for (index, row) in self.rows.iter().enumerate() {
            match blocks.last_mut() {
                Some(block) if block.len() < rows_max && follows(&self.rows[index - 1], row) => {
                    block.end = index + 1;
                }
                _ => blocks.push(index..index + 1),
            }
            block_of_row.push(blocks.len() - 1);
        }
        let units = group.div_ceil(VECTORS);
        let spans = self.rows.iter().map(spans_of).max().unwrap_or(0);
        let enough = TASKS_PER_THREAD * self.device.threads();
        let whole = self.device.threads() == 1 || shape.kv_heads * units * blocks.len() >= enough;
        let pieces = if whole { 1 } else { spans };
        let record = Record { width: shape.value_chunks() * LANES };
        Tasks { record, group, units, blocks, block_of_row, pieces, spans }
    }

    /// Runs one task.
    fn attend(&self, tasks: &Tasks, task: usize, qkv: &Tensor, records: &mut [f32]) {
        let shape = *self.cache.shape();
        let head_size = shape.head_size;
        let (piece, rest) = (task % tasks.pieces, task / tasks.pieces);
        let (block, unit) = (rest % tasks.blocks.len(), rest / tasks.blocks.len());
        let block = tasks.blocks[block].clone();
        let (kv_head, unit) = (unit / tasks.units, unit % tasks.units);
        let heads = tasks.unit_heads(unit);
        let rows = &self.rows[block.clone()];
        let spans = if tasks.pieces == 1 { 0..tasks.spans } else { piece..piece + 1 };
        let last = rows.iter().map(spans_of).max().unwrap_or(0);
        if spans.start >= last {
            return;
        }
        let vectors = rows.len() * heads.len();
        let part = vectors * (tasks.record.length() + PAGE_TOKENS);
        with_buffer(&SCRATCH, VECTORS * HEAD_SIZE_MAX + part, |scratch| {
            let (queries, scratch) = scratch.split_at_mut(VECTORS * HEAD_SIZE_MAX);
            let first = (kv_head * tasks.group + heads.start) * head_size;
            let sources = block.flat_map(|row| {
                qkv.row(row)[first..first + heads.len() * head_size].chunks_exact(head_size)
            });
            for (query, source) in queries.chunks_exact_mut(HEAD_SIZE_MAX).zip(sources) {
                for (query, &value) in query.iter_mut().zip(source) {
                    *query = value * shape.scale;
                }
            }
            let attend = Attend {
                rows,
                heads: heads.len(),
                queries,
                head_size,
                head: Head { cache: self.cache, all: self.all, layer: self.layer, kv_head },
                spans: spans.start..spans.end.min(last),
                record: tasks.record,
                records,
                scratch,
            };
            lanes::run(self.device.kernels(), attend);
        });
    }

    /// Makes a row of the output from its vectors' records, and the logarithm of each one's sum of
    /// weights where there is room.
    fn finish(
        &self,
        tasks: &Tasks,
        row: usize,
        records: &[f32],
        out: &mut [f32],
        log_sums: &mut [f32],
    ) {
        let block = tasks.block_of_row[row];
        let row_in_block = row - tasks.blocks[block].start;
        let spans = if tasks.pieces == 1 { 1 } else { spans_of(&self.rows[row]) };
        let mut scratch = [0.0; HEAD_SIZE_MAX + 2 * LANES];
        for (number, out) in out.chunks_exact_mut(self.cache.shape().head_size).enumerate() {
            let (kv_head, head) = (number / tasks.group, number % tasks.group);
            let unit = head / VECTORS;
            let heads = tasks.unit_heads(unit);
            let vector = row_in_block * heads.len() + head - heads.start;
            let task = tasks.number(kv_head * tasks.units + unit, block, 0);
            let start = task * tasks.records_length() + vector * tasks.record.length();
            let finish = Finish {
                record: tasks.record,
                records: &records[start..],
                stride: tasks.records_length(),
                spans,
                scratch: &mut scratch[..tasks.record.length()],
                out,
            };
            let log_sum = lanes::run(self.device.kernels(), finish);
            if let Some(place) = log_sums.get_mut(number) {
                *place = log_sum;
            }
        }
    }
}

/// Number of spans that a row's keys reach into.
fn spans_of(row: &AttentionRow<'_>) -> usize {
    row.position / (SPAN_TILES * PAGE_TOKENS) + 1
}

/// Whether `next` is the token behind `row` in the same sequence.
fn follows(row: &AttentionRow<'_>, next: &AttentionRow<'_>) -> bool {
    let tiles = row.position / PAGE_TOKENS + 1;
    next.position == row.position + 1
        && (std::ptr::eq(row.pages, next.pages) || row.pages[..tiles] == next.pages[..tiles])
}
