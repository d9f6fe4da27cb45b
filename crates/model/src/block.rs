//! One layer of the transformer: attention, then the gated feed-forward, each added to the stream.

use engine::Device;
use engine::ops::attention::{self, AttentionRow, KvCache};
use engine::ops::matmul::{self, Store};
use engine::ops::{rms_norm, rope, swiglu};

use crate::adapter::{Product, ServedAdapter};
use crate::config::Config;
use crate::weights::{BlockWeights, Linear};
use crate::workspace::Workspace;

/// What a layer computes with.
pub(crate) struct Pass<'a> {
    pub device: &'a Device,
    pub config: &'a Config,
    pub cache: &'a mut KvCache,
    pub rows: &'a [AttentionRow<'a>],
    pub positions: &'a [u32],
    pub adapter: Option<&'a ServedAdapter>,
}

/// Runs layer `layer` on the residual stream `w.stream`, `[rows, width]`.
///
/// Writes the rows' keys and values into the cache before any row attends, so rows of one sequence
/// see each other as far as their positions allow.
pub(crate) fn forward(pass: &mut Pass<'_>, w: &mut Workspace, block: &BlockWeights, layer: usize) {
    let (device, config) = (pass.device, pass.config);
    let epsilon = config.norm_epsilon;
    let (query, kv) = (config.query_width(), config.kv_width());

    rms_norm::forward(device, &mut w.normed, &w.stream, &block.attention_norm, epsilon);
    linear(device, &mut w.qkv, &w.normed, &block.qkv, Store::Overwrite);
    if let Some(adapter) = pass.adapter {
        adapter.add(device, (layer, Product::Qkv), &mut w.low_rows, &mut w.qkv, &w.normed);
    }
    if let Some(norms) = &block.head_norms {
        rms_norm::forward_heads(device, &mut w.qkv, 0..query, &norms.query, epsilon);
        rms_norm::forward_heads(device, &mut w.qkv, query..query + kv, &norms.key, epsilon);
    }
    rope::forward(device, &mut w.qkv, 0..query + kv, pass.positions, &w.rope);
    attention::store(device, pass.cache, layer, &w.qkv, pass.rows);
    attention::forward(device, &mut w.attended, &w.qkv, pass.cache, layer, pass.rows);
    linear(device, &mut w.stream, &w.attended, &block.attention_output, Store::Add);
    if let Some(adapter) = pass.adapter {
        let at = (layer, Product::AttentionOutput);
        adapter.add(device, at, &mut w.low_rows, &mut w.stream, &w.attended);
    }

    rms_norm::forward(device, &mut w.normed, &w.stream, &block.ffn_norm, epsilon);
    linear(device, &mut w.gate_up, &w.normed, &block.gate_up, Store::Overwrite);
    if let Some(adapter) = pass.adapter {
        adapter.add(device, (layer, Product::GateUp), &mut w.low_rows, &mut w.gate_up, &w.normed);
    }
    swiglu::forward(device, &mut w.hidden, &w.gate_up);
    linear(device, &mut w.stream, &w.hidden, &block.down, Store::Add);
    if let Some(adapter) = pass.adapter {
        adapter.add(device, (layer, Product::Down), &mut w.low_rows, &mut w.stream, &w.hidden);
    }
}

fn linear(
    device: &Device,
    out: &mut engine::Tensor,
    x: &engine::Tensor,
    weights: &Linear,
    store: Store,
) {
    matmul::forward(device, out, x, &weights.matrix, weights.bias.as_ref(), store);
}
