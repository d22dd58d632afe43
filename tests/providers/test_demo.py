"""The demo provider answers every operation, says what it is, and keeps to what it is asked."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import pytest

from providers import sse
from providers.demo import DemoAdapter
from providers.errors import Unsupported
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS, ProviderSpec, Usage
from providers.vendors import ROWS
from tests.providers.calling import REQUEST_ID, make_call

TOOLS = [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}]


def adapter() -> DemoAdapter:
    return DemoAdapter(ProviderSpec("demo", "demo"), ROWS["demo"], clock=lambda: 1700000000.5)


def answer(operation: str = CHAT, **fields: Any) -> dict[str, Any]:
    reply = adapter().answer(make_call(operation, **{"model": "demo-echo", **fields}))
    answered: dict[str, Any] = json.loads(reply.body)
    return answered


def stream(operation: str = CHAT, **fields: Any) -> tuple[list[dict[str, Any]], Usage | None]:
    """The chunks before [DONE], and the usage told to the gateway."""
    call = make_call(operation, stream=True, **{"model": "demo-echo", **fields})
    chunks = list(adapter().stream(call))
    events = sse.events(b"".join(chunk.data for chunk in chunks))
    assert events.pop() == b"[DONE]"
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(usages) == 1
    return [json.loads(event) for event in events], usages[0]


def said(chunks: list[dict[str, Any]], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_it_is_local_and_offers_everything() -> None:
    assert adapter().local
    assert all(adapter().offers(operation) for operation in (CHAT, COMPLETIONS, EMBEDDINGS))
    assert not adapter().offers("images")


def test_it_says_what_it_is_and_what_it_heard() -> None:
    answered = answer(messages=[{"role": "user", "content": "no"}, {"role": "user", "content": "Hello  you"}])
    text = answered["choices"][0]["message"]["content"]
    assert (
        "demo model" in text and "no provider is configured" in text and text.endswith("You said: Hello  you")
    )
    assert answered["choices"][0]["finish_reason"] == "stop"
    assert {name: answered[name] for name in ("id", "object", "created", "model")} == {
        "id": "chatcmpl-" + REQUEST_ID,
        "object": "chat.completion",
        "created": 1700000000,
        "model": "demo-echo",
    }
    assert "tool_calls" not in answered["choices"][0]["message"]


def test_tokens_are_words() -> None:
    answered = answer(
        messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": "one two"}]
    )
    words = len(answered["choices"][0]["message"]["content"].split())
    assert answered["usage"] == {"prompt_tokens": 4, "completion_tokens": words, "total_tokens": 4 + words}


def test_a_stream_says_the_same_word_by_word() -> None:
    messages = [{"role": "user", "content": "some  words\nhere"}]
    chunks, usage = stream(messages=messages)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert said(chunks) == answer(messages=messages)["choices"][0]["message"]["content"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]][-2:] == [
        None,
        "stop",
    ]
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)
    assert usage is not None and usage.output_tokens == len(chunks) - 2


def test_usage_comes_last_where_it_was_asked_for() -> None:
    chunks, usage = stream(stream_options={"include_usage": True})
    assert usage is not None and chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == usage.output_tokens
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_several_choices() -> None:
    assert [choice["index"] for choice in answer(n=3)["choices"]] == [0, 1, 2]
    chunks, _ = stream(n=2)
    assert said(chunks, 0) == said(chunks, 1) != ""


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_bound_on_tokens(name: str) -> None:
    answered = answer(**{name: 3})
    assert answered["choices"][0]["finish_reason"] == "length"
    assert answered["usage"]["completion_tokens"] == 3
    assert len(answered["choices"][0]["message"]["content"].split()) == 3


def test_it_stops_where_it_is_told_to() -> None:
    assert answer(stop="demo")["choices"][0]["message"]["content"] == "This is Rooya's "
    assert answer(stop=["model", "demo", ""])["choices"][0]["message"]["content"] == "This is Rooya's "


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ({"type": "function", "function": {"name": "g"}}, "g"),
        ("required", "f"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": TOOLS[1:]}}, "g"),
    ],
)
def test_a_forced_call_is_made(choice: Any, name: str) -> None:
    made = answer(tools=TOOLS, tool_choice=choice)["choices"][0]
    call = {"id": "call_" + REQUEST_ID, "type": "function", "function": {"name": name, "arguments": "{}"}}
    assert made["message"]["tool_calls"] == [call] and made["message"]["content"] is None
    assert made["finish_reason"] == "tool_calls"
    chunks, _ = stream(tools=TOOLS, tool_choice=choice)
    pieces = [piece for chunk in chunks for piece in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert "".join(piece["function"]["arguments"] for piece in pieces) == "{}"
    assert pieces[0]["id"] == "call_" + REQUEST_ID and pieces[0]["function"]["name"] == name


@pytest.mark.parametrize(
    "choice", ["auto", "none", None, {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}]
)
def test_a_choice_left_open_is_no_call(choice: Any) -> None:
    assert answer(tools=TOOLS, tool_choice=choice)["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
def test_json_is_json(kind: str) -> None:
    text = answer(response_format={"type": kind})["choices"][0]["message"]["content"]
    assert "demo model" in json.loads(text)["demo"]


def test_legacy_completions() -> None:
    answered = answer(COMPLETIONS, prompt=["a", "b"], n=2)
    assert answered["object"] == "text_completion" and answered["id"] == "cmpl-" + REQUEST_ID
    assert [choice["index"] for choice in answered["choices"]] == [0, 1, 2, 3]
    chunks, _ = stream(COMPLETIONS, prompt="a")
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks).endswith("You said: a")
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("prompt", [None, "", [], [1, 2], [[1], [2]], ["a"]])
def test_prompts_of_all_kinds(prompt: Any) -> None:
    assert answer(COMPLETIONS, prompt=prompt)["object"] == "text_completion"


def test_embeddings_are_the_same_in_both_encodings() -> None:
    floats = answer(EMBEDDINGS, input=["a", "b", "a"], dimensions=8)["data"]
    coded = answer(EMBEDDINGS, input=["a", "b", "a"], dimensions=8, encoding_format="base64")["data"]
    assert [struct.unpack("<8f", base64.b64decode(row["embedding"])) for row in coded] == [
        tuple(row["embedding"]) for row in floats
    ]
    assert floats[0]["embedding"] == floats[2]["embedding"] != floats[1]["embedding"]
    assert math.isclose(math.hypot(*floats[0]["embedding"]), 1, rel_tol=1e-5)
    assert [row["index"] for row in floats] == [0, 1, 2]


def test_embeddings_count_and_keep_their_bounds() -> None:
    answered = answer(EMBEDDINGS, input="one two")
    assert len(answered["data"][0]["embedding"]) == 256
    assert answered["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    assert len(answer(EMBEDDINGS, input=[[1, 2], [3]])["data"]) == 2
    for fields in ({"input": "x", "dimensions": 100_000}, {"input": ["x"] * 2048, "dimensions": 3072}):
        with pytest.raises(Unsupported):
            answer(EMBEDDINGS, **fields)


def test_a_long_speech_is_not_repeated_in_full() -> None:
    answered = answer(messages=[{"role": "user", "content": "x" * 1_000_000}], n=128)
    assert len(json.dumps(answered)) < 500_000


def test_parts_that_are_no_text() -> None:
    parts = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "https://x.example"}},
    ]
    text = answer(messages=[{"role": "user", "content": parts}])["choices"][0]["message"]["content"]
    assert text.endswith("You said: see [part]")
