"""Gemini's embeddings: one request for each text, vectors of length 1, usage even where none is told."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import pytest

from providers import answers
from providers.errors import ProviderError, Unsupported
from providers.types import EMBEDDINGS, Call, Reply, Usage
from tests.providers.calling import codec_of, encode, make_adapter, make_call, sent

GEMINI = make_adapter("gemini")
CODEC = codec_of(GEMINI, EMBEDDINGS)


def ask(**fields: Any) -> Call:
    return make_call(EMBEDDINGS, **{"model": "gemini-embedding-001", "input": "a", **fields})


def reply(call: Call, *vectors: list[Any], **more: Any) -> Reply:
    body = {"embeddings": [{"values": vector} for vector in vectors], **more}
    return CODEC.decode(call, json.dumps(body).encode())


def test_each_text_is_a_request_of_its_own() -> None:
    call = ask(input=["a", "b"], user="u", task_type="x")
    assert sent("gemini", call) == {
        "requests": [
            {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}} for text in "ab"
        ]
    }
    assert sorted(encode("gemini", call).dropped) == ["task_type", "user"]
    assert encode("gemini", ask(encoding_format="base64")).dropped == ()


@pytest.mark.parametrize("tokens", [[1, 2], [[1], [2]]])
def test_token_numbers_are_refused(tokens: Any) -> None:
    with pytest.raises(Unsupported) as raised:
        encode("gemini", ask(input=tokens))
    assert raised.value.param == "input"


def test_vectors_of_full_size_come_as_they_are() -> None:
    answer = json.loads(reply(ask(), [3.0, 4]).body)
    assert answer["data"] == [{"object": "embedding", "index": 0, "embedding": [3, 4]}]
    assert answer["model"] == "gemini-embedding-001" and answer["object"] == "list"


def test_shortened_vectors_have_length_1() -> None:
    vectors = [
        item["embedding"]
        for item in json.loads(reply(ask(input=["a", "b"], dimensions=3), [1, 2, 3], [0, 0, 0]).body)["data"]
    ]
    assert math.isclose(math.hypot(*vectors[0]), 1) and math.isclose(vectors[0][1] / vectors[0][0], 2)
    assert vectors[1] == [0, 0, 0]


def test_base64_is_the_floats_in_little_endian() -> None:
    vector = [0.1, -2.5, 3e-8, 1 / 3]
    for dimensions in (None, 4):
        floats = json.loads(reply(ask(dimensions=dimensions), vector).body)["data"][0]["embedding"]
        packed = json.loads(reply(ask(dimensions=dimensions, encoding_format="base64"), vector).body)
        assert base64.b64decode(packed["data"][0]["embedding"]) == struct.pack("<4f", *floats)


def test_usage_is_what_is_reported_or_an_estimate_that_says_so() -> None:
    told = reply(ask(), [1.0], usageMetadata={"promptTokenCount": 7})
    assert told.usage == Usage(7)
    assert json.loads(told.body)["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    guessed = reply(ask(input="x" * 36), [1.0])
    assert guessed.usage == Usage(10, source="estimated")
    assert json.loads(guessed.body)["usage"] == {"prompt_tokens": 10, "total_tokens": 10}


@pytest.mark.parametrize("vectors", [[], [[]], [["x"]], [[True]], [None], [[1.0], [1.0]]])
def test_too_few_vectors_or_odd_ones_are_no_answer(vectors: list[Any]) -> None:
    with pytest.raises(ProviderError) as raised:
        reply(ask(), *vectors)
    assert raised.value.retryable


def test_more_texts_than_a_call_takes_are_divided_and_joined_in_their_order() -> None:
    call = ask(input=[f"text {number}" for number in range(250)])
    parts = CODEC.divide(call)
    assert [(part.first_choice, len(part.payload["input"])) for part in parts] == [
        (0, 100),
        (100, 100),
        (200, 50),
    ]
    assert not CODEC.divide(ask(input=["x"] * 100)) and not CODEC.divide(ask(input="x" * 1000))
    replies = [
        reply(part, *([float(part.first_choice or 0) + at] for at in range(len(part.payload["input"]))))
        for part in parts
    ]
    data = json.loads(answers.joined(replies).body)["data"]
    assert [(item["index"], item["embedding"]) for item in data] == [(at, [at]) for at in range(250)]
