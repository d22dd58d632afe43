"""Legacy completions of models that only chat: the request, the answer, the stream, several prompts."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from providers.errors import Unsupported
from providers.types import COMPLETIONS, Call
from tests.providers.calling import (
    DONE,
    REQUEST_ID,
    codec_of,
    encode,
    hear,
    hear_every_way,
    make_adapter,
    make_call,
    make_target,
    sent,
)

ANSWER: Final = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": " a time"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
HEAD: Final = {"id": f"cmpl-{REQUEST_ID}", "object": "text_completion", "model": "some-model"}
USAGE: Final = b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}'
RECORDING: Final = (
    b'data: {"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
    b'data: {"id":"x","choices":[{"index":0,"delta":{"content":" a"},"finish_reason":null}]}\n\n'
    b'data: {"id":"x","choices":[{"index":0,"delta":{"content":" time"},"finish_reason":"stop"}],%b}\n\n'
    % USAGE
) + DONE


def complete(**fields: Any) -> Call:
    return make_call(COMPLETIONS, **{"prompt": "Once upon", **fields})


def answered(call: Call) -> dict[str, Any]:
    codec = codec_of(make_adapter("mistral"), COMPLETIONS)
    answer: dict[str, Any] = json.loads(codec.decode(call, json.dumps(ANSWER).encode()).body)
    return answer


def texts(payloads: list[dict[str, Any]]) -> list[str]:
    return [choice["text"] for payload in payloads for choice in payload["choices"]]


def test_the_prompt_is_a_message() -> None:
    body = sent("mistral", complete(temperature=0.5, stop=["."]))
    assert body["messages"] == [{"role": "user", "content": "Once upon"}]
    assert (body["temperature"], body["stop"], body["max_tokens"]) == (0.5, ["."], 16)
    assert "prompt" not in body


def test_a_cap_of_ones_own_holds() -> None:
    assert sent("mistral", complete(max_tokens=99))["max_tokens"] == 99


def test_what_has_no_word_is_refused_and_what_is_a_hint_is_named() -> None:
    for fields in ({"suffix": "."}, {"best_of": 3, "n": 2}, {"prompt": [1, 2]}, {"prompt": [[1], [2]]}):
        with pytest.raises(Unsupported) as caught:
            encode("mistral", complete(**fields))
        assert caught.value.param == next(iter(fields))
    assert encode("mistral", complete(logprobs=2)).dropped == ("logprobs",)
    assert encode("mistral", complete(suffix="", best_of=1)).dropped == ()


def test_the_answer_is_its_text() -> None:
    answer = answered(complete())
    assert {name: answer[name] for name in HEAD} == HEAD
    assert answer["choices"] == [{"text": " a time", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert answer["usage"] == ANSWER["usage"]


def test_an_echo_goes_before_the_answer() -> None:
    assert answered(complete(echo=True))["choices"][0]["text"] == "Once upon a time"
    assert texts(hear("mistral", complete(echo=True, stream=True), RECORDING).payloads) == [
        "Once upon",
        " a",
        " time",
    ]


def test_a_stream_is_translated_however_it_is_cut() -> None:
    heard = hear_every_way("mistral", complete(stream=True), RECORDING)
    assert texts(heard.payloads) == [" a", " time"]
    assert heard.payloads[-1]["choices"][0]["finish_reason"] == "stop"
    assert all({name: payload[name] for name in HEAD} == HEAD for payload in heard.payloads)
    assert heard.done and heard.body.endswith(DONE)
    assert heard.usage is not None and heard.usage.output_tokens == 2


def test_a_stream_that_is_cut_fails() -> None:
    heard = hear("mistral", complete(stream=True), RECORDING[:300])
    assert heard.failure is not None and heard.failure.code == "upstream_incomplete"


def test_several_prompts_are_several_calls() -> None:
    codec = codec_of(make_adapter("mistral"), COMPLETIONS)
    assert codec.divide(complete()) == codec.divide(complete(prompt=["one"])) == []
    parts = codec.divide(complete(prompt=["one", "two"], n=3))  # Mistral knows n
    assert [(part.payload["prompt"], part.payload["n"], part.first_choice) for part in parts] == [
        ("one", 3, 0),
        ("two", 3, 3),
    ]


def test_a_parts_stream_counts_on_and_does_not_end_the_whole() -> None:
    codec = codec_of(make_adapter("mistral"), COMPLETIONS)
    call = complete(prompt=["one", "two"], stream=True, stream_options={"include_usage": True})
    decoder = codec.decoder(codec.divide(call)[1])
    body = b"".join(chunk.data for chunk in decoder.feed(RECORDING))
    assert decoder.done and b"[DONE]" not in body and body.count(b'"index":1') == 2
    assert codec.ending(call, None) == DONE


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gpt-3.5-turbo-instruct", b"/completions"),
        ("davinci-002", b"/completions"),
        ("gpt-4o", b"/chat/completions"),
        ("gpt-6-sol", b"/chat/completions"),
    ],
)
def test_openais_chat_models_complete_by_their_chat(model: str, path: bytes) -> None:
    adapter, call = make_adapter("openai"), complete(model=model)
    target = make_target(adapter, call, base_url="https://api.openai.com/v1")
    codec = adapter.codec_for(call, target)
    assert codec is not None
    assert codec.encode(call, target).endpoint.head.startswith(b"POST /v1" + path + b" ")
