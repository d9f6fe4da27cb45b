"""Asks a running server with OpenAI's official client, and checks what the client makes of the answers.

Usage: python xtask/python/check_openai_client.py BASE_URL MODEL [KEY]
BASE_URL ends in /v1. KEY is the server's key; without it, or where the server has none, the check of a
wrong key is left out. Needs: openai
"""

import sys

import openai

QUESTION = [{"role": "user", "content": "Say something."}]


def expect(error, call):
    """Calls and returns the error of the given class that must come of it."""
    try:
        call()
    except error as found:
        return found
    raise AssertionError(f"{error.__name__} was expected")


def check_models(client, model):
    listed = [entry.id for entry in client.models.list()]
    assert model in listed, listed
    assert client.models.retrieve(model).id == model
    error = expect(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))
    assert error.code == "model_not_found", error.body


def check_chat(client, model):
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=16, seed=1)
    assert answer.object == "chat.completion" and answer._request_id.startswith("req_")
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.finish_reason in ("length", "stop")
    usage = answer.usage
    assert 0 < usage.completion_tokens <= 16 and usage.prompt_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens >= 0
    again = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=16, seed=1)
    assert again.choices[0].message.content == choice.message.content
    several = client.chat.completions.create(
        model=model, messages=QUESTION, max_completion_tokens=16, seed=1, n=3
    )
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert several.choices[0].message.content == choice.message.content


def check_stream(client, model):
    asked = dict(model=model, messages=QUESTION, max_tokens=32, seed=2)
    plain = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert len({chunk.id for chunk in chunks}) == 1
    last = chunks[-1]
    assert last.choices == [] and last.usage.completion_tokens == plain.usage.completion_tokens
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert [delta.role for delta in deltas].count("assistant") == 1
    text = "".join(delta.content or "" for delta in deltas)
    assert text == plain.choices[0].message.content, text
    assert chunks[-2].choices[0].finish_reason == plain.choices[0].finish_reason
    # The client's own assembly of a stream takes an answer that was cut for its length as a failure.
    stop = text[len(text) // 2 :][:2]
    with client.chat.completions.stream(**asked, stop=stop) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in events and final.choices[0].finish_reason == "stop"
    assert final.choices[0].message.content == text[: text.index(stop)]


def check_abort(client, model):
    asked = dict(model=model, messages=QUESTION, max_tokens=200)
    stream = client.chat.completions.create(**asked, stream=True)
    next(iter(stream))
    stream.close()
    assert client.chat.completions.create(**asked).choices, "the server goes on after an abort"


def check_logprobs(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=16, logprobs=True, top_logprobs=2
    )
    choice = answer.choices[0]
    tokens = choice.logprobs.content
    assert "".join(token.token for token in tokens) == choice.message.content
    for token in tokens:
        assert token.logprob <= 0 and token.bytes is not None and len(token.top_logprobs) == 2


def check_completions(client, model):
    asked = dict(model=model, prompt="Once upon a time", max_tokens=8, seed=3)
    answer = client.completions.create(**asked, echo=True, logprobs=1)
    choice = answer.choices[0]
    assert choice.text.startswith("Once upon a time")
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.token_logprobs[0] is None
    streamed = client.completions.create(**asked, stream=True)
    text = "".join(chunk.choices[0].text for chunk in streamed if chunk.choices)
    assert "Once upon a time" + text == choice.text
    many = client.completions.create(model=model, prompt=["one", "two"], max_tokens=4, n=2)
    assert [choice.index for choice in many.choices] == [0, 1, 2, 3]


def check_refusals(client, model):
    chat = client.chat.completions.create
    error = expect(openai.NotFoundError, lambda: chat(model="no-such-model", messages=QUESTION))
    assert error.code == "model_not_found" and model in error.message, error.body
    error = expect(
        openai.BadRequestError, lambda: chat(model=model, messages=QUESTION, temperature=9)
    )
    assert error.param == "temperature" and error.request_id.startswith("req_"), error.body
    expect(openai.BadRequestError, lambda: chat(model=model, messages=[]))
    long = [{"role": "user", "content": "many words " * 50_000}]
    error = expect(openai.BadRequestError, lambda: chat(model=model, messages=long))
    assert error.code == "context_length_exceeded", error.body
    huge = [{"role": "user", "content": "x" * 3_000_000}]
    error = expect(openai.APIStatusError, lambda: chat(model=model, messages=huge))
    assert error.status_code == 413, error


def check_key(client, base_url, model):
    stranger = openai.OpenAI(base_url=base_url, api_key="sk-wrong", max_retries=0)
    error = expect(openai.AuthenticationError, stranger.models.list)
    assert error.code == "invalid_api_key" and "sk-wrong" not in error.message, error.body


def check_full_queue(client, model):
    """Opens streams that nobody reads until the server refuses one."""
    streams = []
    error = None
    for _ in range(200):
        try:
            streams.append(
                client.chat.completions.create(
                    model=model, messages=QUESTION, n=8, stream=True, logprobs=True, top_logprobs=20
                )
            )
        except openai.RateLimitError as refused:
            error = refused
            break
    for stream in streams:
        stream.close()
    assert error is not None, "200 requests for 8 answers each were all accepted"
    assert error.code == "queue_full" and int(error.response.headers["retry-after-ms"]) >= 1000


def main():
    base_url, model = sys.argv[1:3]
    key = sys.argv[3] if len(sys.argv) > 3 else None
    client = openai.OpenAI(base_url=base_url, api_key=key or "none", max_retries=0, timeout=60)
    check_models(client, model)
    check_chat(client, model)
    check_stream(client, model)
    check_abort(client, model)
    check_logprobs(client, model)
    check_completions(client, model)
    check_refusals(client, model)
    if key:
        check_key(client, base_url, model)
    check_full_queue(client, model)
    assert client.with_options(max_retries=5).chat.completions.create(
        model=model, messages=QUESTION, max_tokens=4
    ).choices, "after the rush it answers again"
    print(f"the OpenAI client {openai.__version__} is content")


main()
