"""Lets TRL's RewardTrainer take in what people ranked: its checks, its tokens, and a step.

usage: check_trl.py PAIRS.jsonl
"""

import json
import sys
import tempfile

import trl
from datasets import load_dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast
from trl import RewardConfig, RewardTrainer

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def tokenizer_of(texts):
    """Bytes and a few merges; nothing is fetched."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", chat_template=TEMPLATE
    )


def main():
    path = sys.argv[1]
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    tokenizer = tokenizer_of([json.dumps(row, ensure_ascii=False) for row in rows])
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    dataset = load_dataset("json", data_files=path, split="train")
    with tempfile.TemporaryDirectory() as folder:
        arguments = RewardConfig(
            output_dir=folder, max_steps=2, per_device_train_batch_size=8, report_to=[],
            use_cpu=True, bf16=False, max_length=1024, save_strategy="no", logging_steps=1,
        )
        trainer = RewardTrainer(
            model=LlamaForSequenceClassification(config), args=arguments, train_dataset=dataset,
            processing_class=tokenizer,
        )
        taken = trainer.train_dataset
        assert len(taken) == len(rows), f"{len(taken)} of {len(rows)} rows were taken in"
        chosen, rejected = (
            next(name for name in taken.column_names if name.startswith(kind) and name.endswith("ids"))
            for kind in ("chosen", "rejected")
        )
        for row, tokens in zip(rows, taken):
            for kind, column in (("chosen", chosen), ("rejected", rejected)):
                text = tokenizer.decode(tokens[column])
                assert row[kind][-1]["content"] in text, f"{text!r} lacks the {kind} answer"
                assert row["prompt"][-1]["content"] in text, f"{text!r} lacks the prompt"
            assert tokens["margin"] == row["margin"], "the margin is not the gap between the places"
        loss = trainer.train().training_loss
        assert loss == loss and 0.0 < loss < 100.0, f"loss {loss}"
    columns = ", ".join(taken.column_names)
    print(f"trl {trl.__version__}: {len(taken)} pairs taken in as {columns}; loss of two steps {loss:.3f}")


main()
