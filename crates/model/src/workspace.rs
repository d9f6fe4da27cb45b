//! The activations of one step, kept from step to step for their memory.

use engine::ops::rope::RopeTable;
use engine::{Device, Tensor};

use crate::adapter::LowRows;
use crate::config::Config;
use crate::gpt::HEAD_ROWS_MAX;

/// One tensor for each place in a layer; all have as many rows as the step.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The residual stream, `[rows, width]`.
    pub stream: Tensor,
    /// `[rows, width]`
    pub normed: Tensor,
    /// Queries, keys and values side by side, `[rows, (heads + 2 kv_heads) * head_size]`.
    pub qkv: Tensor,
    /// `[rows, heads * head_size]`
    pub attended: Tensor,
    /// `[rows, 2 * ffn_width]`
    pub gate_up: Tensor,
    /// `[rows, ffn_width]`
    pub hidden: Tensor,
    /// Between the matrices of an adapter.
    pub low_rows: LowRows,
    /// The rows whose logits are wanted, `[wanted, width]`.
    pub last: Tensor,
    /// `[wanted, vocab]`
    pub logits: Tensor,
    /// Turns of every position.
    pub rope: RopeTable,
}

impl Workspace {
    /// Room for no row yet; positions up to `context_tokens`.
    pub(crate) fn new(device: &Device, config: &Config, context_tokens: usize) -> Self {
        let tensor = |columns| Tensor::zeros(device, 0, columns);
        let rope = &config.rope;
        Self {
            stream: tensor(config.width),
            normed: tensor(config.width),
            qkv: tensor(config.query_width() + 2 * config.kv_width()),
            attended: tensor(config.query_width()),
            gate_up: tensor(2 * config.ffn_width),
            hidden: tensor(config.ffn_width),
            low_rows: LowRows::new(device),
            last: tensor(config.width),
            logits: tensor(config.vocab),
            rope: RopeTable::new(
                config.head_size,
                context_tokens,
                rope.base,
                &rope.scaling,
                rope.pairing,
            ),
        }
    }

    /// Makes room for `rows` rows.
    pub(crate) fn resize(&mut self, rows: usize) {
        let Self { stream, normed, qkv, attended, gate_up, hidden, .. } = self;
        for tensor in [stream, normed, qkv, attended, gate_up, hidden] {
            tensor.resize_rows(rows);
        }
    }

    /// Memory of a step of `rows` rows.
    pub(crate) fn bytes(config: &Config, rows: usize, context_tokens: usize) -> u64 {
        let qkv = config.query_width() + 2 * config.kv_width();
        let columns = 2 * config.width + qkv + config.query_width() + 3 * config.ffn_width;
        let head = HEAD_ROWS_MAX.min(rows) * (config.width + config.vocab);
        let turns = context_tokens * config.head_size;
        let numbers = rows as u64 * columns as u64 + head as u64 + 2 * turns as u64;
        numbers * size_of::<f32>() as u64
    }
}
