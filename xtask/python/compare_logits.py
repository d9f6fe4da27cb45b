"""Compares logits with those of transformers in f32 on the same dequantized weights.

    compare_logits.py MODEL TOKENS NAME=FILE...      FILE: little-endian f32 [time, vocab]

Prints, for each name, the root mean square and the largest difference to the reference, the mean of
KL(reference || name) over all positions, and how often the largest logit is the same token, counting
apart the positions where the reference's two largest are closer than twice the root mean square.
"""

import json
import sys

import numpy
import torch
from make_smollm2_golden import load


def main():
    path, source, *files = sys.argv[1:]
    tokens = numpy.fromfile(source, dtype="<u4").astype("int64")
    with torch.no_grad():
        reference = load(path)(torch.tensor(tokens)[None]).logits[0].double()
    top = reference.topk(2).values
    logprobs = reference.log_softmax(-1)
    report = {}
    for name, file in (pair.split("=", 1) for pair in files):
        logits = torch.tensor(numpy.fromfile(file, dtype="<f4").reshape(len(tokens), -1)).double()
        difference = logits - reference
        rms = difference.square().mean().sqrt().item()
        close = (top[:, 0] - top[:, 1]) < 2 * rms
        same = logits.argmax(-1) == reference.argmax(-1)
        kl = (logprobs.exp() * (logprobs - logits.log_softmax(-1))).sum(-1)
        report[name] = {
            "rms": rms,
            "largest": difference.abs().max().item(),
            "mean_kl": kl.mean().item(),
            "positions": len(tokens),
            "same_argmax": int(same.sum()),
            "different_where_clear": int((~same & ~close).sum()),
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
