"""Trains a tokenizer with Hugging Face's tokenizers, as `scribe tokenizer train` does by the rule of GPT-2.

usage: peer_tokenizer.py TEXT VOCABULARY OUTPUT
TEXT is read line by line, which is the peer's fast way: give it a text without empty lines and without spaces around its
lines, in which no word goes over the end of one. RAYON_NUM_THREADS says how many threads. Prints one JSON object:
version and seconds.
"""

import json
import sys
import time

import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


def main(text, vocabulary, output):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=int(vocabulary),
        min_frequency=2,
        show_progress=False,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    start = time.perf_counter()
    tokenizer.train([text], trainer)
    seconds = time.perf_counter() - start
    tokenizer.save(output)
    print(json.dumps({"version": tokenizers.__version__, "seconds": seconds}))


main(*sys.argv[1:])
