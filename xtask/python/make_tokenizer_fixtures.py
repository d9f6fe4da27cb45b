"""Writes fixtures/smollm2-small.tokenizer.json and fixtures/tokenizer-golden.json.

The first is the beginning of SmolLM2's own vocabulary (Apache-2.0): all special tokens, all bytes
and the first merges. The second holds token numbers as Hugging Face's libraries give them, for the
small vocabulary and for the whole one.

Usage: python xtask/python/make_tokenizer_fixtures.py SmolLM2-135M-Instruct.Q4_1.gguf
Needs: gguf, tokenizers, transformers
"""

import json
import pathlib
import sys

from gguf import GGUFReader
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

SMALL_MERGES = 3000
FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures"
CONTROL = 3

TEXTS = [
    "Hello, world!",
    "  two spaces,\ttab,\n\nnewlines \r\n and 12345 numbers, 3.14 and ½ and Ⅷ",
    "I'm sure they'll say it's what we've got; don't you'd? I'M NOT, 'twas",
    "L’été, où çà? Naïveté, cœur, Noël. e\u0301 is not \u00e9",
    "Съешь же ещё этих мягких французских булок, да выпей чаю",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
    "نص حكيم له سر قاطع وذو شأن عظيم ١٢٣",
    "דג סקרן שט בים מאוכזב",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "いろはにほへと　ちりぬるを 我能吞下玻璃而不伤身体 키스의 고유조건은",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 \U0001f9d1\u200d\U0001f4bb",
    "fn main() {\n    println!(\"{:?}\", (0..10).map(|x| x * x).collect::<Vec<_>>());\n}\n",
    "a\u00a0b\u3000c\u0085d\u2028e\u200bf\u00adg",
    "control \x00\x01\x02\x03 and \x04\x06\x13 which have no token",
    "<|im_start|>user\nI am a control token, or so I claim<|im_end|>",
    "",
]

CONVERSATIONS = [
    [("user", "Hello")],
    [("system", "You are a pirate."), ("user", "Who are you?")],
    [("user", "2 + 2?"), ("assistant", "4"), ("user", "  And 3 + 3?\n")],
    [("system", ""), ("user", ""), ("assistant", "Oui, l'été.\n"), ("user", "日本 👍🏽")],
    [("user", "\n\nx"), ("assistant", "I'm here"), ("user", "9"), ("assistant", "```\ncode\n```")],
]

TEMPLATES = {
    "smollm2": None,  # the model's own
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "trimming": "{%- for m in messages %}\n    {%- if m.role == 'assistant' -%}\n        {{ '<|im_start|>model:\n' ~ m.content.strip() }}<|im_end|>\n    {%- else -%}\n        {{ '<|im_start|>' ~ m['role']|upper ~ ': ' + m['content']|trim + '<|im_end|>' }}\n    {%- endif %}\n{% endfor %}\n{%- if add_generation_prompt %}{{ '<|im_start|>model:\n' }}{% endif %}",
    "namespace": "{% set ns = namespace(n=0) %}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system = 'none' %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% set ns.n = ns.n + 1 %}{% if loop.index0 == 0 %}{{ '<<SYS>>' + system + '<</SYS>>\n' }}{% endif %}{{ ns.n }}[{{ message['role'] }}]\n{{ message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '[assistant]\n' }}{% endif %}",
    # The templates of three families with this vocabulary's special tokens. One line end before an
    # answer, not two as in Llama 3: by SmolLM's rule two would be cut otherwise before text than
    # at the end of a prompt.
    "qwen2.5": r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n<tool_call>\n{\"name\": <function-name>}\n</tool_call><|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<|im_start|>' + role + '\n' + message['content'] | trim + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>model\n'}}{% endif %}",
    "llama3.1": r"""{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message + builtin tools #}
{{- "<|im_start|>system<repo_name>\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\n\n"}}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|im_end|>" }}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|im_start|>' + message['role'] + '<repo_name>\n'+ message['content'] | trim + '<|im_end|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|im_start|>ipython<repo_name>\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|im_end|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant<repo_name>\n' }}
{%- endif %}
""",
}


def tokenizer_json(metadata, merges_kept):
    tokens = metadata["tokenizer.ggml.tokens"]
    types = metadata["tokenizer.ggml.token_type"]
    merges = [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]]
    merges = merges[:merges_kept]
    special = [token for token, kind in zip(tokens, types) if kind == CONTROL]
    made = {"".join(merge) for merge in merges}
    kept = [token for token in tokens if token in special or len(token) == 1 or token in made]
    if merges_kept is None:
        kept = tokens
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for number, token in enumerate(kept)
            if token in special
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": True,
                },
            ],
        },
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(kept)},
            "merges": [" ".join(merge) for merge in merges],
        },
    }


def golden(document, own_template):
    oracle = Tokenizer.from_str(json.dumps(document))
    oracle.encode_special_tokens = True
    chat = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(document)),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
    )
    conversations = []
    for name, template in TEMPLATES.items():
        chat.chat_template = template or own_template
        for conversation in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in conversation]
            for prompt in (True, False):
                try:
                    tokens = chat.apply_chat_template(
                        messages, add_generation_prompt=prompt, tokenize=True, return_dict=False
                    )
                except Exception as error:  # a template may refuse
                    assert "alternate" in str(error) or "System role" in str(error), error
                    tokens = None
                conversations.append(
                    {
                        "template": name,
                        "messages": messages,
                        "generation_prompt": prompt,
                        "tokens": tokens,
                    }
                )
    return {
        "texts": [oracle.encode(text, add_special_tokens=False).ids for text in TEXTS],
        "conversations": conversations,
    }


def main():
    reader = GGUFReader(sys.argv[1])
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    own_template = metadata["tokenizer.chat_template"]
    small = tokenizer_json(metadata, SMALL_MERGES)
    whole = tokenizer_json(metadata, None)
    path = FIXTURES / "smollm2-small.tokenizer.json"
    path.write_text(json.dumps(small, ensure_ascii=False, separators=(",", ":")) + "\n")
    templates = {name: template or own_template for name, template in TEMPLATES.items()}
    document = {
        "texts": TEXTS,
        "templates": templates,
        "small": golden(small, own_template),
        "whole": golden(whole, own_template),
    }
    path = FIXTURES / "tokenizer-golden.json"
    path.write_text(json.dumps(document, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
