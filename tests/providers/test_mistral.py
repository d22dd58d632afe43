"""Mistral: closed lists of fields, short ids, content in parts, embeddings as floats only."""

from __future__ import annotations

import json

import pytest

from providers.errors import Unsupported
from providers.types import EMBEDDINGS, Usage
from tests.providers.calling import (
    DONE,
    FINISH,
    HELLO,
    codec_of,
    encode,
    hear_every_way,
    make_adapter,
    make_call,
    sent,
    stream_call,
)


def test_mistral_gets_its_own_fields_only() -> None:
    call = make_call(
        max_completion_tokens=9,
        seed=1,
        user="u",
        store=True,
        logit_bias={},
        verbosity="low",
        service_tier="flex",
        temperature=2,
        top_k=3,
        evil_field=1,
        reasoning_effort="medium",
        tools=[{"type": "function", "function": {"name": "f"}}],
        **{"a\r\nX-Evil: b": 1},
    )
    request = encode("mistral", call)
    assert json.loads(request.body) == {
        "model": "some-model",
        "messages": HELLO,
        "max_tokens": 9,
        "random_seed": 1,
        "temperature": 1.5,
        "top_k": 3,
        "reasoning_effort": "high",
        "tools": call.payload["tools"],
    }
    assert sorted(request.dropped) == [
        "evil_field", "logit_bias", "service_tier", "store", "temperature", "user", "verbosity",
    ]  # fmt: skip


def test_mistrals_messages_are_strict_too() -> None:
    messages = [
        {"role": "developer", "content": "d", "name": "n"},
        {"role": "user", "content": "u", "name": "n", "x": 1},
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [
                {
                    "id": "call_long_id_1",
                    "type": "function",
                    "index": 0,
                    "function": {"name": "f", "arguments": "{}"},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_long_id_1", "name": "f", "content": "r"},
        {"role": "assistant", "content": "half"},
    ]
    request = encode("mistral", make_call(messages=messages))
    assert request.dropped == ("messages.name",)
    read = json.loads(request.body)["messages"]
    short = read[2]["tool_calls"][0]["id"]
    assert len(short) == 9 and short.isalnum() and read[3]["tool_call_id"] == short
    assert read == [
        {"role": "system", "content": "d"},
        {"role": "user", "content": "u"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": short, "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": short, "name": "f", "content": "r"},
        {"role": "assistant", "content": "half", "prefix": True},
    ]
    assert "tool_calls" not in messages[3] and messages[0]["role"] == "developer"


def test_mistral_keeps_its_own_ids() -> None:
    message = {"role": "tool", "tool_call_id": "aB3456789", "content": "r"}
    assert sent("mistral", make_call(messages=[message]))["messages"] == [message]


def test_mistral_has_no_custom_tools() -> None:
    with pytest.raises(Unsupported) as caught:
        encode("mistral", make_call(tools=[{"type": "custom", "custom": {"name": "x"}}]))
    assert caught.value.param == "tools"


THOUGHTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
    {"type": "text", "text": "yes"},
]


def test_mistrals_thoughts_are_put_apart() -> None:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": THOUGHTS},
        "finish_reason": "model_length",
    }
    reply = codec_of(make_adapter("mistral")).decode(make_call(), json.dumps({"choices": [choice]}).encode())
    assert json.loads(reply.body)["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "yes", "reasoning_content": "hm"},
        "finish_reason": "length",
    }
    piece = {"id": "c1", "choices": [{"index": 0, "delta": {"content": THOUGHTS[:1]}, "finish_reason": None}]}
    heard = hear_every_way(
        "mistral", stream_call(), b"data: " + json.dumps(piece).encode() + b"\n\n" + FINISH + DONE
    )
    assert heard.payloads[0]["choices"][0]["delta"] == {"content": None, "reasoning_content": "hm"}


def test_mistrals_embeddings() -> None:
    call = make_call(EMBEDDINGS, input=["x"], encoding_format="base64", dimensions=2, user="u")
    request = encode("mistral", call)
    assert json.loads(request.body) == {"model": "some-model", "input": ["x"], "output_dimension": 2}
    assert request.dropped == ("user",)
    answer = {
        "data": [{"index": 0, "embedding": [1.0, -0.5]}],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
    codec = codec_of(make_adapter("mistral"), EMBEDDINGS)
    reply = codec.decode(call, json.dumps(answer).encode())
    assert json.loads(reply.body)["data"][0]["embedding"] == "AACAPwAAAL8=" and reply.usage == Usage(1)
    as_floats = make_call(EMBEDDINGS, input=["x"])
    body = json.dumps(answer).encode()
    assert codec.decode(as_floats, body).body is body
