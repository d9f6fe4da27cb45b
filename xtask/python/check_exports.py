"""Compares what `scribe models export` and `quantize` write with the programs that read such files.

    check_exports.py SCRIBE LOGITS MODEL TEXT FOLDER KERNELS [PEER_PYTHON]

LOGITS is the example `logits` of the crate `model`; MODEL is a GGUF file; FOLDER is made anew.

1. transformers loads the folder: the same token numbers, and logits on the reference path within
   1e-4, or within twice what transformers in f32 is from itself in f64 at that position: a few tokens
   have huge activations (measured on SmolLM2-135M: 3 of 96 positions beyond 1e-4, at most 5e-4).
2. gguf reads the files made from the folder: every tensor is what gguf's own quantizers make of it.
3. With PEER_PYTHON, which has llama-cpp-python: llama.cpp's next token is Scribe's wherever the two
   best are further apart than the two programs.

Prints one JSON object and fails where a bound does not hold. Needs torch, transformers and gguf.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import gguf
import numpy
import torch
import transformers
from check_parity import GREEDY_STEPS, QUESTIONS, compare, measured

POSITIONS = 96
LOGITS_APART_MOST = 1e-4
QUANTIZED = {"f32": gguf.GGMLQuantizationType.F32, "q8_0": gguf.GGMLQuantizationType.Q8_0,
             "q4_0": gguf.GGMLQuantizationType.Q4_0}
STRINGS = [
    "Hello, world!", " leading and trailing ", "a\n\nb\r\n\tc", "it's we'll I'd", "1234567 3.14", "naïve café",
    "日本語のテキスト", "مرحبا بالعالم", "🙂👩‍👩‍👧", "x = [i**2 for i in range(10)]  # squares", "ﬁ ½ Ⅷ", "e\u0301",
]


def scribe(program, *arguments):
    """What the program prints."""
    command = [str(part) for part in (program, *arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def check_tokens(program, folder, tokenizer, text):
    """How many strings have the same numbers to both."""
    strings = STRINGS + [line for line in text.splitlines() if line.strip()][:60] + [text]
    for string in strings:
        ours = json.loads(scribe(program, "tokenizer", "encode", string, "--model", folder, "--json"))
        theirs = tokenizer(string, add_special_tokens=False)["input_ids"]
        assert [one["token"] for one in ours["tokens"]] == theirs, repr(string)
        assert tokenizer.decode(theirs) == string or string in STRINGS, repr(string)
    return len(strings)


def check_file(path, kind, weights):
    """How many tensors are what gguf makes of the weights of the folder."""
    reader = gguf.GGUFReader(path)
    heads, kv_heads, name = (int(reader.fields[f"llama.{key}"].contents()) for key in
                             ("attention.head_count", "attention.head_count_kv", "block_count"))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, name)
    found = {tensor.name: tensor for tensor in reader.tensors}
    for source, values in weights.items():
        target = names.get_name(source, try_suffixes=(".weight", ".bias"))
        for part, count in (("q_proj", heads), ("k_proj", kv_heads)):
            if part in source:
                # `LlamaModel.permute` of llama.cpp's converter.
                split = values.reshape(count, 2, values.shape[0] // count // 2, *values.shape[1:])
                values = split.swapaxes(1, 2).reshape(values.shape)
        tensor = found.pop(target)
        expected = gguf.GGMLQuantizationType.F32 if values.ndim == 1 else QUANTIZED[kind]
        if kind == "q4_0" and target == "token_embd.weight":
            expected = gguf.GGMLQuantizationType.Q8_0
        assert tensor.tensor_type == expected, (target, tensor.tensor_type)
        rounded = gguf.quants.quantize(values, expected)
        assert numpy.array_equal(tensor.data.view(numpy.uint8).reshape(-1), rounded.view(numpy.uint8).reshape(-1)), target
    assert not found, list(found)
    return len(reader.tensors)


def main():
    program, tool, source, text, folder, kernels, *peer = sys.argv[1:]
    folder, text = pathlib.Path(folder), pathlib.Path(text).read_text()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    export = folder / "hf"
    scribe(program, "models", "export", source, "--to", "hf", "--dtype", "f32", "--out", export)
    files = {kind: folder / f"{kind}.gguf" for kind in QUANTIZED}
    for kind, path in files.items():
        scribe(program, "models", "export", export, "--to", "gguf", "--dtype", kind, "--out", path)

    tokenizer = transformers.AutoTokenizer.from_pretrained(export)
    model = transformers.AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32).eval()
    vocab = model.config.vocab_size
    ours = lambda path, kernels: lambda tokens, target: [tool, path, kernels, tokens, target]
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"][:POSITIONS]
    with torch.no_grad():
        reference = model(torch.tensor([tokens])).logits[0].double()
        exact = model.double()(torch.tensor([tokens])).logits[0]
        model.float()
    noise = (reference - exact).abs().amax(-1)
    report = {"strings": check_tokens(program, export, tokenizer, text)}
    for name, path in (("folder", export), ("f32.gguf", files["f32"])):
        logits = measured(ours(path, "reference"), tokens, vocab)
        apart = (logits - reference).abs().amax(-1)
        report[name] = compare(logits, reference) | {
            "positions_beyond_1e-4": (apart > LOGITS_APART_MOST).nonzero().flatten().tolist(),
            "largest_elsewhere": apart[apart <= LOGITS_APART_MOST].max().item(),
            "holds": bool((apart <= torch.clamp(2 * noise, min=LOGITS_APART_MOST)).all()),
        }
    message = [{"role": "user", "content": QUESTIONS[0]}]
    rendered = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    assert rendered.endswith(f"{QUESTIONS[0]}<|im_end|>\n<|im_start|>assistant\n"), rendered
    ends = model.generation_config.eos_token_id
    assert tokenizer.eos_token_id in (ends if isinstance(ends, list) else [ends]), ends

    weights = {name: value.numpy() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    for kind, path in files.items():
        report[f"{kind}.gguf read by gguf"] = check_file(path, kind, weights)

    if peer:
        script = pathlib.Path(__file__).with_name("peer_logits.py")
        theirs = lambda path: lambda tokens, target: [peer[0], script, path, tokens, target]
        paths = []
        for question in QUESTIONS:
            message = [{"role": "user", "content": question}]
            prompt = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
            with torch.no_grad():
                whole = model.generate(
                    torch.tensor([prompt]), min_new_tokens=GREEDY_STEPS, max_new_tokens=GREEDY_STEPS, do_sample=False
                )
            paths.append((len(prompt), whole[0].tolist()))
        for kind, path in files.items():
            steps = []
            for prompt, whole in paths:
                both = [measured(command, whole, vocab)[prompt - 1 : -1] for command in (ours(path, kernels), theirs(path))]
                steps.append(compare(*both))
            report[f"{kind}.gguf beside llama.cpp"] = {
                "steps": sum(one["positions"] for one in steps),
                "other_token": sum(one["other_token"] for one in steps),
                "widest_gap_of_those": max(one["widest_gap_of_those"] for one in steps),
                "largest": max(one["largest"] for one in steps),
            }
    print(json.dumps(report, indent=1))
    for name in ("folder", "f32.gguf"):
        assert report[name]["holds"], f"logits of {name}"
    for name, one in report.items():
        if name.endswith("llama.cpp"):
            assert one["widest_gap_of_those"] <= one["largest"], f"{name}: another token where it is clear"


if __name__ == "__main__":
    main()
