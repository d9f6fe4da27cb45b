//! What the tests of learning from people share: a model so small that hundreds of steps take a second.

use engine::Device;
use engine::ops::adamw::EpsilonForm;
use engine::ops::matmul::Precision;
use model::config::{Config, Shape};
use model::trainable::Trainable;

use crate::optimizer::OptimizerOptions;
use crate::recipe::OptimizerKind;

/// AdamW without decay.
pub(crate) fn moves() -> OptimizerOptions {
    OptimizerOptions {
        kind: OptimizerKind::Adamw,
        weight_decay: 0.0,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-5,
        epsilon_form: EpsilonForm::AfterCorrection,
        muon_share: 1.0,
    }
}

/// A model of two layers, a vocabulary of 24 tokens and a context of 32.
pub(crate) fn trunk(device: &Device, precision: Precision, seed: u64) -> Trainable {
    let shape = Shape {
        vocab: 24,
        width: 32,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_size: 8,
        ffn_width: 64,
        context_tokens: 32,
        rope_base: 10_000.0,
        norm_epsilon: 1e-5,
        tied_head: false,
    };
    let mut trunk = Trainable::new(device, &Config::new(&shape).unwrap(), precision, seed).unwrap();
    // With the small weights of a beginning all tokens are equally likely, whatever an adapter does.
    let (weights, _) = trunk.weights_and_gradients();
    weights.iter_mut().filter(|weight| weight.rows() > 1).for_each(|w| w.scale(device, 4.0));
    trunk.refresh();
    trunk
}
