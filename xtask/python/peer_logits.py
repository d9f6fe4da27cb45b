"""Writes llama.cpp's logits after each token: peer_logits.py MODEL TOKENS OUT (little-endian u32 in, f32 out)."""

import array
import ctypes
import sys

import llama_cpp as llama
from peer_bench import load


def main():
    path, source, target = sys.argv[1:]
    tokens = array.array("I", open(source, "rb").read())
    quiet = llama.llama_log_callback(lambda *_: None)
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    model, context = load(path, 2, 1)
    vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    batch = llama.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for index, token in enumerate(tokens):
        batch.token[index], batch.pos[index] = token, index
        batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, 0, 1
    if llama.llama_decode(context, batch) != 0:
        sys.exit("error: llama_decode failed")
    with open(target, "wb") as out:
        for index in range(len(tokens)):
            row = llama.llama_get_logits_ith(context, index)
            out.write(ctypes.string_at(row, 4 * vocab))


if __name__ == "__main__":
    main()
