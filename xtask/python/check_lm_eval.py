"""Has lm-evaluation-harness measure a model over HTTP and compares with `scribe eval`.

usage: check_lm_eval.py URL KEY SCRIBE MODEL FOLDER
URL is that of a `scribe serve` with MODEL, without a path. Writes tasks and texts, made of fixtures/state-of-the-union, into
FOLDER, and fails where the log-probability of a choice or of a text, or a figure, differs by more than 1e-4.
"""

import json
import math
import os
import re
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST = 1e-4
# Few enough that a text is one window there and here: they overlap in other ways.
TEXT_BYTES = 3_500
TASKS_OF_A_FILE = 3
BY_HAND = [
    ("The capital of France is", [" Paris", " Rome", " a kind of cheese"], 0),
    ("La capitale de la France est", [" Berlin", " l’été 😀", " Paris"], 2),
    ("Question: What is 2 + 2?\nAnswer:", [" 4", " 22", " four, as everybody  knows"], 0),
    # White space at the end of a context belongs to the choice.
    ("The sun rises in the ", [" east", " west"], 0),
    ("日本の首都は", [" 東京", " 京都 です"], 0),
]


def tasks(texts):
    """Which half of a sentence follows the other one?"""
    rows = [dict(zip(("context", "choices", "answer"), row)) for row in BY_HAND]
    for number, text in enumerate(texts):
        sentences = [s.split() for s in re.split(r"(?<=\.)\s+", text)]
        sentences = [s for s in sentences if 12 <= len(s) <= 40][: 4 * TASKS_OF_A_FILE]
        for first in range(0, len(sentences) - 3, 4):
            four = sentences[first : first + 4]
            answer = (number + first) % 4
            choices = [" " + " ".join(s[len(s) // 2 :]) for s in four]
            context = " ".join(four[answer][: len(four[answer]) // 2])
            rows.append({"context": context, "choices": choices, "answer": answer})
    return rows


def write(path, rows):
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def harness(url, key, model, folder):
    """The figures of each task, and the log-probabilities of each document."""
    output = folder / "harness"
    arguments = ["--model", "local-completions", "--tasks", "scribe_choices,scribe_texts"]
    arguments += ["--include_path", str(ROOT / "xtask/lm-eval"), "--log_samples"]
    # The tokenizer is found at the server by itself.
    options = f"base_url={url}/v1/completions,model={model},auth_token={key},num_concurrent=2"
    arguments += ["--model_args", options, "--batch_size", "4", "--output_path", str(output)]
    environment = {**os.environ, "OPENAI_API_KEY": key, "HF_HOME": str(folder / "hf")}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "LMEVAL_LOG_LEVEL": "WARNING"}
    command = [sys.executable, "-m", "lm_eval", "run", *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    newest = lambda name: max(output.rglob(name), key=lambda path: path.stat().st_mtime)
    results = json.loads(newest("results_*.json").read_text())["results"]
    logprobs = {}
    for task in results:
        rows = map(json.loads, newest(f"samples_{task}_*.jsonl").read_text().splitlines())
        rows = sorted(rows, key=lambda row: row["doc_id"])
        number = lambda answer: float(answer[0] if isinstance(answer, list) else answer)
        logprobs[task] = [[number(answer) for answer in row["filtered_resps"]] for row in rows]
    return results, logprobs


def served(url, key):
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["data"][0]["id"]


def scribe(program, model, folder, *arguments):
    command = [program, "--json", "eval", *arguments, "--model", model]
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


class Comparison:
    worst = 0.0

    def __call__(self, what, ours, theirs):
        difference = abs(ours - theirs)
        self.worst = max(self.worst, difference)
        if not difference <= MOST:
            sys.exit(f"{what}: ours {ours}, lm-evaluation-harness's {theirs}")


def items(what, ours, theirs):
    compare = Comparison()
    if [len(item) for item in ours] != [len(item) for item in theirs]:
        sys.exit(f"{what}: another number of them")
    for number, (mine, other) in enumerate(zip(ours, theirs)):
        for place, (a, b) in enumerate(zip(mine, other)):
            compare(f"{what} {number}.{place}", a, b)
    count = sum(map(len, ours))
    print(f"{what}: {count} log-probabilities, at most {compare.worst:.1e} apart")


def figures(pairs):
    compare = Comparison()
    for what, ours, theirs in pairs:
        compare(what, ours, theirs)
        print(f"{what}: ours {ours:.6f}, lm-evaluation-harness's {theirs:.6f}")


def main(url, key, program, model, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted((ROOT / "fixtures/state-of-the-union").glob("*.txt"))
    texts = [path.read_text(encoding="utf-8") for path in files]
    write(folder / "choices.jsonl", tasks(texts))
    beginnings = [text.encode()[:TEXT_BYTES].decode(errors="ignore") for text in texts]
    beginnings += ["L’été à Paris 😀 – 日本の首都は東京です。\n\n\tThe end  ", "a"]
    write(folder / "texts.jsonl", [{"text": text} for text in beginnings])

    results, theirs = harness(url, key, served(url, key), folder)
    print(f"lm_eval {version('lm_eval')}, datasets {version('datasets')}")
    choices = scribe(program, model, folder, "choices", "choices.jsonl")
    # What the harness puts before a text: the token that the server calls bos_token, or eos_token.
    beginning = prefix(url, key)
    bits = ["bits-per-byte", "--text", "texts.jsonl", "--begin-with", beginning]
    bits = scribe(program, model, folder, *bits)
    items("choices", choices["logprobs"], theirs["scribe_choices"])
    nats = [[-bits * math.log(2)] for bits in bits["bits_of_documents"]]
    items("texts", nats, theirs["scribe_texts"])
    of_choices, of_texts = results["scribe_choices"], results["scribe_texts"]
    figures(
        [
            ("right by likelihood", choices["accuracy"]["value"], of_choices["acc,none"]),
            (
                "its standard error",
                choices["accuracy"]["standard_error"],
                of_choices["acc_stderr,none"],
            ),
            (
                "right by likelihood per byte",
                choices["accuracy_by_bytes"]["value"],
                of_choices["acc_bytes,none"],
            ),
            (
                f"bits per byte after {beginning}",
                bits["rows"][0]["bits_per_byte"],
                of_texts["bits_per_byte,none"],
            ),
        ]
    )


def prefix(url, key):
    from lm_eval.utils import RemoteTokenizer

    tokenizer = RemoteTokenizer(f"{url}/v1/completions", auth_token=key)
    return tokenizer.bos_token or tokenizer.eos_token


main(*sys.argv[1:])
