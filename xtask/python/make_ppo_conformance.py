"""Writes what reward modeling and PPO should compute for small inputs: one file for each function.

    python xtask/python/make_ppo_conformance.py fixtures/ppo

Every value is that of the formula in its file's "formula", as the papers state it, in f64 and with
`math.fsum`; nothing of this project or of a peer is called. Rows of tokens are ragged: a runner for a
peer that pads appends what it likes. Needs Python alone.
"""

import json
import math
import pathlib
import random
import sys

RANDOM = random.Random(20)
LENGTHS = (1, 4, 9)


def ragged(lengths=LENGTHS, spread=1.0, center=0.0):
    return [[RANDOM.gauss(center, spread) for _ in range(length)] for length in lengths]


def each(function, *arrays):
    """A function of the numbers at the same place of ragged arrays."""
    return [[function(*numbers) for numbers in zip(*rows)] for rows in zip(*arrays)]


def flat(rows):
    return [number for row in rows for number in row]


def mean(rows):
    numbers = flat(rows)
    return math.fsum(numbers) / len(numbers)


def case(name, inputs, expected):
    return {"name": name, "inputs": inputs, "expected": expected}


def rewards():
    logprobs, reference = ragged(center=-2.0), ragged(center=-2.0)
    scores = [1.5, -0.75, 2.25]
    stop_reasons = ["end_of_turn", "end_of_turn", "length"]
    cases = []
    for name, no_end in [
        ("the score of a cut completion stays", "keep"),
        ("it is replaced by -1", {"fixed": -1.0}),
        ("it is lowered by 1", {"subtract": 1.0}),
    ]:
        settled = list(scores)
        if no_end != "keep":
            settled[2] = -1.0 if "fixed" in no_end else scores[2] - 1.0
        rows = each(lambda new, old: -0.15 * (new - old), logprobs, reference)
        for row, score in zip(rows, settled):
            row[-1] += score
        inputs = {
            "logprobs": logprobs,
            "reference_logprobs": reference,
            "scores": scores,
            "stop_reasons": stop_reasons,
            "kl_coefficient": 0.15,
            "no_end": no_end,
        }
        cases.append(case(name, inputs, {"rewards": rows}))
    return "reward[t] = -beta (logprob - reference_logprob); + score at the last token", cases


def advantages():
    cases = []
    for name, gamma, lam, beyond in [
        ("values of 0 past every last token", 1.0, 0.95, None),
        ("discounted", 0.9, 0.8, None),
        ("cut completions go on", 1.0, 0.95, [0.5, -1.25, 2.0]),
    ]:
        reward_rows, value_rows = ragged(), ragged()
        stop_reasons = ["end_of_turn", "length", "end_of_turn"]
        rows = []
        for index, (reward, value) in enumerate(zip(reward_rows, value_rows)):
            cut = beyond is not None and stop_reasons[index] == "length"
            after = value + [beyond[index] if cut else 0.0]
            delta = [r + gamma * after[t + 1] - after[t] for t, r in enumerate(reward)]
            rows.append([
                math.fsum((gamma * lam) ** (s - t) * delta[s] for s in range(t, len(delta)))
                for t in range(len(delta))
            ])
        inputs = {"rewards": reward_rows, "values": value_rows, "gamma": gamma, "lambda": lam}
        if beyond is not None:
            inputs |= {"stop_reasons": stop_reasons, "next_values": beyond}
        expected = {"advantages": rows, "returns": each(lambda a, v: a + v, rows, value_rows)}
        cases.append(case(name, inputs, expected))
    formula = "advantage[t] = sum_k (gamma lambda)^k delta[t + k]; return = advantage + value"
    return formula + ", not whitened", cases


def whiten():
    cases = []
    example = [[1.2, 1.3, 1.4], [1.5, 1.6, 1.7], [1.8, 1.9, 2.0]]
    for name, rows in [("the published example", example), ("lengths differ", ragged(spread=3.0))]:
        for keep in (False, True):
            center = mean(rows)
            variance = mean(each(lambda x: (x - center) ** 2, rows))
            scale = math.sqrt(variance + 1e-8)
            whitened = each(lambda x: (x - center) / scale + (center if keep else 0.0), rows)
            inputs = {"values": rows, "mean": "keep" if keep else "shift"}
            name_of_mean = "the mean stays" if keep else "the mean becomes 0"
            cases.append(case(f"{name}, {name_of_mean}", inputs, {"whitened": whitened}))
    return "(x - mean) / sqrt(population variance + 1e-8), over all tokens", cases


def policy_loss():
    cases = []
    for name, spread in [("not moved", 0.0), ("inside the range", 0.05), ("far", 0.6)]:
        old, advantage = ragged(center=-2.0), ragged()
        new = each(lambda x: x + RANDOM.gauss(0.0, spread), old)
        ratio = each(lambda a, b: math.exp(a - b), new, old)
        unclipped = each(lambda a, r: -a * r, advantage, ratio)
        clipped = each(lambda a, r: -a * min(max(r, 0.8), 1.2), advantage, ratio)
        tokens = len(flat(old))
        expected = {
            "loss": mean(each(max, unclipped, clipped)),
            "d_logprobs": each(
                lambda u, c: 0.0 if c > u else u / tokens, unclipped, clipped
            ),
            "ratio": mean(ratio),
            "clip_fraction": mean(each(lambda u, c: float(c > u), unclipped, clipped)),
            "approx_kl": mean(each(lambda a, b: 0.5 * (a - b) ** 2, new, old)),
        }
        inputs = {
            "logprobs": new, "old_logprobs": old, "advantages": advantage, "clip_range": 0.2
        }
        cases.append(case(name, inputs, expected))
    return "mean over tokens of max(-A ratio, -A clip(ratio, 1 - c, 1 + c))", cases


def value_loss():
    cases = []
    for name, spread in [("not moved", 0.0), ("far", 0.6)]:
        old, returns = ragged(), ragged(spread=2.0)
        new = each(lambda x: x + RANDOM.gauss(0.0, spread), old)
        free = each(lambda v, r: v - r, new, returns)
        held = each(lambda v, o, r: min(max(v, o - 0.2), o + 0.2) - r, new, old, returns)
        tokens = len(flat(old))
        expected = {
            "loss": 0.5 * mean(each(lambda a, b: max(a * a, b * b), free, held)),
            "d_values": each(lambda a, b: 0.0 if b * b > a * a else a / tokens, free, held),
            "clip_fraction": mean(each(lambda a, b: float(b * b > a * a), free, held)),
        }
        inputs = {"values": new, "old_values": old, "returns": returns, "clip_range": 0.2}
        cases.append(case(name, inputs, expected))
    return "1/2 mean over tokens of max((v - R)^2, (clip(v, old - c, old + c) - R)^2)", cases


def kl():
    cases = []
    for name, spread in [("close", 0.1), ("far", 1.0)]:
        old = ragged(center=-2.0)
        new = each(lambda x: x + RANDOM.gauss(0.0, spread), old)
        if name == "far":
            # One token that the policy hardly samples: estimators that are cut off show it.
            new[1][2] = old[1][2] - 3.0
        difference = each(lambda a, b: a - b, new, old)
        expected = {
            "k1": difference,
            "k2": each(lambda d: 0.5 * d * d, difference),
            "k3": each(lambda d: math.expm1(-d) + d, difference),
            "kl_per_episode": math.fsum(math.fsum(row) for row in difference) / len(difference),
        }
        cases.append(case(name, {"logprobs": new, "reference_logprobs": old}, expected))
    formula = "d = logprob - reference_logprob; k1 = d, k2 = d^2 / 2, k3 = exp(-d) - 1 + d; "
    return formula + "an episode is a sum, the mean is over episodes (k1)", cases


def kl_controller():
    coefficient, coefficients = 0.15, []
    observed = [[6.0, 512], [9.0, 512], [6.3, 64], [3.0, 512], [-1.0, 1024], [600.0, 1]]
    for measured, episodes in observed:
        error = min(max(measured / 6.0 - 1.0, -0.2), 0.2)
        coefficient *= 1.0 + error * episodes / 10_000.0
        coefficients.append(coefficient)
    inputs = {
        "coefficient": 0.15, "target": 6.0, "horizon_episodes": 10_000.0, "observed": observed
    }
    formula = "beta *= 1 + clip(KL per episode / target - 1, -0.2, 0.2) * episodes / horizon"
    return formula, [case("a step after the other", inputs, {"coefficients": coefficients})]


def log_sigmoid(x):
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))


def ranking_loss():
    cases = []
    for name, scores, ranks, centering in [
        ("a pair", [0.3, 1.1], [1, 2], 0.0),
        ("a pair, centered", [0.3, 1.1], [1, 2], 0.01),
        ("a pair, far apart and right", [5e3, -5e3], [1, 2], 0.0),
        ("a pair, far apart and wrong", [-5e3, 5e3], [1, 2], 0.0),
        ("nine in order", [RANDOM.gauss(0, 2) for _ in range(9)], list(range(1, 10)), 0.0),
        ("with ties", [RANDOM.gauss(0, 2) for _ in range(5)], [2, 1, 2, 3, 1], 0.0),
    ]:
        places = range(len(scores))
        pairs = [(i, j) for i in places for j in places if i < j]
        losses, slopes = [], [[] for _ in places]
        for i, j in pairs:
            apart, together = scores[i] - scores[j], scores[i] + scores[j]
            won = 0.5 if ranks[i] == ranks[j] else float(ranks[i] < ranks[j])
            for weight, side in [(won, apart), (1.0 - won, -apart)]:
                losses.append(-weight * log_sigmoid(side) if weight else 0.0)
            losses.append(centering * together**2)
            slope = math.exp(log_sigmoid(apart)) - won
            slopes[i] += [slope, 2.0 * centering * together]
            slopes[j] += [-slope, 2.0 * centering * together]
        expected = {
            "loss": math.fsum(losses) / len(pairs),
            "d_scores": [math.fsum(slope) / len(pairs) for slope in slopes],
        }
        inputs = {"scores": scores, "ranks": ranks, "centering": centering}
        cases.append(case(name, inputs, expected))
    formula = "-1/C(K,2) sum log sigma(chosen - rejected), a tied pair half and half, "
    return formula + "+ centering (chosen + rejected)^2", cases


def normalization():
    raw = [RANDOM.gauss(40.0, 3.0) for _ in range(17)]
    center = math.fsum(raw) / len(raw)
    deviation = math.sqrt(math.fsum((x - center) ** 2 for x in raw) / len(raw))
    expected = {"gain": 1.0 / deviation, "bias": -center / deviation}
    formula = "gain raw + bias has mean 0 and population deviation 1"
    return formula, [case("samples of a reference", {"raw": raw}, expected)]


def entropy():
    cases = []
    for temperature in (0.7, 1.0, 2.0):
        logits = [RANDOM.gauss(0.0, 3.0) for _ in range(11)]
        scaled = [logit / temperature for logit in logits]
        total = math.fsum(math.exp(x) for x in scaled)
        probabilities = [math.exp(x) / total for x in scaled]
        value = -math.fsum(p * math.log(p) for p in probabilities)
        inputs = {"logits": logits, "temperature": temperature}
        cases.append(case(f"temperature {temperature}", inputs, {"entropy": value}))
    return "-sum p log p of softmax(logits / temperature)", cases


def best_of_kl():
    cases = [
        case(f"best of {n}", {"completions": n}, {"kl": math.log(n) - (n - 1) / n})
        for n in (1, 2, 4, 64, 1000)
    ]
    return "log n - (n - 1) / n", cases


FUNCTIONS = [
    rewards, advantages, whiten, policy_loss, value_loss, kl, kl_controller, ranking_loss,
    normalization, entropy, best_of_kl,
]


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for function in FUNCTIONS:
        formula, cases = function()
        text = {"function": function.__name__, "formula": formula, "cases": cases}
        path = folder / f"{function.__name__}.json"
        path.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
