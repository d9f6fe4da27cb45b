"""Writes the tiny random models of the tests with the logits that transformers computes for them.

    python xtask/python/make_tiny_models.py fixtures

Each folder `fixtures/tiny-*` holds `config.json`, the weights in f32 (one of them in bf16, in two
shards) and `golden.json`: tokens, the positions looked at, and the logits there. Needs torch and
transformers; made with torch 2.15.0 and transformers 5.23.0.
"""

import json
import pathlib
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file

SHAPE = dict(
    hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24, vocab_size=40,
    num_hidden_layers=2, max_position_embeddings=256, rms_norm_eps=1e-5, tie_word_embeddings=False,
)  # fmt: skip
WIDE_HEADS = dict(num_attention_heads=2, num_key_value_heads=1, head_dim=16)
LLAMA3 = dict(
    rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=32,
)  # fmt: skip
YARN = dict(
    rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=64,
    beta_fast=16.0, beta_slow=1.0,
)  # fmt: skip
LINEAR = dict(rope_type="linear", rope_theta=10000.0, factor=2.5)
PLAIN = dict(rope_type="default", rope_theta=10000.0)

MODELS = {
    "tiny-llama": ("Llama", dict(rope_parameters=PLAIN)),
    "tiny-llama-tied": (
        "Llama",
        dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True, rope_parameters=PLAIN),
    ),
    "tiny-llama-llama3": ("Llama", dict(**WIDE_HEADS, rope_parameters=LLAMA3)),
    "tiny-llama-yarn": ("Llama", dict(**WIDE_HEADS, rope_parameters=YARN)),
    "tiny-llama-linear": ("Llama", dict(**WIDE_HEADS, rope_parameters=LINEAR)),
    "tiny-llama-shards": ("Llama", dict(tie_word_embeddings=True, rope_parameters=PLAIN)),
    "tiny-qwen2": ("Qwen2", dict(rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "tiny-qwen3": (
        "Qwen3",
        dict(
            num_attention_heads=2, num_key_value_heads=1, head_dim=24, intermediate_size=16,
            tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1e6),
        ),  # fmt: skip
    ),
}

# Written in the spelling of older checkpoints, so that both are read.
OLD_SPELLING = {"tiny-llama-llama3", "tiny-llama-linear", "tiny-qwen2"}


def build(family, changes, seed):
    config_class = getattr(transformers, f"{family}Config")
    config = config_class(**{**SHAPE, **changes})
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval().to(torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "norm" in name:
                weight.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                weight.copy_(0.5 * noise)
            elif "embed_tokens" in name or "lm_head" in name:
                weight.copy_(noise)
            else:
                weight.copy_(noise * 1.5 / weight.shape[1] ** 0.5)
    return model


def write_config(model, name, folder):
    config = model.config.to_dict()
    keep = set(SHAPE) | {"head_dim", "attention_bias", "mlp_bias", "hidden_act", "rope_parameters"}
    written = {key: value for key, value in config.items() if key in keep and value is not None}
    written["architectures"] = [type(model).__name__]
    if name in OLD_SPELLING:
        rope = dict(written.pop("rope_parameters"))
        written["rope_theta"] = rope.pop("rope_theta")
        written["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    (folder / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")


def write_weights(model, name, folder):
    tied = model.config.tie_word_embeddings
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    if tied:
        weights.pop("lm_head.weight", None)
    if name != "tiny-llama-shards":
        save_file(weights, folder / "model.safetensors")
        return
    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    shards = [{}, {}]
    for key, value in weights.items():
        shards["layers.1" in key][key] = value.to(torch.bfloat16)
    index = {key: files[number] for number in (0, 1) for key in shards[number]}
    for file, shard in zip(files, shards):
        save_file(shard, folder / file)
    total = sum(v.numel() * 2 for shard in shards for v in shard.values())
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2)
    (folder / "model.safetensors.index.json").write_text(text + "\n")


def write_golden(model, folder):
    vocab = model.config.vocab_size
    tokens = [(7 * t * t + 3 * t + 1) % vocab for t in range(70)]
    positions = [0, 17, 63, 69]
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    rows = [[float(f"{x:.7g}") for x in logits[p].tolist()] for p in positions]
    golden = {"tokens": tokens, "positions": positions, "logits": rows}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


def main():
    target = pathlib.Path(sys.argv[1])
    for seed, (name, (family, changes)) in enumerate(MODELS.items()):
        folder = target / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        model = build(family, changes, seed)
        if name == "tiny-llama-shards":
            with torch.no_grad():
                for weight in model.parameters():
                    weight.copy_(weight.to(torch.bfloat16))
        write_config(model, name, folder)
        write_weights(model, name, folder)
        write_golden(model, folder)


main()
