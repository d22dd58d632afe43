"""DeepSeek: thinking, its way back, and schemas in words."""

from __future__ import annotations

import json

import pytest

from providers.errors import ProviderError
from tests.providers.calling import HELLO, codec_of, encode, make_adapter, make_call, sent


def test_deepseek_thinks_unless_told_not_to() -> None:
    fields = sent("deepseek", make_call(reasoning_effort="none"))
    assert fields["thinking"] == {"type": "disabled"} and "reasoning_effort" not in fields
    call = make_call(temperature=0.5)
    assert encode("deepseek", call).body is call.body


@pytest.mark.parametrize(
    ("effort", "theirs"),
    [
        ("minimal", "low"),
        ("low", "low"),
        ("medium", "high"),
        ("high", "high"),
        ("xhigh", "high"),
        ("max", "max"),
        ("default", None),
    ],
)
def test_deepseek_has_three_efforts(effort: str, theirs: str | None) -> None:
    request = encode("deepseek", make_call(reasoning_effort=effort))
    assert json.loads(request.body).get("reasoning_effort") == theirs and request.dropped == ()


ANSWER = b'{"id":"c1","created":1,"choices":[{"message":{"content":"\\n: x"},"finish_reason":"stop"}]}'


@pytest.mark.parametrize(
    "waiting", [b"", b"\n\n\n", b": keep-alive\n\n: keep-alive\n\n", b":\r\n\r\n\t\n", b" \n: {}\n"]
)
def test_deepseeks_lines_before_an_answer_are_no_part_of_it(waiting: bytes) -> None:
    codec = codec_of(make_adapter("deepseek"))
    assert codec.decode(make_call(), waiting + ANSWER).body == ANSWER
    with pytest.raises(ProviderError):
        codec.decode(make_call(), waiting)


def test_deepseeks_calls_come_back_with_their_reasoning() -> None:
    assistant = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "a", "type": "function", "function": {}}],
    }
    messages = [*HELLO, assistant, {"role": "tool", "tool_call_id": "a", "content": "r"}]
    assert sent("deepseek", make_call(messages=messages))["messages"][1]["reasoning_content"] == " "
    kept = [*HELLO, {**assistant, "reasoning_content": "because"}]
    assert sent("deepseek", make_call(messages=kept))["messages"][1]["reasoning_content"] == "because"
    silent = sent("deepseek", make_call(messages=messages, reasoning_effort="none"))
    assert "reasoning_content" not in silent["messages"][1]


def test_deepseek_is_told_of_a_schema_in_words() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "x": 1}}}
    request = encode("deepseek", make_call(response_format=wanted))
    fields = json.loads(request.body)
    assert fields["response_format"] == {"type": "json_object"}
    assert '{"type":"object","x":1}' in fields["messages"][0]["content"] and fields["messages"][1:] == HELLO
    assert request.dropped == ("response_format.json_schema",)
