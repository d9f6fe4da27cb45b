"""Holds functions of other projects against the vectors in fixtures/ppo: `cargo xtask conformance`.

    check_ppo_conformance.py fixtures/ppo PEERS

PEERS is a folder with a wheel unpacked in each of PEERS/trl-0.11.4 and so on (see `SOURCES`). A peer's
function is taken out of its own file, unchanged but for decorators that register it, and called on f64
tensors with padding of zeros and a mask, as its trainer would; what it needs of its package is taken
out of that package, too. Importing whole packages would ask for deepspeed, ray, vllm, and versions of
transformers that exclude each other. Gradients are autograd's.

A case passes where every result that the peer gives is within 1e-12 of the expected one, is near within
1e-6 (an epsilon in a mean, f32 on the way), and fails otherwise. Results that a peer does not give are
not asked for. That a case fails says that the peer computes something else than the formula in the
vector's file, which it may mean to. Prints a table in Markdown and one line for each case that is not
passed; fails only where a function cannot be found or called. Needs torch and numpy.
"""

import __future__

import ast
import json
import pathlib
import sys
import types

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

SOURCES = {
    "TRL 0.11.4": "trl-0.11.4/trl",
    "TRL 0.29.0": "trl-0.29.0/trl",
    "torchtune 0.6.1": "torchtune-0.6.1/torchtune",
    "verl 0.9.1": "verl-0.9.1/verl",
    "OpenRLHF 0.11.2": "openrlhf-0.11.2/openrlhf",
}
PASS, NEAR = 1e-12, 1e-6


class Package:
    """The functions of an unpacked wheel, each taken out of the file that has it."""

    def __init__(self, folder):
        self.folder = folder

    def take(self, path, *names, **known):
        """A namespace with functions, classes, and methods (`Class.method`) of one file."""
        tree = ast.parse((self.folder / path).read_text(encoding="utf-8"))
        found = {}
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found[node.name] = node
                if isinstance(node, ast.ClassDef):
                    methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
                    found |= {f"{node.name}.{method.name}": method for method in methods}
        nodes = [found[name] for name in names]
        for node in nodes:
            node.decorator_list = []
        module = ast.Module(body=nodes, type_ignores=[])
        flags = __future__.annotations.compiler_flag
        space = {"torch": torch, "nn": nn, "F": F, "np": np, **known}
        exec(compile(module, str(path), "exec", flags=flags), space)
        return types.SimpleNamespace(**space)


def padded(rows, beyond=0.0):
    """A rectangle of f64, and where it has numbers."""
    longest = max(len(row) for row in rows) + 3
    values = [row + [beyond] * (longest - len(row)) for row in rows]
    mask = [[1.0] * len(row) + [0.0] * (longest - len(row)) for row in rows]
    return torch.tensor(values, dtype=torch.float64), torch.tensor(mask, dtype=torch.float64)


def ragged(values, rows):
    return [line[: len(row)].tolist() for line, row in zip(values, rows)]


def vector(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def last(rows):
    return torch.tensor([len(row) - 1 for row in rows])


def gradient(loss, of):
    return torch.autograd.grad(loss, of)[0]


class Inputs:
    """A case's inputs as tensors."""

    def __init__(self, inputs):
        self.raw = inputs

    def __getattr__(self, name):
        return self.raw[name]

    def rows(self, name):
        return padded(self.raw[name])[0]

    def mask(self, name):
        return padded(self.raw[name])[1]

    def leaf(self, name):
        return self.rows(name).requires_grad_()


class NotExposed(Exception):
    pass


def keep_only(inputs):
    """The penalty for completions without an end is applied in the trainers' loops."""
    if inputs.no_end != "keep":
        raise NotExposed


def zero_beyond(inputs):
    """No peer's function takes the value past a cut completion."""
    if "next_values" in inputs.raw:
        raise NotExposed


def pair(inputs, centered=False):
    """Chosen and rejected of a ranking that is one pair; peers have no others."""
    if len(inputs.scores) != 2 or (inputs.centering and not centered):
        raise NotExposed
    chosen, rejected = vector(inputs.scores[:1]), vector(inputs.scores[1:])
    return chosen.requires_grad_(), rejected.requires_grad_()


def pair_results(loss, chosen, rejected):
    slopes = torch.autograd.grad(loss, [chosen, rejected])
    return {"loss": loss.item(), "d_scores": [slope.item() for slope in slopes]}


def controller(make):
    def run(inputs):
        control = make(inputs.coefficient, inputs.target, inputs.horizon_episodes)
        coefficients = []
        for measured, episodes in inputs.observed:
            control.update(measured, episodes)
            coefficients.append(float(control.value))
        return {"coefficients": coefficients}

    return run


def entropy(function):
    def run(inputs):
        return {"entropy": function(vector([inputs.logits]) / inputs.temperature).item()}

    return run


def whiten(function):
    def run(inputs):
        values, mask = inputs.rows("values"), inputs.mask("values")
        shift_mean = inputs.raw["mean"] == "shift"
        return {"whitened": ragged(function(values, mask, shift_mean), inputs.values)}

    return run


def trl_classic(package):
    core = package.take(
        "core.py", "masked_mean", "masked_var", "masked_whiten", "clip_by_value",
        "entropy_from_logits",
    )
    names = [f"PPOTrainer.{n}" for n in ("compute_rewards", "_kl_penalty", "compute_advantages", "loss")]
    known = {**vars(core), "flatten_dict": lambda nested: nested, "warnings": __import__("warnings")}
    trainer = package.take("trainer/ppo_trainer.py", *names, **known)
    control = package.take("trainer/utils.py", "AdaptiveKLController")
    pairs = package.take("trainer/reward_trainer.py", "RewardTrainer.compute_loss", **known)

    def me(**config):
        config = types.SimpleNamespace(kl_penalty="kl", whiten_rewards=False, **config)
        self = types.SimpleNamespace(config=config)
        self._kl_penalty = types.MethodType(trainer._kl_penalty, self)
        return self

    def rewards(inputs):
        keep_only(inputs)
        self = me()
        self.kl_ctl = types.SimpleNamespace(value=inputs.kl_coefficient)
        found, _, _ = trainer.compute_rewards(
            self, vector(inputs.scores), inputs.rows("logprobs"),
            inputs.rows("reference_logprobs"), inputs.mask("logprobs"),
        )
        return {"rewards": ragged(found, inputs.logprobs)}

    def advantages(inputs):
        zero_beyond(inputs)
        self = me(gamma=inputs.gamma, lam=inputs.raw["lambda"])
        _, _, returns = trainer.compute_advantages(
            self, inputs.rows("values"), inputs.rows("rewards"), inputs.mask("values")
        )
        return {"returns": ragged(returns, inputs.values)}

    def losses(inputs, logprobs, old_logprobs, advantage, values, old_values, returns, mask):
        self = me(
            cliprange=inputs.clip_range, cliprange_value=inputs.clip_range, vf_coef=1.0,
            ratio_threshold=10.0,
        )
        logits = torch.zeros(*mask.shape, 2, dtype=torch.float64)
        return trainer.loss(
            self, old_logprobs, old_values, logits, values, logprobs, mask, advantage, returns
        )

    def policy_loss(inputs):
        new, mask = inputs.leaf("logprobs"), inputs.mask("logprobs")
        zeros = torch.zeros_like(mask)
        loss, _, stats = losses(
            inputs, new, inputs.rows("old_logprobs"), inputs.rows("advantages"), zeros, zeros, zeros,
            mask,
        )
        return {
            "loss": loss.item(),
            "d_logprobs": ragged(gradient(loss, new), inputs.logprobs),
            "clip_fraction": stats["policy"]["clipfrac"].item(),
            "approx_kl": stats["policy"]["approxkl"].item(),
        }

    def value_loss(inputs):
        new, mask = inputs.leaf("values"), inputs.mask("values")
        zeros = torch.zeros_like(mask)
        _, loss, stats = losses(
            inputs, zeros, zeros, zeros, new, inputs.rows("old_values"), inputs.rows("returns"), mask
        )
        return {
            "loss": loss.item(),
            "d_values": ragged(gradient(loss, new), inputs.raw["values"]),
            "clip_fraction": stats["val"]["clipfrac"].item(),
        }

    def kl(inputs):
        new, old = inputs.rows("logprobs"), inputs.rows("reference_logprobs")
        found = {}
        for ours, theirs in [("k1", "kl"), ("k2", "mse")]:
            self = me()
            self.config.kl_penalty = theirs
            found[ours] = ragged(trainer._kl_penalty(self, new, old), inputs.logprobs)
        return found

    def ranking_loss(inputs):
        chosen, rejected = pair(inputs, centered=True)
        args = types.SimpleNamespace(center_rewards_coefficient=inputs.centering or None)
        self = types.SimpleNamespace(use_reward_data_collator=True, args=args)
        batch = {f"{name}_{side}": side for name in ("input_ids", "attention_mask")
                 for side in ("chosen", "rejected")}

        def model(input_ids, **_):
            return {"logits": chosen if input_ids == "chosen" else rejected}

        return pair_results(pairs.compute_loss(self, model, batch), chosen, rejected)

    return {
        "rewards": rewards, "advantages": advantages, "whiten": whiten(core.masked_whiten),
        "policy_loss": policy_loss, "value_loss": value_loss, "kl": kl,
        "kl_controller": controller(control.AdaptiveKLController), "ranking_loss": ranking_loss,
        "entropy": entropy(core.entropy_from_logits),
    }


def trl_experimental(package):
    """Its rewards, advantages and losses are lines of `train`, which is no function of arrays."""
    path = "experimental/ppo/ppo_trainer.py"
    ppo = package.take(path, "masked_mean", "masked_var", "masked_whiten")
    utils = package.take("trainer/utils.py", "entropy_from_logits")
    return {"whiten": whiten(ppo.masked_whiten), "entropy": entropy(utils.entropy_from_logits)}


def torchtune(package):
    names = ("masked_mean", "masked_var", "whiten", "get_rewards_ppo", "estimate_advantages")
    rlhf = package.take("rlhf/rewards.py", *names)
    ppo = package.take("rlhf/loss/ppo.py", "PPOLoss", rlhf=rlhf)

    def rewards(inputs):
        keep_only(inputs)
        found, _, _ = rlhf.get_rewards_ppo(
            vector(inputs.scores), inputs.rows("logprobs"), inputs.rows("reference_logprobs"),
            inputs.kl_coefficient, last(inputs.logprobs),
        )
        return {"rewards": ragged(found, inputs.logprobs)}

    def advantages(inputs):
        zero_beyond(inputs)
        _, returns = rlhf.estimate_advantages(
            inputs.rows("values"), inputs.rows("rewards"), inputs.gamma, inputs.raw["lambda"],
            inputs.mask("values").bool(),
        )
        return {"returns": ragged(returns, inputs.values)}

    def losses(inputs, mask, *arrays):
        loss = ppo.PPOLoss(inputs.clip_range, inputs.clip_range, 1.0)
        return loss(*arrays, padding_masks=mask, value_padding_masks=mask)

    def policy_loss(inputs):
        new, mask = inputs.leaf("logprobs"), inputs.mask("logprobs")
        zeros = torch.zeros_like(mask)
        loss, _, _, ratio, clip_fraction = losses(
            inputs, mask, inputs.rows("old_logprobs"), new, inputs.rows("advantages"), zeros, zeros,
            zeros,
        )
        return {
            "loss": loss.item(),
            "d_logprobs": ragged(gradient(loss, new), inputs.logprobs),
            "ratio": ratio.item(),
            "clip_fraction": clip_fraction.item(),
        }

    def value_loss(inputs):
        new, mask = inputs.leaf("values"), inputs.mask("values")
        zeros = torch.zeros_like(mask)
        loss, *_ = losses(
            inputs, mask, zeros, zeros, zeros, inputs.rows("old_values"), new, inputs.rows("returns")
        )
        return {"loss": loss.item(), "d_values": ragged(gradient(loss, new), inputs.raw["values"])}

    return {
        "rewards": rewards, "advantages": advantages, "whiten": whiten(rlhf.whiten),
        "policy_loss": policy_loss, "value_loss": value_loss,
    }


def verl(package):
    names = (
        "masked_sum", "masked_mean", "masked_var", "masked_whiten", "clip_by_value",
        "entropy_from_logits",
    )
    verl_F = package.take("utils/torch_functional.py", *names)
    core = package.take(
        "trainer/ppo/core_algos.py", "AdaptiveKLController", "compute_gae_advantage_return",
        "compute_rewards", "agg_loss", "compute_policy_loss", "compute_value_loss", "kl_penalty",
        "kl_penalty_forward", verl_F=verl_F,
    )

    def rewards(inputs):
        keep_only(inputs)
        new = inputs.rows("logprobs")
        scores = torch.zeros_like(new)
        scores[torch.arange(len(scores)), last(inputs.logprobs)] = vector(inputs.scores)
        found = core.compute_rewards(
            scores, new, inputs.rows("reference_logprobs"), inputs.kl_coefficient
        )
        return {"rewards": ragged(found, inputs.logprobs)}

    def advantages(inputs):
        zero_beyond(inputs)
        _, returns = core.compute_gae_advantage_return(
            inputs.rows("rewards"), inputs.rows("values"), inputs.mask("values"), inputs.gamma,
            inputs.raw["lambda"],
        )
        return {"returns": ragged(returns, inputs.values)}

    def policy_loss(inputs):
        new = inputs.leaf("logprobs")
        loss, clip_fraction, *_ = core.compute_policy_loss(
            inputs.rows("old_logprobs"), new, inputs.rows("advantages"), inputs.mask("logprobs"),
            inputs.clip_range,
        )
        return {
            "loss": loss.item(),
            "d_logprobs": ragged(gradient(loss, new), inputs.logprobs),
            "clip_fraction": clip_fraction.item(),
        }

    def value_loss(inputs):
        new = inputs.leaf("values")
        loss, clip_fraction = core.compute_value_loss(
            new, inputs.rows("returns"), inputs.rows("old_values"), inputs.mask("values"),
            inputs.clip_range,
        )
        return {
            "loss": loss.item(),
            "d_values": ragged(gradient(loss, new), inputs.raw["values"]),
            "clip_fraction": clip_fraction.item(),
        }

    def kl(inputs):
        new, old = inputs.rows("logprobs"), inputs.rows("reference_logprobs")
        names = ("k1", "k2", "k3")
        return {name: ragged(core.kl_penalty(new, old, name), inputs.logprobs) for name in names}

    return {
        "rewards": rewards, "advantages": advantages, "whiten": whiten(verl_F.masked_whiten),
        "policy_loss": policy_loss, "value_loss": value_loss, "kl": kl,
        "kl_controller": controller(core.AdaptiveKLController),
        "entropy": entropy(verl_F.entropy_from_logits),
    }


def openrlhf(package):
    utils = package.take("models/utils.py", "masked_mean", "compute_approx_kl", "compute_reward")
    names = ("aggregate_loss", "PolicyLoss", "ValueLoss", "PairWiseLoss", "LogExpLoss")
    losses = package.take("models/loss.py", *names, masked_mean=utils.masked_mean)
    maker = package.take("trainer/ppo_utils/experience_maker.py", *[
        f"{owner}.get_advantages_and_returns" for owner in owners(package)
    ])
    control = package.take("trainer/ppo_utils/kl_controller.py", "AdaptiveKLController")

    def kl(inputs):
        new, old = inputs.rows("logprobs"), inputs.rows("reference_logprobs")
        found = {}
        for name in ("k1", "k2", "k3"):
            values = utils.compute_approx_kl(new, old, kl_estimator=name)
            found[name] = ragged(values, inputs.logprobs)
        return found

    def rewards(inputs):
        keep_only(inputs)
        new, old = inputs.rows("logprobs"), inputs.rows("reference_logprobs")
        drift = utils.compute_approx_kl(new, old)
        found = utils.compute_reward(
            vector(inputs.scores), inputs.kl_coefficient, drift, inputs.mask("logprobs")
        )
        return {"rewards": ragged(found, inputs.logprobs)}

    def advantages(inputs):
        zero_beyond(inputs)
        advantage, returns = maker.get_advantages_and_returns(
            None, inputs.rows("values"), inputs.rows("rewards"), inputs.mask("values"), inputs.gamma,
            inputs.raw["lambda"],
        )
        found = {"advantages": advantage, "returns": returns}
        return {name: ragged(values, inputs.values) for name, values in found.items()}

    def policy_loss(inputs):
        new = inputs.leaf("logprobs")
        loss, clip_fraction, *_ = losses.PolicyLoss(inputs.clip_range, inputs.clip_range)(
            new, inputs.rows("old_logprobs"), inputs.rows("advantages"), inputs.mask("logprobs")
        )
        return {
            "loss": loss.item(),
            "d_logprobs": ragged(gradient(loss, new), inputs.logprobs),
            "clip_fraction": clip_fraction.item(),
        }

    def value_loss(inputs):
        new = inputs.leaf("values")
        loss = losses.ValueLoss(inputs.clip_range)(
            new, inputs.rows("old_values"), inputs.rows("returns"), inputs.mask("values")
        )
        return {"loss": loss.item(), "d_values": ragged(gradient(loss, new), inputs.raw["values"])}

    def ranking_loss(loss):
        def run(inputs):
            chosen, rejected = pair(inputs)
            return pair_results(loss(chosen, rejected), chosen, rejected)

        return run

    return {
        "rewards": rewards, "advantages": advantages, "policy_loss": policy_loss,
        "value_loss": value_loss, "kl": kl, "kl_controller": controller(control.AdaptiveKLController),
        "ranking_loss": ranking_loss(losses.PairWiseLoss()),
        "ranking_loss (LogExpLoss)": ranking_loss(losses.LogExpLoss()),
    }


def owners(package):
    """The class that has OpenRLHF's advantages, whatever it is called in this version."""
    text = (package.folder / "trainer/ppo_utils/experience_maker.py").read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        methods = [n.name for n in getattr(node, "body", []) if isinstance(n, ast.FunctionDef)]
        if isinstance(node, ast.ClassDef) and "get_advantages_and_returns" in methods:
            return [node.name]
    raise LookupError("get_advantages_and_returns")


RUNNERS = dict(zip(SOURCES, [trl_classic, trl_experimental, torchtune, verl, openrlhf]))


def flat(value):
    return [n for item in value for n in flat(item)] if isinstance(value, list) else [float(value)]


def apart(found, expected):
    """How far each result is off, as a share of what is expected where that is above 1."""
    farthest = {}
    for name, values in found.items():
        pairs = list(zip(flat(values), flat(expected[name]), strict=True))
        errors = [abs(a - b) / max(1.0, abs(b)) for a, b in pairs]
        farthest[name] = float("inf") if any(e != e for e in errors) else max(errors)
    return farthest


def judge(function, case):
    """`pass`, `near`, `fail` or `not exposed`, and what is off by how much."""
    try:
        found = function(Inputs(case["inputs"]))
    except NotExposed:
        return "not exposed", ""
    errors = apart(found, case["expected"])
    told = ", ".join(f"{name} by {error:.2g}" for name, error in errors.items() if error > PASS)
    worst = max(errors.values())
    return ("pass" if worst <= PASS else "near" if worst <= NEAR else "fail"), told


def summary(verdicts):
    asked = [verdict for verdict in verdicts if verdict != "not exposed"]
    if not asked:
        return "not exposed"
    counts = [(name, asked.count(name)) for name in ("pass", "near", "fail")]
    return ", ".join(f"{count} {name}" for name, count in counts if count)


def main():
    vectors, peers = map(pathlib.Path, sys.argv[1:])
    files = [json.loads(path.read_text()) for path in sorted(vectors.glob("*.json"))]
    table, notes = {}, []
    for peer, runner in RUNNERS.items():
        functions = runner(Package(peers / SOURCES[peer]))
        names = [file["function"] for file in files]
        extra = [name for name in functions if name not in names]
        for name in names + extra:
            file = next(file for file in files if file["function"] == name.split(" ")[0])
            verdicts = []
            for case in file["cases"] if name in functions else []:
                verdict, told = judge(functions[name], case)
                verdicts.append(verdict)
                if told:
                    notes.append(f"- {peer}, {name}, {case['name']}: {verdict}; {told}")
            table.setdefault(name, {})[peer] = summary(verdicts)
    print("| function | cases | " + " | ".join(RUNNERS) + " |")
    print("|---|---|" + "---|" * len(RUNNERS))
    for name, row in table.items():
        file = next(file for file in files if file["function"] == name.split(" ")[0])
        cells = [row.get(peer, "not exposed") for peer in RUNNERS]
        print(f"| {name} | {len(file['cases'])} | " + " | ".join(cells) + " |")
    print("\nOff by more than 1e-12, relative where above 1:\n")
    print("\n".join(notes))


if __name__ == "__main__":
    main()
