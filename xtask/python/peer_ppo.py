"""PPO by TRL on a model, prompts and a reward model of this project.

usage: peer_ppo.py tokens RECIPE SFT SEQUENCES
       peer_ppo.py scores MODEL SEQUENCES
       peer_ppo.py train RECIPE SFT MODEL SEED THREADS OUT

`tokens` writes some prompts and answers as `[[prompt, completion], ...]`, `scores` prints what the reward model says of them, `train` takes the recipe's steps and prints a line of JSON for each: seconds, score and drift.
"""

import json
import os
import sys
import time
import tomllib

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaModel, TrainerCallback

SEQUENCES = 64


class Head(nn.Module):
    """Normalized scores of hidden states; only the weight learns."""

    def __init__(self, weight, scale):
        super().__init__()
        self.weight = nn.Parameter(scale["gain"] * weight)
        self.register_buffer("bias", torch.tensor(scale["bias"]))

    def forward(self, x):
        return x @ self.weight.T + self.bias


class Scored(nn.Module):
    """A trunk with a head of one number, as `AutoModelForSequenceClassification` lays it out."""

    base_model_prefix = "model"

    def __init__(self, folder):
        super().__init__()
        self.model = LlamaModel.from_pretrained(folder, dtype=torch.float32)
        with open(f"{folder}/reward.json") as file:
            scale = json.load(file)["scale"]["normalized"]
        (weight,) = load_file(f"{folder}/score.safetensors").values()
        self.score = Head(weight.reshape(1, -1).float(), scale)
        self.config = self.model.config


def tokenizer_of(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = "<|endoftext|>"
    return tokenizer


def recipe_of(path):
    with open(path, "rb") as file:
        return tomllib.load(file)


def prompts_of(path, recipe, tokenizer):
    """The recipe's prompts in tokens, as a chat asks them."""
    source = recipe["prompts"]["source"][0]["path"]
    with open(os.path.join(os.path.dirname(path), source), encoding="utf-8") as file:
        rows = [json.loads(line)["messages"] for line in file]
    texts = [tokenizer.apply_chat_template(row, tokenize=False, add_generation_prompt=True) for row in rows]
    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    room = recipe["model"]["context_tokens"] - recipe["ppo"]["completion_tokens"]
    return [prompt for prompt in tokens if len(prompt) <= room]


def tokens(path, sft, out):
    recipe, tokenizer = recipe_of(path), tokenizer_of(sft)
    prompts = prompts_of(path, recipe, tokenizer)[:SEQUENCES]
    model = AutoModelForCausalLM.from_pretrained(sft, dtype=torch.float32)
    torch.manual_seed(0)
    sequences = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        answer = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, top_p=1.0, pad_token_id=0,
            max_new_tokens=recipe["ppo"]["completion_tokens"], eos_token_id=tokenizer.eos_token_id,
        )
        sequences.append([prompt, answer[0, len(prompt) :].tolist()])
    with open(out, "w") as file:
        json.dump(sequences, file)


def scores(folder, path):
    model = Scored(folder).eval()
    with open(path) as file:
        sequences = json.load(file)
    with torch.no_grad():
        found = [
            model.score(model.model(torch.tensor([prompt + answer])).last_hidden_state)[0, -1].item()
            for prompt, answer in sequences
        ]
    print(json.dumps(found))


class Tell(TrainerCallback):
    """Prints what a step came to, and how long it took."""

    def __init__(self):
        self.last = None

    def on_train_begin(self, args, state, control, **_):
        self.last = time.perf_counter()

    def on_log(self, args, state, control, logs, **_):
        now = time.perf_counter()
        line = {"seconds": now - self.last, "score": logs["objective/scores"], "kl_per_episode": logs["objective/kl"]}
        print("STEP " + json.dumps(line), flush=True)
        self.last = now


def train(path, sft, reward, seed, threads, out):
    from datasets import Dataset
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    torch.set_num_threads(int(threads))
    recipe, tokenizer = recipe_of(path), tokenizer_of(sft)
    ppo = recipe["ppo"]
    policy, reference = (AutoModelForCausalLM.from_pretrained(sft, dtype=torch.float32) for _ in range(2))
    policy.generation_config.pad_token_id = tokenizer.pad_token_id
    arguments = PPOConfig(
        output_dir=out, seed=int(seed), use_cpu=True, bf16=False, fp16=False, report_to=[], save_strategy="no",
        per_device_train_batch_size=ppo["episodes"] // ppo["minibatches"],
        gradient_accumulation_steps=ppo["minibatches"], num_mini_batches=ppo["minibatches"],
        local_rollout_forward_batch_size=ppo["episodes"], total_episodes=ppo["episodes"] * ppo["steps"],
        num_ppo_epochs=ppo["epochs"], learning_rate=ppo["learning_rate"], lr_scheduler_type="linear",
        adam_epsilon=1e-5, response_length=ppo["completion_tokens"], temperature=1.0, stop_token="eos",
        kl_coef=ppo["kl_coefficient"], kl_estimator="k1", cliprange=0.2, cliprange_value=0.2, vf_coef=1.0,
        gamma=1.0, lam=0.95, whiten_rewards=False, num_sample_generations=0, logging_steps=1, disable_tqdm=True,
    )
    prompts = prompts_of(path, recipe, tokenizer)
    dataset = Dataset.from_dict({"input_ids": prompts})
    trainer = PPOTrainer(
        args=arguments, processing_class=tokenizer, model=policy, ref_model=reference,
        reward_model=Scored(reward), value_model=Scored(reward), train_dataset=dataset,
        eval_dataset=dataset.select(range(1)), callbacks=[Tell()],
    )
    trainer.train()


{"tokens": tokens, "scores": scores, "train": train}[sys.argv[1]](*sys.argv[2:])
