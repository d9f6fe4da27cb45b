"""Compares the model's logits and greedy text with transformers in f32 on the same dequantized weights.

    check_parity.py MODEL LOGITS TEXT KERNELS [PEER_PYTHON]

LOGITS is the example `logits` of the crate `model`; TEXT gives 512 positions; with PEER_PYTHON, which
has llama-cpp-python, llama.cpp is measured on the same file and must not be nearer. Prints one JSON
object and fails where a bound does not hold. Needs torch, transformers and gguf.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers
from make_smollm2_golden import load

POSITIONS = 512
GREEDY_STEPS = 64
QUESTIONS = [
    "What is the capital of France?",
    "Why is the sky blue?",
    "Write a haiku about the sea.",
    "How do I boil an egg?",
    "Explain what a computer program is to a child.",
    "Name three rivers of Europe.",
    "What is 12 times 12?",
    "Give me a short plan for a day in Rome.",
]
MEAN_KL_MOST = 1e-3
OF_PEER_MOST = 1.1


def measured(command, tokens, vocab):
    """The logits that a program writes for some tokens: `command(tokens file, output file)`."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/tokens", f"{folder}/logits"
        numpy.array(tokens, dtype="<u4").tofile(source)
        subprocess.run([str(part) for part in command(source, target)], check=True)
        return torch.tensor(numpy.fromfile(target, dtype="<f4").reshape(-1, vocab)).double()


def compare(logits, reference):
    """How far logits are from the reference, over all positions."""
    top = reference.topk(2).values
    difference = logits - reference
    rms = difference.square().mean().sqrt().item()
    gap = top[:, 0] - top[:, 1]
    other = logits.argmax(-1) != reference.argmax(-1)
    expected = reference.log_softmax(-1)
    kl = (expected.exp() * (expected - logits.log_softmax(-1))).sum(-1)
    return {
        "rms": rms,
        "largest": difference.abs().max().item(),
        "mean_kl": kl.mean().item(),
        "positions": len(reference),
        "other_token": int(other.sum()),
        "widest_gap_of_those": gap[other].max().item() if other.any() else 0.0,
    }


def main():
    path, tool, text, kernels, *peer = sys.argv[1:]
    source = pathlib.Path(path)
    where = dict(pretrained_model_name_or_path=str(source.parent), gguf_file=source.name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    model = load(path)
    vocab = model.config.vocab_size

    def ours(source, target):
        return [tool, path, kernels, source, target]

    def theirs(source, target):
        script = pathlib.Path(__file__).with_name("peer_logits.py")
        return [peer[0], script, path, source, target]

    tokens = tokenizer(pathlib.Path(text).read_text(), add_special_tokens=False)["input_ids"]
    tokens = tokens[:POSITIONS]
    with torch.no_grad():
        reference = model(torch.tensor([tokens])).logits[0].double()
    report = {kernels: compare(measured(ours, tokens, vocab), reference)}
    if peer:
        report["llama.cpp"] = compare(measured(theirs, tokens, vocab), reference)

    greedy = []
    for question in QUESTIONS:
        prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        prompt = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            whole = model.generate(
                torch.tensor([prompt]), min_new_tokens=GREEDY_STEPS, max_new_tokens=GREEDY_STEPS, do_sample=False
            )
            reference = model(whole).logits[0, len(prompt) - 1 : -1].double()
        logits = measured(ours, whole[0].tolist(), vocab)[len(prompt) - 1 : -1]
        greedy.append(compare(logits, reference))
    report["greedy"] = {
        "steps": sum(one["positions"] for one in greedy),
        "other_token": sum(one["other_token"] for one in greedy),
        "widest_gap_of_those": max(one["widest_gap_of_those"] for one in greedy),
        "largest": max(one["largest"] for one in greedy),
    }
    print(json.dumps(report, indent=1))
    assert report[kernels]["positions"] == POSITIONS, "the text is too short"
    assert report[kernels]["mean_kl"] <= MEAN_KL_MOST, "mean KL"
    if peer:
        assert report[kernels]["rms"] <= OF_PEER_MOST * report["llama.cpp"]["rms"], "llama.cpp is nearer"
    assert report["greedy"]["widest_gap_of_those"] <= report["greedy"]["largest"], "another token where it is clear"


if __name__ == "__main__":
    main()
