"""Writes the logits that transformers computes in f32 on the dequantized weights of a GGUF file.

    python xtask/python/make_smollm2_golden.py SmolLM2-135M-Instruct.Q4_1.gguf fixtures/smollm2-golden.json

The file holds a chat prompt in tokens, four positions of it, and for each the largest logit's token
and the logits of 256 tokens that are spread over the vocabulary; then the prompt's greedy
continuation. Needs torch, transformers and gguf; made with torch 2.15.0, transformers 5.23.0.
"""

import json
import pathlib
import sys

import gguf
import torch
import transformers

MESSAGES = [
    {"role": "system", "content": "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
    {"role": "user", "content": "What is the capital of France?"},
]
CONTINUATION_TOKENS = 12


STEMS = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_norm": "input_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip


def load(source):
    reader = gguf.GGUFReader(source)

    def number(key):
        return reader.fields[f"llama.{key}"].contents()

    heads, kv_heads = number("attention.head_count"), number("attention.head_count_kv")
    weights = {}
    for tensor in reader.tensors:
        values = torch.tensor(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
        parts = tensor.name.split(".")
        if parts[0] != "blk":
            names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
            weights[names[parts[0]] + ".weight"] = values
            continue
        if parts[2] in ("attn_q", "attn_k"):
            # The converter interleaved the halves of each head.
            count = heads if parts[2] == "attn_q" else kv_heads
            values = values.reshape(count, -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        weights[f"model.layers.{parts[1]}.{STEMS[parts[2]]}.weight"] = values
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    config = transformers.LlamaConfig(
        hidden_size=number("embedding_length"),
        intermediate_size=number("feed_forward_length"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        num_hidden_layers=number("block_count"),
        vocab_size=len(weights["lm_head.weight"]),
        max_position_embeddings=number("context_length"),
        rms_norm_eps=number("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": number("rope.freq_base")},
        tie_word_embeddings=True,
    )
    model = transformers.LlamaForCausalLM(config).to(torch.float32).eval()
    model.load_state_dict(weights)
    return model


def main():
    source, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    where = dict(pretrained_model_name_or_path=str(source.parent), gguf_file=source.name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in MESSAGES)
    tokens = tokenizer(text + "<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    model = load(source)
    vocab = model.config.vocab_size
    positions = [0, 9, len(tokens) // 2, len(tokens) - 1]
    sampled = [(191 * n + 7) % vocab for n in range(256)]
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
        answer = model.generate(
            torch.tensor([tokens]), max_new_tokens=CONTINUATION_TOKENS, do_sample=False
        )[0, len(tokens) :].tolist()
    rows = [[float(f"{logits[p, token]:.7g}") for token in sampled] for p in positions]
    golden = {
        "tokens": tokens,
        "positions": positions,
        "largest": [int(logits[p].argmax()) for p in positions],
        "sampled": sampled,
        "logits": rows,
        "continuation": answer,
        "continuation_text": tokenizer.decode(answer),
    }
    target.write_text(json.dumps(golden) + "\n")
    print(text, tokens, answer, tokenizer.decode(answer))


if __name__ == "__main__":
    main()
