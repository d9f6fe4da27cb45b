"""Compares adapters with PEFT: one that `scribe sft` has made, and one that PEFT has.

    check_adapter.py SCRIBE LOGITS BASE TEXT FOLDER CONVERSATIONS

LOGITS is the example `logits` of the crate `model`; BASE is a folder in Hugging Face's layout in f32, as
`check_exports.py` leaves it; FOLDER is made anew.

1. `scribe sft` teaches an adapter beside BASE for a few steps; PEFT loads its checkpoint.
2. PEFT makes an adapter of random numbers beside some of the matrices, with another scaling.

Of each, logits on the reference path are no farther from PEFT's in f64 than 1e-4, or than twice what PEFT's in
f32 are, at most and in the mean square (at some positions of a text a bit of f32 is worth that much, and which way it
falls is chance); so are those of transformers after `scribe models export --adapter`, beside what PEFT itself has
merged in f32. Prints one JSON object and fails where a bound does not hold. Needs torch, transformers and peft.
"""

import json
import pathlib
import shutil
import sys

import peft
import torch
import transformers
from check_exports import LOGITS_APART_MOST, POSITIONS, scribe
from check_parity import compare, measured

RECIPE = """
base = {base}
[[conversations.source]]
path = {conversations}
kind = "conversation"
[conversations]
[sft]
steps = 3
rows = 2
row_tokens = 128
learning_rate = 5e-3
schedule = "constant"
validation_rows = 0
[sft.lora]
rank = 8
alpha = 12.0
targets = ["q", "k", "v", "o", "gate", "up", "down"]
"""


def taught(program, base, folder, conversations):
    """The checkpoint of an adapter that Scribe has made."""
    recipe, run = folder / "recipe.toml", folder / "run"
    recipe.write_text(RECIPE.format(base=json.dumps(str(base)), conversations=json.dumps(str(conversations))))
    return json.loads(scribe(program, "sft", recipe, "--run", run, "--json"))["model"]


def random(base, folder):
    """The folder of an adapter that PEFT has made."""
    torch.manual_seed(5)
    config = peft.LoraConfig(
        r=4, lora_alpha=3, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"
    )
    model = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    model.save_pretrained(folder)
    return folder


def square_mean(errors):
    return errors.square().mean().sqrt()


def main():
    program, tool, base, text, folder, conversations = sys.argv[1:]
    base, folder = pathlib.Path(base).absolute(), pathlib.Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    adapters = {
        "made by scribe": taught(program, base, folder, pathlib.Path(conversations).absolute()),
        "made by peft": random(base, folder / "peft"),
    }
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    tokens = tokenizer(pathlib.Path(text).read_text(), add_special_tokens=False)["input_ids"][:POSITIONS]
    load = lambda path: transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    plain = load(base)
    vocab, report = plain.config.vocab_size, {}
    logits = lambda model: model(torch.tensor([tokens])).logits[0].double()
    with torch.no_grad():
        without = logits(plain)
        for name, adapter in adapters.items():
            model = lambda: peft.PeftModel.from_pretrained(load(base), adapter).eval()
            beside, exact = logits(model()), logits(model().double())
            of_merged = logits(model().merge_and_unload())
            merged = folder / f"{name} merged"
            scribe(program, "models", "export", base, "--adapter", adapter, "--to", "hf", "--out", merged)
            ours = measured(lambda tokens, target: [tool, base, "reference", tokens, target, adapter], tokens, vocab)
            for how, found, theirs in (
                ("beside", ours, beside),
                ("merged, by transformers", logits(load(merged)), of_merged),
            ):
                sizes = lambda logits: [error((logits - exact).abs()) for error in (torch.max, square_mean)]
                report[f"{name}, {how}"] = compare(found, exact) | {
                    "largest_of_peft": (theirs - exact).abs().max().item(),
                    "moved_by": (exact - without).abs().max().item(),
                    "holds": all(
                        bool(own <= max(2 * other, LOGITS_APART_MOST)) for own, other in zip(sizes(found), sizes(theirs))
                    ),
                }
    print(json.dumps(report, indent=1))
    for name, one in report.items():
        assert one["moved_by"] > 0.1, f"{name}: the adapter changes nothing"
        assert one["holds"], name


if __name__ == "__main__":
    main()
