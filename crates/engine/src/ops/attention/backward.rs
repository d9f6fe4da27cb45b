//! Gradients of attention with respect to queries, keys and values.

use std::cell::Cell;
use std::ops::Range;

use super::cache::{CacheType, Element};
use super::plan::with_buffer;
use super::{AttentionRow, CacheShape};
use crate::cpu::attention_backward::{self, Sequence, TILE};
use crate::cpu::lanes::{self, LANES};
use crate::math::double;
use crate::ops::rows_per_task;
use crate::{Device, KernelPath, Tensor};

thread_local! {
    /// Gradients of all tasks, kept by the caller's thread from one call to the next.
    static GRADIENTS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    /// Operands of a task.
    static OPERANDS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// What the forward pass read and wrote.
#[derive(Clone, Copy, Debug)]
pub struct Attended<'a> {
    /// `[rows, q | k | v]`
    pub qkv: &'a Tensor,
    /// `[rows, heads * head_size]`
    pub out: &'a Tensor,
    /// `[rows, heads]`, from [`super::forward_with_log_sums`]
    pub log_sums: &'a Tensor,
}

/// The gradient of `Σ out ⊙ d_out`; overwrites `d_qkv`.
///
/// Rounding of keys and values in the cache is passed over as if it were not there.
///
/// # Shapes
///
/// - `d_qkv`: `[rows, q | k | v]`
/// - `d_out`: `[rows, heads * head_size]`
///
/// # Panics
///
/// Panics if the shapes differ or `rows` are not whole sequences from their first token on.
pub fn backward(
    device: &Device,
    d_qkv: &mut Tensor,
    d_out: &Tensor,
    attended: Attended<'_>,
    shape: &CacheShape,
    rows: &[AttentionRow<'_>],
) {
    let Attended { qkv, out, log_sums } = attended;
    let (query_width, kv_width) = (out.columns(), shape.kv_heads * shape.head_size);
    let heads = query_width / shape.head_size;
    for (tensor, columns, name) in [
        (&*d_qkv, query_width + 2 * kv_width, "d_qkv"),
        (qkv, query_width + 2 * kv_width, "qkv"),
        (d_out, query_width, "d_out"),
        (out, query_width, "out"),
        (log_sums, heads, "log_sums"),
    ] {
        assert_eq!((tensor.rows(), tensor.columns()), (rows.len(), columns), "shape of {name}");
    }
    assert!(query_width.is_multiple_of(kv_width), "{query_width} columns in {kv_width}");
    let pass = Pass { device, d_out, attended, shape, sequences: sequences(rows) };
    match (device.kernels(), shape.cache_type) {
        (KernelPath::Reference, CacheType::Bf16) => pass.reference::<u16>(d_qkv),
        (KernelPath::Reference, CacheType::F32) => pass.reference::<f32>(d_qkv),
        (_, CacheType::Bf16) => pass.run::<u16>(d_qkv),
        (_, CacheType::F32) => pass.run::<f32>(d_qkv),
    }
}

/// The runs of rows that are sequences.
fn sequences(rows: &[AttentionRow<'_>]) -> Vec<Range<usize>> {
    let mut sequences: Vec<Range<usize>> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        if row.position == 0 {
            sequences.push(index..index);
        }
        let sequence = sequences.last_mut().expect("a sequence begins with its first token");
        assert_eq!(row.position, sequence.len(), "position of row {index} in its sequence");
        sequence.end = index + 1;
    }
    sequences
}

struct Pass<'a> {
    device: &'a Device,
    d_out: &'a Tensor,
    attended: Attended<'a>,
    shape: &'a CacheShape,
    sequences: Vec<Range<usize>>,
}

/// The parts of a task's memory, `heads` being the query heads of its key and value head.
#[derive(Clone, Copy)]
struct Layout {
    rows: usize,
    padded: usize,
    width: usize,
    heads: usize,
}

impl Layout {
    /// Numbers of one head, all rows.
    fn head(self) -> usize {
        self.padded * self.width
    }

    /// Numbers of the gradients: of the queries of every head, of keys, of values.
    fn gradients(self) -> usize {
        (self.heads + 2) * self.head()
    }

    /// Numbers of the operands: queries, their outputs' gradients, keys, values, two numbers for
    /// each row of a head, and the kernel's scratch.
    fn operands(self) -> usize {
        (2 * self.heads + 2) * self.head()
            + 2 * self.heads * self.padded
            + attention_backward::scratch_len(self.width)
    }
}

impl Pass<'_> {
    /// Query heads of a key and value head.
    fn group(&self) -> usize {
        self.attended.out.columns() / (self.shape.kv_heads * self.shape.head_size)
    }

    fn layout(&self, sequence: &Range<usize>) -> Layout {
        Layout {
            rows: sequence.len(),
            padded: sequence.len().next_multiple_of(TILE),
            width: self.shape.head_size.next_multiple_of(LANES),
            heads: self.group(),
        }
    }

    /// A task for every key and value head of every sequence; then their gradients become rows.
    fn run<E: Element>(&self, d_qkv: &mut Tensor) {
        let kv_heads = self.shape.kv_heads;
        let mut all = 0;
        let mut starts = Vec::with_capacity(self.sequences.len());
        for sequence in &self.sequences {
            starts.push(all);
            all += self.layout(sequence).gradients() * kv_heads;
        }
        with_buffer(&GRADIENTS, all, |gradients| {
            let mut rest = &mut *gradients;
            let mut parts = Vec::with_capacity(self.sequences.len() * kv_heads);
            for sequence in &self.sequences {
                for _ in 0..kv_heads {
                    let (part, after) = rest.split_at_mut(self.layout(sequence).gradients());
                    parts.push(part);
                    rest = after;
                }
            }
            self.device.pool().for_chunks(&mut parts, 1, |task, parts| {
                let (sequence, kv_head) = (&self.sequences[task / kv_heads], task % kv_heads);
                parts.iter_mut().for_each(|part| {
                    self.differentiate::<E>(sequence, kv_head, part);
                });
            });
            self.collect(gradients, &starts, d_qkv);
        });
    }

    /// Copies a task's operands and runs its kernel.
    fn differentiate<E: Element>(
        &self,
        sequence: &Range<usize>,
        kv_head: usize,
        gradients: &mut [f32],
    ) {
        let layout = self.layout(sequence);
        let Layout { rows, padded, width, heads } = layout;
        gradients.fill(0.0);
        with_buffer(&OPERANDS, layout.operands(), |operands| {
            if rows < padded || self.shape.head_size < width {
                operands.fill(0.0);
            }
            let (queries, rest) = operands.split_at_mut(heads * layout.head());
            let (d_out, rest) = rest.split_at_mut(heads * layout.head());
            let (keys, rest) = rest.split_at_mut(layout.head());
            let (values, rest) = rest.split_at_mut(layout.head());
            let (log_sums, rest) = rest.split_at_mut(heads * padded);
            let (dots, scratch) = rest.split_at_mut(heads * padded);
            for (index, row) in sequence.clone().enumerate() {
                let at = index * width;
                self.key(row, kv_head).zip(&mut keys[at..]).for_each(|(value, key)| {
                    *key = E::round(value).widen();
                });
                self.value(row, kv_head).zip(&mut values[at..]).for_each(|(value, to)| {
                    *to = E::round(value).widen();
                });
                for head in 0..heads {
                    let number = kv_head * heads + head;
                    let at = head * layout.head() + at;
                    for (to, value) in queries[at..].iter_mut().zip(self.query(row, number)) {
                        *to = value * self.shape.scale;
                    }
                    let (d, out) = (self.head(self.d_out, row, number), self.attended.out);
                    d_out[at..at + d.len()].copy_from_slice(d);
                    let place = head * padded + index;
                    log_sums[place] = self.attended.log_sums.row(row)[number];
                    dots[place] = dot(d, self.head(out, row, number));
                }
            }
            let (d_queries, rest) = gradients.split_at_mut(heads * layout.head());
            let (d_keys, d_values) = rest.split_at_mut(layout.head());
            let scale = self.shape.scale;
            let kernel = Sequence {
                rows,
                padded,
                width,
                heads,
                scale,
                queries,
                keys,
                values,
                d_out,
                log_sums,
                dots,
                d_queries,
                d_keys,
                d_values,
                scratch,
            };
            lanes::run(self.device.kernels(), kernel);
        });
    }

    /// Makes the rows of `d_qkv` from the tasks' gradients.
    fn collect(&self, gradients: &[f32], starts: &[usize], d_qkv: &mut Tensor) {
        let (columns, rows) = (d_qkv.columns(), d_qkv.rows());
        let head_size = self.shape.head_size;
        let kv_heads = self.shape.kv_heads;
        let mut sequence_of_row = Vec::with_capacity(rows);
        for (number, sequence) in self.sequences.iter().enumerate() {
            sequence_of_row.extend(sequence.clone().map(|_| number));
        }
        let chunk = rows_per_task(columns);
        self.device.pool().for_chunks(d_qkv.values_mut(), chunk * columns, |task, values| {
            for (index, values) in values.chunks_exact_mut(columns).enumerate() {
                let row = task * chunk + index;
                let number = sequence_of_row[row];
                let sequence = &self.sequences[number];
                let layout = self.layout(sequence);
                let place = (row - sequence.start) * layout.width;
                let all = layout.heads * kv_heads;
                for (head, to) in values.chunks_exact_mut(head_size).enumerate() {
                    // Query heads, then keys, then values, each kv head's in its own part.
                    let (kv_head, part) = match head.checked_sub(all) {
                        None => (head / layout.heads, head % layout.heads),
                        Some(key) if key < kv_heads => (key, layout.heads),
                        Some(value) => (value - kv_heads, layout.heads + 1),
                    };
                    let start = starts[number] + kv_head * layout.gradients();
                    let from = start + part * layout.head() + place;
                    to.copy_from_slice(&gradients[from..from + head_size]);
                }
            }
        });
    }

    fn head<'t>(&self, tensor: &'t Tensor, row: usize, head: usize) -> &'t [f32] {
        &tensor.row(row)[head * self.shape.head_size..][..self.shape.head_size]
    }

    fn query(&self, row: usize, head: usize) -> impl Iterator<Item = f32> {
        self.head(self.attended.qkv, row, head).iter().copied()
    }

    fn key(&self, row: usize, kv_head: usize) -> impl Iterator<Item = f32> {
        self.query(row, self.group() * self.shape.kv_heads + kv_head)
    }

    fn value(&self, row: usize, kv_head: usize) -> impl Iterator<Item = f32> {
        self.query(row, (self.group() + 1) * self.shape.kv_heads + kv_head)
    }

    /// By the definition, in `f64`, with the rounded keys and values.
    #[expect(clippy::cast_possible_truncation, reason = "results in f64 are rounded to f32 once")]
    fn reference<E: Element>(&self, d_qkv: &mut Tensor) {
        let rounded = |value: f32| f64::from(E::round(value).widen());
        let head_size = self.shape.head_size;
        for sequence in &self.sequences {
            for kv_head in 0..self.shape.kv_heads {
                let keys: Vec<Vec<f64>> = sequence
                    .clone()
                    .map(|row| self.key(row, kv_head).map(rounded).collect())
                    .collect();
                let values: Vec<Vec<f64>> = sequence
                    .clone()
                    .map(|row| self.value(row, kv_head).map(rounded).collect())
                    .collect();
                let mut d_keys = vec![vec![0.0; head_size]; sequence.len()];
                let mut d_values = d_keys.clone();
                for number in kv_head * self.group()..(kv_head + 1) * self.group() {
                    for (index, row) in sequence.clone().enumerate() {
                        let query: Vec<f64> = self.query(row, number).map(f64::from).collect();
                        let d_out: Vec<f64> =
                            self.head(self.d_out, row, number).iter().map(|&d| d.into()).collect();
                        let d_query = differentiate_row(
                            (&query, &d_out, f64::from(self.shape.scale)),
                            (&keys[..=index], &values[..=index]),
                            (&mut d_keys, &mut d_values),
                        );
                        let to = &mut d_qkv.row_mut(row)[number * head_size..][..head_size];
                        to.iter_mut().zip(d_query).for_each(|(to, d)| *to = d as f32);
                    }
                }
                let first = self.group() * self.shape.kv_heads;
                for (row, (d_key, d_value)) in sequence.clone().zip(d_keys.iter().zip(&d_values)) {
                    for (number, d) in
                        [(first + kv_head, d_key), (first + self.shape.kv_heads + kv_head, d_value)]
                    {
                        let to = &mut d_qkv.row_mut(row)[number * head_size..][..head_size];
                        to.iter_mut().zip(d).for_each(|(to, &d)| *to = d as f32);
                    }
                }
            }
        }
    }
}

/// One query against the keys and values that it sees: its own gradient, and shares of theirs.
pub(super) fn differentiate_row(
    (query, d_out, scale): (&[f64], &[f64], f64),
    (keys, values): (&[Vec<f64>], &[Vec<f64>]),
    (d_keys, d_values): (&mut [Vec<f64>], &mut [Vec<f64>]),
) -> Vec<f64> {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let scores: Vec<f64> = keys.iter().map(|key| product(query, key) * scale).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| double::exp(score - largest)).collect();
    let sum = weights.iter().sum::<f64>();
    let d_weights: Vec<f64> = values.iter().map(|value| product(d_out, value)).collect();
    let mean = product(&weights, &d_weights) / sum;
    let mut d_query = vec![0.0; query.len()];
    for (t, weight) in weights.iter().map(|weight| weight / sum).enumerate() {
        let d_score = weight * (d_weights[t] - mean) * scale;
        for c in 0..query.len() {
            d_query[c] += d_score * keys[t][c];
            d_keys[t][c] += d_score * query[c];
            d_values[t][c] += weight * d_out[c];
        }
    }
    d_query
}

/// `Σ a ⊙ b`, summed in order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}
