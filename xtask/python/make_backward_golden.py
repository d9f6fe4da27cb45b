"""Writes what PyTorch computes for the training operations of the engine.

    python xtask/python/make_backward_golden.py fixtures/backward-golden.json

Inputs are random numbers in f32; results are PyTorch's in f64 on these, by autograd and by its own
optimizers, rounded to nine digits. Each list stands in a line of its own. Needs torch; made with
torch 2.15.0.
"""

import json
import pathlib
import sys
from unittest import mock

import torch
import torch.nn.functional as F

LISTS = {}


def keep(name, values):
    LISTS[name] = [float(f"{value:.9g}") for value in values.detach().flatten().tolist()]


def given(name, *shape, spread=1.0):
    values = (torch.randn(*shape) * spread).to(torch.float32).to(torch.float64)
    keep(name, values)
    return values.requires_grad_()


def rms_norm():
    x, weight = given("rms_norm.x", 3, 20), given("rms_norm.weight", 20)
    d_out = given("rms_norm.d_out", 3, 20)
    out = F.rms_norm(x, (20,), weight, 1e-5)
    out.backward(d_out)
    keep("rms_norm.out", out)
    keep("rms_norm.d_x", x.grad)
    keep("rms_norm.d_weight", weight.grad)


def swiglu():
    gate_up, d_out = given("swiglu.gate_up", 3, 40, spread=3.0), given("swiglu.d_out", 3, 20)
    gate, up = gate_up.chunk(2, dim=-1)
    out = F.silu(gate) * up
    out.backward(d_out)
    keep("swiglu.out", out)
    keep("swiglu.d_gate_up", gate_up.grad)


def rope():
    """Two heads of 8 channels at positions 0, 7 and 250."""
    d_out = given("rope.d_out", 3, 16)
    angles = torch.outer(
        torch.tensor([0.0, 7.0, 250.0], dtype=torch.float64),
        10_000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8),
    )
    cosines, sines = angles.cos()[:, None], angles.sin()[:, None]
    for name in ("halves", "interleaved"):
        x = torch.zeros(3, 16, dtype=torch.float64, requires_grad=True)
        heads = x.view(3, 2, 8)
        if name == "halves":
            a, b = heads[..., :4], heads[..., 4:]
        else:
            a, b = heads[..., 0::2], heads[..., 1::2]
        turned = (a * cosines - b * sines, b * cosines + a * sines)
        join = torch.cat if name == "halves" else torch.stack
        join(turned, dim=-1).reshape(3, 16).backward(d_out)
        keep(f"rope.{name}.d_x", x.grad)


def embedding():
    table = torch.zeros(7, 5, dtype=torch.float64, requires_grad=True)
    F.embedding(torch.tensor([3, 0, 3, 6, 3, 1]), table).backward(given("embedding.d_out", 6, 5))
    keep("embedding.d_table", table.grad)


def cross_entropy():
    """The third of four rows is ignored; the scale is 0.25, the temperature 0.75."""
    logits = given("cross_entropy.logits", 4, 37, spread=3.0)
    weights = torch.tensor([1.0, -0.5, 0.0, 2.0], dtype=torch.float64)
    keep("cross_entropy.weights", weights)
    targets = torch.tensor([5, 36, 0, 17])
    losses = F.cross_entropy(logits / 0.75, targets, reduction="none") * weights * 0.25
    losses.sum().backward()
    distribution = torch.distributions.Categorical(logits=logits / 0.75)
    counts = weights != 0
    keep("cross_entropy.losses", losses)
    keep("cross_entropy.logprobs", distribution.log_prob(targets) * counts)
    keep("cross_entropy.entropies", distribution.entropy() * counts)
    keep("cross_entropy.d_logits", logits.grad)


def gradient_norm():
    left, right = given("gradient_norm.left", 30), given("gradient_norm.right", 7)
    weights = [torch.zeros_like(left), torch.zeros_like(right)]
    weights[0].grad, weights[1].grad = left.detach().clone(), right.detach().clone()
    keep("gradient_norm.norm", torch.nn.utils.clip_grad_norm_(weights, 0.5))
    keep("gradient_norm.clipped_left", weights[0].grad)


def adamw():
    """Three steps with half the gradients."""
    rate, beta1, beta2, epsilon, decay = 0.5, 0.9, 0.95, 1e-3, 0.1
    start = given("adamw.weights", 40).detach()
    lists = [given(f"adamw.gradients.{step}", 40, spread=0.01).detach() / 2 for step in (1, 2, 3)]
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW(
        [weights], lr=rate, betas=(beta1, beta2), eps=epsilon, weight_decay=decay
    )
    for gradients in lists:
        weights.grad = gradients.clone()
        optimizer.step()
    state = optimizer.state[weights]
    for name in ("after_correction", "before_correction", "inside_root"):
        keep(f"adamw.{name}.first_moments", state["exp_avg"])
        keep(f"adamw.{name}.second_moments", state["exp_avg_sq"])
    keep("adamw.after_correction.weights", weights)
    # The other two forms are not in PyTorch: their formulas, over the same moments.
    for name in ("before_correction", "inside_root"):
        weights, m, v = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
        for step, gradients in enumerate(lists, 1):
            m = beta1 * m + (1 - beta1) * gradients
            v = beta2 * v + (1 - beta2) * gradients**2
            bias1, bias2 = 1 - beta1**step, 1 - beta2**step
            if name == "before_correction":
                change = rate * bias2**0.5 / bias1 * m / (v.sqrt() + epsilon)
            else:
                change = rate * (m / bias1) / (v / bias2 + epsilon).sqrt()
            weights = weights - rate * decay * weights - change
        keep(f"adamw.{name}.weights", weights)


def muon():
    """Two steps with half the gradients; PyTorch's bf16 is replaced by f64."""
    for name, shape in (("wide", (6, 10)), ("tall", (10, 6))):
        start = given(f"muon.{name}.weights", *shape).detach()
        lists = [given(f"muon.{name}.gradients.{step}", *shape).detach() / 2 for step in (1, 2)]
        for kind, fn, nesterov in (
            ("original", "original", True),
            ("adamw", "match_rms_adamw", False),
        ):
            weights = start.clone().requires_grad_()
            optimizer = torch.optim.Muon(
                [weights], lr=0.5, weight_decay=0.1, momentum=0.95, nesterov=nesterov, adjust_lr_fn=fn
            )
            for gradients in lists:
                weights.grad = gradients.clone()
                with mock.patch.object(torch, "bfloat16", torch.float64):
                    optimizer.step()
            keep(f"muon.{name}.{kind}.weights", weights)
            keep(f"muon.{name}.{kind}.momentum", optimizer.state[weights]["momentum_buffer"])


def main():
    torch.manual_seed(1)
    for make in (rms_norm, swiglu, rope, embedding, cross_entropy, gradient_norm, adamw, muon):
        make()
    lines = [f'"{name}": {json.dumps(values)}' for name, values in LISTS.items()]
    pathlib.Path(sys.argv[1]).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
