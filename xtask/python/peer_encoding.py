"""Encodes with tiktoken, with the tokens that `scribe tokenizer train` learned by the rule of GPT-2.

usage: peer_encoding.py draw TEXT STRINGS SAMPLE    10,000 strings as JSON lines, and some megabytes of TEXT
       peer_encoding.py check TOKENIZER STRINGS IDS  whether IDS has tiktoken's tokens of each string
       peer_encoding.py time TOKENIZER SAMPLE        prints version, seconds and tokens as JSON
"""

import json
import random
import sys
import time
from pathlib import Path

import tiktoken

# tiktoken_ext.openai_public.r50k_pat_str
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
LINES, SLICES, MIXES = 3_992, 3_000, 3_000
PIECES = (
    [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", " \n ", "\u200b", "\x00", "\ufeff"]
    + ["'s", "'LL", "’s", "don't", "1234567", "½", "٣٤", "Ⅷ", "!!!", "…", "<|endoftext|>", "_", "e\u0301"]
    + ["😀", "👩‍👩‍👧", "🇫🇷", "日本語", "한국어", "ภาษาไทย", "עברית", "العربية", "हिन्दी", "Ελληνικά", "ſ", "𝔘", "\U000e0001"]
    + ["the", " answer", "été", " Zürich", "naïve", " {}();", "=>", "http://a.b/c?d=e", "\u0301"]
)
CHUNKS, CHUNK_BYTES = 8, 1 << 20


def draw(text, strings, sample):
    choose = random.Random(1)
    data = Path(text).read_bytes()
    places = [len(data) * number // CHUNKS for number in range(CHUNKS)]
    chunk = lambda place: data[place : place + CHUNK_BYTES].decode(errors="ignore")
    chunks = [chunk(place) for place in places]
    Path(sample).write_text("".join(chunks), encoding="utf-8", newline="")
    lines = [line for chunk in chunks for line in chunk.split("\n")]
    # Long ones too: within them words come again.
    drawn = [chunk[:100_000] for chunk in chunks] + [choose.choice(lines) for _ in range(LINES)]
    for _ in range(SLICES):
        chunk = choose.choice(chunks)
        start = choose.randrange(len(chunk))
        drawn.append(chunk[start : start + choose.randint(1, 400)])
    for _ in range(MIXES):
        pieces = [choose.choice(PIECES) * choose.choice([1, 1, 1, 2, 9]) for _ in range(choose.randint(1, 30))]
        drawn.append("".join(pieces))
    rows = (json.dumps(string) + "\n" for string in drawn)
    Path(strings).write_text("".join(rows))


def encoding(tokenizer):
    """The tokens' numbers are the ranks: special tokens and bytes first, then in the order of learning."""
    model = json.loads(Path(tokenizer).read_text(encoding="utf-8"))
    special = {token["content"]: token["id"] for token in model["added_tokens"]}
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable}
    byte_of |= {chr(256 + number): byte for number, byte in enumerate(others)}
    ranks = {
        bytes(byte_of[c] for c in token): number
        for token, number in model["model"]["vocab"].items()
        if token not in special
    }
    return tiktoken.Encoding("ours", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)


def check(tokenizer, strings, ids):
    peer = encoding(tokenizer)
    count = 0
    for row, found in zip(Path(strings).open(), Path(ids).open(), strict=True):
        string, found = json.loads(row), json.loads(found)
        expected = peer.encode_ordinary(string)
        if found != expected:
            sys.exit(f"{string!r}: ours {found}, tiktoken's {expected}")
        count += 1
    print(f"the tokens of {count} strings are tiktoken's")


def measure(tokenizer, sample):
    peer = encoding(tokenizer)
    text = Path(sample).read_bytes().decode()
    best = None
    # As a list, and as an array, which takes no number per token in Python: the faster one counts.
    for encode in (peer.encode_ordinary, lambda text: peer.encode_to_numpy(text, disallowed_special=())):
        encode(text)
        start = time.perf_counter()
        tokens = len(encode(text))
        seconds = time.perf_counter() - start
        best = min(best or seconds, seconds)
    print(json.dumps({"version": tiktoken.__version__, "seconds": best, "tokens": tokens}))


{"draw": draw, "check": check, "time": measure}[sys.argv[1]](*sys.argv[2:])
