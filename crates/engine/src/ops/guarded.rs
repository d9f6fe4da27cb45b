//! No kernel touches memory behind its operands, at any size: each operation runs in ordinary and
//! in guarded memory and gives the same bits.
//!
//! All that an operation reads and writes lies in guarded memory: tensors, panels of weights,
//! packed activations, tables. (Planted and found: one word read behind the packed activations, one
//! byte behind a panel.) Out of reach are reads in front of an operand, reads by less than
//! 64 bytes behind a cache of keys and values, which ends with a spare line, and from one row or
//! panel into its neighbor: these the tests of values see where they matter.

use super::attention::{AttentionRow, CacheShape, CacheType, KvCache};
use super::matmul::{Precision, Store};
use super::rope::{Pairing, RopeScaling, RopeTable};
use super::{
    adamw, attention, cross_entropy, draw, embedding, gradient_norm, log_softmax, matmul, muon,
    rms_norm, rope, swiglu,
};
use crate::dtype::testing::random_rows;
use crate::testing::guard::guarded;
use crate::testing::{device, numbers, paths, same_bits};
use crate::{Device, Dtype, Matrix, MatrixPart, Tensor};

/// Runs an operation twice on every path, `work` being all that allocates.
fn check(what: &str, work: impl Fn(&Device) -> Vec<f32> + Sync) {
    for path in paths() {
        let device = device(path, 1);
        let expected = work(&device);
        let actual = guarded(|| work(&device));
        assert!(same_bits(&actual, &expected), "{what} on {path:?}");
    }
}

fn tensor(device: &Device, rows: usize, columns: usize) -> Tensor {
    Tensor::from_slice(device, rows, columns, &numbers(1, rows * columns))
}

#[test]
fn products() {
    for dtype in Dtype::ALL {
        let sizes: &[usize] = match dtype.block_elements() {
            1 => &[1, 2, 3, 7, 16, 17, 31, 33, 65],
            32 => &[32, 64, 96],
            _ => &[256, 512],
        };
        for (&in_features, out_features) in sizes.iter().zip([33, 1, 64, 31, 5, 16, 17, 32, 65]) {
            let bytes = random_rows(dtype, out_features, in_features, 3);
            for rows in 1..=13 {
                check(&format!("[{rows}, {in_features}] × {dtype} × {out_features}"), |device| {
                    let part = MatrixPart { dtype, out_features, bytes: &bytes };
                    let weights = Matrix::pack(device, &[part], in_features).unwrap();
                    let (x, bias) =
                        (tensor(device, rows, in_features), tensor(device, 1, out_features));
                    let mut out = tensor(device, rows, out_features);
                    matmul::forward(device, &mut out, &x, &weights, Some(&bias), Store::Add);
                    let mut again = Tensor::zeros(device, rows, out_features);
                    matmul::forward(device, &mut again, &x, &weights, None, Store::Overwrite);
                    [out.to_vec(), again.to_vec()].concat()
                });
            }
        }
    }
}

#[test]
fn gradients_of_products() {
    for (in_features, out_features) in (1..=40).map(|n| (n, n * 7 % 41 + 1)).chain([(70, 130)]) {
        for rows in [1, 2, 3, 13, 129] {
            check(&format!("gradients of [{rows}, {in_features}] × {out_features}"), |device| {
                let (x, d_out) =
                    (tensor(device, rows, in_features), tensor(device, rows, out_features));
                let mut d_weights = tensor(device, out_features, in_features);
                for precision in [Precision::F32, Precision::Bf16] {
                    matmul::add_weight_gradient(device, &mut d_weights, &d_out, &x, precision);
                }
                let mut d_bias = tensor(device, 1, out_features);
                matmul::add_bias_gradient(device, &mut d_bias, &d_out);
                [d_weights.to_vec(), d_bias.to_vec()].concat()
            });
        }
    }
}

#[test]
fn rows_of_a_table() {
    for dtype in Dtype::ALL {
        let columns = dtype.block_elements().max(7);
        let bytes = random_rows(dtype, 33, columns, 5);
        check(&format!("embedding in {dtype}"), |device| {
            let part = MatrixPart { dtype, out_features: 33, bytes: &bytes };
            let table = Matrix::pack(device, &[part], columns).unwrap();
            let mut out = Tensor::zeros(device, 3, columns);
            embedding::forward(device, &mut out, &table, &[0, 32, 31]);
            out.to_vec()
        });
    }
}

#[test]
fn rows_of_every_length() {
    for columns in 1..=300 {
        let rows = 1 + columns % 13;
        check(&format!("rows of {columns}"), |device| {
            let (x, weight) = (tensor(device, rows, columns), tensor(device, 1, columns));
            let mut out = Tensor::zeros(device, rows, columns);
            rms_norm::forward(device, &mut out, &x, &weight, 1e-5);
            let mut heads = x.clone();
            rms_norm::forward_heads(device, &mut heads, 0..columns, &weight, 1e-5);
            let mut gated = Tensor::zeros(device, rows, columns);
            swiglu::forward(device, &mut gated, &tensor(device, rows, 2 * columns));
            let logits = x.row(rows - 1).to_vec();
            let sums = log_softmax::row(device, &logits, 0.7);
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let token = draw::row(device, &logits, 1.0, 7, 9) as f32;
            [out.to_vec(), heads.to_vec(), gated.to_vec(), vec![sums.log_sum, token]].concat()
        });
    }
}

#[test]
fn gradients_of_every_length() {
    for columns in 1..=300 {
        let rows = 1 + columns % 13;
        check(&format!("gradients of {columns}"), |device| {
            let (x, d_out) = (tensor(device, rows, columns), tensor(device, rows, columns));
            let (mut d_x, mut d_weight) = (d_out.clone(), tensor(device, 1, columns));
            let weight = d_weight.clone();
            let inputs = rms_norm::Inputs { x: &x, weight: &weight, epsilon: 1e-5 };
            let store = Store::Add;
            let gradients =
                rms_norm::Gradients { d_x: &mut d_x, store, d_weight: Some(&mut d_weight) };
            rms_norm::backward(device, gradients, &d_out, &inputs);
            let d_weights = Some(&mut d_weight);
            rms_norm::backward_heads(device, &mut d_x, 0..columns, d_weights, &inputs);
            let mut d_gate_up = tensor(device, rows, 2 * columns);
            let gate_up = d_gate_up.clone();
            swiglu::backward(device, &mut d_gate_up, &d_out, &gate_up);
            let tokens: Vec<u32> = (0..).take(rows).collect();
            let mut d_table = Tensor::zeros(device, rows, columns);
            embedding::backward(device, &mut d_table, &d_out, &tokens);
            let all = [d_x, d_weight, d_gate_up, d_table].map(|tensor| tensor.to_vec());
            [all.concat(), losses(device, rows, columns)].concat()
        });
    }
}

/// Losses, gradients and entropies of some rows of logits.
fn losses(device: &Device, rows: usize, vocab: usize) -> Vec<f32> {
    let mut logits = tensor(device, rows, vocab);
    let (tokens, weights) = (vec![0; rows], vec![0.5; rows]);
    let targets =
        cross_entropy::Targets { tokens: &tokens, weights: &weights, scale: 0.1, temperature: 0.9 };
    let [mut losses, mut logprobs, mut entropies] = std::array::from_fn(|_| vec![0.0; rows]);
    let results = cross_entropy::Results {
        losses: &mut losses,
        logprobs: &mut logprobs,
        entropies: Some(&mut entropies),
    };
    cross_entropy::forward_backward(device, &mut logits, &targets, results);
    [logits.to_vec(), losses, logprobs, entropies].concat()
}

#[test]
fn steps_of_every_length() {
    for length in (1..=100).chain([16_383, 16_385]) {
        check(&format!("AdamW of {length}"), |device| {
            let gradients = tensor(device, 1, length);
            let mut all = [gradients.clone(), gradients.clone(), gradients.clone()];
            all[2].fill(0.5);
            let [weights, first_moments, second_moments] = &mut all;
            let state = adamw::AdamWState { weights, first_moments, second_moments };
            let options = adamw::AdamWOptions {
                learning_rate: 0.1,
                beta1: 0.9,
                beta2: 0.9,
                epsilon: 1e-8,
                epsilon_form: adamw::EpsilonForm::InsideRoot,
                weight_decay: 0.1,
            };
            adamw::step(device, &options, 3, state, &gradients, 0.5);
            #[expect(clippy::cast_possible_truncation, reason = "bits that are compared")]
            let norm = gradient_norm::norm(device, [&gradients]) as f32;
            [all.map(|tensor| tensor.to_vec()).concat(), vec![norm]].concat()
        });
    }
    for (rows, columns) in (1..=40).map(|n| (n, n * 7 % 41 + 1)) {
        check(&format!("Muon of [{rows}, {columns}]"), |device| {
            let gradients = tensor(device, rows, columns);
            let (mut weights, mut momentum) = (gradients.clone(), gradients.clone());
            let state = muon::MuonState { weights: &mut weights, momentum: &mut momentum };
            let options = muon::MuonOptions {
                learning_rate: 0.1,
                momentum: 0.9,
                form: muon::Momentum::Nesterov,
                scale: muon::MuonScale::AdamW,
                weight_decay: 0.1,
            };
            muon::step(device, &options, state, &gradients, 0.5);
            [weights.to_vec(), momentum.to_vec()].concat()
        });
    }
}

#[test]
fn heads_of_every_size() {
    for head_size in (2..=100).step_by(2).chain([128, 256]) {
        let rows = 1 + head_size / 2 % 13;
        let positions: Vec<u32> = (0..).take(rows).collect();
        for pairing in [Pairing::Halves, Pairing::Interleaved] {
            check(&format!("turned heads of {head_size}"), |device| {
                let scaling = RopeScaling::None;
                let table = RopeTable::new(head_size, rows, 1e4, &scaling, pairing);
                let mut x = tensor(device, rows, 3 * head_size);
                rope::forward(device, &mut x, head_size..3 * head_size, &positions, &table);
                rope::backward(device, &mut x, 0..2 * head_size, &positions, &table);
                x.to_vec()
            });
        }
        for cache_type in [CacheType::Bf16, CacheType::F32] {
            let shape = CacheShape { layers: 1, kv_heads: 1, head_size, scale: 0.3, cache_type };
            check(&format!("attention over {shape:?}"), |device| attended(device, &shape));
            let what = format!("gradients of attention over {shape:?}");
            check(&what, |device| attention_gradients(device, &shape));
        }
    }
}

/// The log sums of a sequence of some rows, and its gradients.
fn attention_gradients(device: &Device, shape: &CacheShape) -> Vec<f32> {
    let mut cache = KvCache::new(device, shape, 2);
    let (heads, tokens) = (1 + shape.head_size / 2 % 5, 60 + shape.head_size / 2 % 13);
    let qkv = tensor(device, tokens, (heads + 2) * shape.head_size);
    let rows: Vec<AttentionRow<'_>> =
        (0..tokens).map(|position| AttentionRow { pages: &[0, 1], position }).collect();
    attention::store(device, &mut cache, 0, &qkv, &rows);
    let mut out = Tensor::zeros(device, tokens, heads * shape.head_size);
    let mut log_sums = Tensor::zeros(device, tokens, heads);
    let results = (&mut out, &mut log_sums);
    attention::forward_with_log_sums(device, results, &qkv, &cache, 0, &rows);
    let mut d_qkv = qkv.clone();
    let d_out = tensor(device, tokens, heads * shape.head_size);
    let attended = attention::Attended { qkv: &qkv, out: &out, log_sums: &log_sums };
    attention::backward(device, &mut d_qkv, &d_out, attended, shape, &rows);
    [out, log_sums, d_qkv].map(|tensor| tensor.to_vec()).concat()
}

/// Some rows of a sequence and then one more, in the last of their cache's pages.
fn attended(device: &Device, shape: &CacheShape) -> Vec<f32> {
    let mut cache = KvCache::new(device, shape, 2);
    let (heads, tokens) = (1 + shape.head_size / 2 % 5, 60 + shape.head_size / 2 % 13);
    let mut all = Vec::new();
    for positions in [0..tokens, tokens..tokens + 1] {
        let qkv = tensor(device, positions.len(), (heads + 2) * shape.head_size);
        let rows: Vec<AttentionRow<'_>> =
            positions.map(|position| AttentionRow { pages: &[0, 1], position }).collect();
        attention::store(device, &mut cache, 0, &qkv, &rows);
        let mut out = Tensor::zeros(device, rows.len(), heads * shape.head_size);
        attention::forward(device, &mut out, &qkv, &cache, 0, &rows);
        all.extend(out.to_vec());
    }
    all
}
