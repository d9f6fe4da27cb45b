"""Writes what PyTorch and transformers make of tiny models that learn: the gradient of every weight and ten steps of AdamW.

    python xtask/python/make_training_golden.py fixtures

Reads fixtures/tiny-*, writes fixtures/training-golden.json. All arithmetic is f64, results are rounded to nine digits. Of
each tensor the norm is kept, the sum with alternating signs, and some values at equal distances. Needs torch and
transformers; made with torch 2.15.0.
"""

import json
import pathlib
import sys

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file

MODELS = ["tiny-llama", "tiny-llama-tied", "tiny-qwen2", "tiny-qwen3"]
ROWS, TIME = 2, 24
STEPS = 10
KEPT_VALUES = 12


def rounded(value):
    return float(f"{value:.9g}")


def digest(values):
    """The norm, the sum with alternating signs, and values at equal distances."""
    flat = values.detach().flatten()
    signs = 1 - 2 * (torch.arange(len(flat)) % 2)
    distance = max(1, len(flat) // KEPT_VALUES)
    numbers = [flat.norm(), (flat * signs).sum(), *flat[::distance][:KEPT_VALUES]]
    return [rounded(number.item()) for number in numbers]


def batch(vocabulary):
    """Numbers without a pattern that a model would see at once; every fifth prediction does not count."""
    index = torch.arange(ROWS * TIME)
    tokens = (index * index * 7 + index * 3) % vocabulary
    targets = (index * index * 5 + 11) % vocabulary
    learned = (index % 5 != 4).double()
    return tokens.view(ROWS, TIME), targets, learned


def loss_of(model, tokens, targets, learned):
    logits = model(tokens).logits.flatten(0, 1)
    losses = F.cross_entropy(logits, targets, reduction="none")
    return (losses * learned).sum() / learned.sum()


def tensors(model):
    """Each tensor once, by the name under which it is stored."""
    return sorted(model.named_parameters())


def load(folder):
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    kind = getattr(transformers, architecture)
    config = kind.config_class.from_json_file(folder / "config.json")
    config._attn_implementation = "eager"
    model = kind(config).double()
    missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        sys.exit(f"error: {folder}: weights missing {missing}, unknown {unexpected}")
    model.tie_weights()
    return model


def golden(folder):
    model = load(folder)
    inputs = batch(model.config.vocab_size)
    decays = lambda one_dimensional: [p for _, p in tensors(model) if (p.dim() == 1) == one_dimensional]
    groups = [{"params": decays(False), "weight_decay": 0.1}, {"params": decays(True), "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses, norms, gradients = [], [], {}
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, *inputs)
        loss.backward()
        if step == 0:
            gradients = {name: digest(p.grad) for name, p in tensors(model)}
        losses.append(rounded(loss.item()))
        norms.append(rounded(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()))
        optimizer.step()
    losses.append(rounded(loss_of(model, *inputs).item()))
    weights = {name: digest(p) for name, p in tensors(model)}
    return {"losses": losses, "norms": norms, "gradients": gradients, "weights": weights}


def main(fixtures):
    fixtures = pathlib.Path(fixtures)
    models = [f'"{name}": {lines(golden(fixtures / name))}' for name in MODELS]
    (fixtures / "training-golden.json").write_text("{" + ",\n".join(models) + "}\n")


def lines(values):
    """JSON with a list of numbers in each line."""
    if isinstance(values, list):
        return json.dumps(values)
    return "{" + ",\n".join(f'"{name}": {lines(value)}' for name, value in values.items()) + "}"


main(sys.argv[1])
