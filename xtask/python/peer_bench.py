"""Times llama.cpp through llama-cpp-python's low-level calls, the way llama-bench does: no sampling, no text.

usage: peer_bench.py MODEL THREADS TEST...   where TEST is tgN@S (N tokens for each of S streams) or ppN (a prompt of N)
Prints one JSON object: version, system, and tokens per second for each test (best process warm-up excluded).
"""

import ctypes
import json
import sys
import time

import llama_cpp as llama


def load(path, threads, streams):
    model_parameters = llama.llama_model_default_params()
    model = llama.llama_model_load_from_file(path.encode(), model_parameters)
    if not model:
        sys.exit(f"error: llama.cpp cannot load {path}")
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = 1024 * streams
    parameters.n_batch = 512
    parameters.n_ubatch = 512
    parameters.n_seq_max = streams
    parameters.n_threads = threads
    parameters.n_threads_batch = threads
    parameters.no_perf = True
    return model, llama.llama_init_from_model(model, parameters)


def decode(context, rows):
    """One forward pass; rows are (token, position, stream)."""
    batch = llama.llama_batch_init(len(rows), 0, 1)
    batch.n_tokens = len(rows)
    for index, (token, position, stream) in enumerate(rows):
        batch.token[index] = token
        batch.pos[index] = position
        batch.n_seq_id[index] = 1
        batch.seq_id[index][0] = stream
        batch.logits[index] = 0
    batch.logits[len(rows) - 1] = 1
    for index, (_, _, stream) in enumerate(rows):
        if index + 1 == len(rows) or rows[index + 1][2] != stream:
            batch.logits[index] = 1
    status = llama.llama_decode(context, batch)
    llama.llama_synchronize(context)
    llama.llama_batch_free(batch)
    if status != 0:
        sys.exit(f"error: llama_decode returned {status}")


def clear(context):
    llama.llama_memory_clear(llama.llama_get_memory(context), True)


def prefill(context, tokens):
    clear(context)
    start = time.perf_counter()
    decode(context, [(100 + index % 1000, index, 0) for index in range(tokens)])
    return tokens / (time.perf_counter() - start)


def generate(context, tokens, streams):
    clear(context)
    start = time.perf_counter()
    for position in range(tokens):
        decode(context, [(100 + position, position, stream) for stream in range(streams)])
    return tokens * streams / (time.perf_counter() - start)


def run(path, threads, test):
    if test.startswith("pp"):
        streams, measure = 1, lambda context: prefill(context, int(test[2:]))
    else:
        tokens, streams = (int(part) for part in test[2:].split("@"))
        measure = lambda context: generate(context, tokens, streams)
    model, context = load(path, threads, streams)
    measure(context)
    speed = max(measure(context) for _ in range(2))
    llama.llama_free(context)
    llama.llama_model_free(model)
    return speed


def main():
    path, threads, *tests = sys.argv[1:]
    quiet = llama.llama_log_callback(lambda *_: None)
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    speeds = {test: run(path, int(threads), test) for test in tests}
    system = llama.llama_print_system_info().decode()
    print(json.dumps({"version": llama.__version__, "system": system, "tokens_per_second": speeds}))


if __name__ == "__main__":
    main()
