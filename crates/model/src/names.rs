//! What each weight is called in a checkpoint; foreign names end here.

/// A weight that occurs once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    Embedding,
    FinalNorm,
    Head,
}

/// A weight of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    AttentionNorm,
    Query,
    Key,
    Value,
    QueryNorm,
    KeyNorm,
    AttentionOutput,
    FfnNorm,
    Gate,
    Up,
    Down,
}

/// Whether a linear layer's matrix or its bias is meant; norms only have the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Weight,
    Bias,
}

/// Any weight of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Global(Global),
    Layer { layer: usize, part: Layer, kind: Kind },
}

/// The two conventions of naming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Convention {
    Gguf,
    HuggingFace,
}

impl Convention {
    /// The name of a weight that occurs once.
    pub(crate) fn global(self, weight: Global) -> &'static str {
        match (self, weight) {
            (Self::Gguf, Global::Embedding) => "token_embd.weight",
            (Self::Gguf, Global::FinalNorm) => "output_norm.weight",
            (Self::Gguf, Global::Head) => "output.weight",
            (Self::HuggingFace, Global::Embedding) => "model.embed_tokens.weight",
            (Self::HuggingFace, Global::FinalNorm) => "model.norm.weight",
            (Self::HuggingFace, Global::Head) => "lm_head.weight",
        }
    }

    /// The name of a weight of layer `layer`.
    pub(crate) fn layer(self, layer: usize, weight: Layer, kind: Kind) -> String {
        let kind = match kind {
            Kind::Weight => "weight",
            Kind::Bias => "bias",
        };
        match self {
            Self::Gguf => format!("blk.{layer}.{}.{kind}", gguf_stem(weight)),
            Self::HuggingFace => format!("model.layers.{layer}.{}.{kind}", hf_stem(weight)),
        }
    }

    /// The name of any weight.
    pub(crate) fn name(self, weight: Weight) -> String {
        match weight {
            Weight::Global(weight) => self.global(weight).to_owned(),
            Weight::Layer { layer, part, kind } => self.layer(layer, part, kind),
        }
    }

    /// Whether a tensor that no part of the model asked for may lie in a checkpoint: tables that
    /// follow from the configuration, and a head that equals the embedding.
    pub(crate) fn may_be_ignored(self, name: &str, tied_head: bool) -> bool {
        match self {
            Self::Gguf => name.ends_with(".attn_rot_embd") || name == "rope_freqs.weight",
            Self::HuggingFace => {
                name.ends_with(".rotary_emb.inv_freq")
                    || (tied_head && name == self.global(Global::Head))
            }
        }
    }
}

fn gguf_stem(weight: Layer) -> &'static str {
    match weight {
        Layer::AttentionNorm => "attn_norm",
        Layer::Query => "attn_q",
        Layer::Key => "attn_k",
        Layer::Value => "attn_v",
        Layer::QueryNorm => "attn_q_norm",
        Layer::KeyNorm => "attn_k_norm",
        Layer::AttentionOutput => "attn_output",
        Layer::FfnNorm => "ffn_norm",
        Layer::Gate => "ffn_gate",
        Layer::Up => "ffn_up",
        Layer::Down => "ffn_down",
    }
}

fn hf_stem(weight: Layer) -> &'static str {
    match weight {
        Layer::AttentionNorm => "input_layernorm",
        Layer::Query => "self_attn.q_proj",
        Layer::Key => "self_attn.k_proj",
        Layer::Value => "self_attn.v_proj",
        Layer::QueryNorm => "self_attn.q_norm",
        Layer::KeyNorm => "self_attn.k_norm",
        Layer::AttentionOutput => "self_attn.o_proj",
        Layer::FfnNorm => "post_attention_layernorm",
        Layer::Gate => "mlp.gate_proj",
        Layer::Up => "mlp.up_proj",
        Layer::Down => "mlp.down_proj",
    }
}
