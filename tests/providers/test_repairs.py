"""Answers that are nearly OpenAI's are put right, and only for hosts whose row says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import errors
from providers.errors import ProviderError
from providers.types import CHAT, Usage
from providers.vendors import ROWS
from tests.providers.calling import (
    DONE,
    FINISH,
    REQUEST_ID,
    Heard,
    asking_call,
    codec_of,
    hear,
    hear_every_way,
    make_adapter,
    make_call,
    stream_call,
)

KIND = "ollama"  # its row names every repair
NAMES = {"name": "f", "arguments": "{}"}


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def piece(finish_reason: Any = None, index: int = 0, **delta: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return event(id="c1", object="chat.completion.chunk", created=1, model="m", choices=[choice])


def call_piece(**call: Any) -> bytes:
    return piece(tool_calls=[call])


ROLE = piece(role="assistant", content="")


def stream(*events: bytes, kind: str = KIND) -> Heard:
    return hear_every_way(kind, stream_call(), b"".join(events))


def deltas(heard: Heard) -> list[dict[str, Any]]:
    return [choice["delta"] for payload in heard.payloads for choice in payload["choices"]]


def finishes(heard: Heard) -> list[Any]:
    found = [choice["finish_reason"] for payload in heard.payloads for choice in payload["choices"]]
    return [reason for reason in found if reason is not None]


def accumulated_calls(heard: Heard) -> dict[int, dict[str, str]]:
    """Tool calls added up as OpenAI's SDK does it: strings are appended, but for index and type."""
    calls: dict[int, dict[str, str]] = {}
    for delta in deltas(heard):
        for part in delta.get("tool_calls") or ():
            call = calls.setdefault(part["index"], {"id": "", "name": "", "arguments": ""})
            call["id"] += part.get("id") or ""
            for name in ("name", "arguments"):
                call[name] += part["function"].get(name) or ""
    return calls


def test_what_needs_nothing_passes_byte_for_byte() -> None:
    events = [ROLE, piece(content="a"), b": ping\n\n", piece("stop"), DONE]
    assert stream(*events).body == b"".join(events)


def test_pass_through_vendors_are_left_alone() -> None:
    odd = piece("eos", reasoning="hm", tool_calls=[{"id": "x", "function": {"arguments": {}}}])
    assert hear("openai_compatible", stream_call(), odd + DONE).body == odd + DONE


def test_a_missing_role_is_supplied_once() -> None:
    heard = stream(piece(content="a"), piece(content="b"), piece("stop"), DONE)
    assert [delta.get("role") for delta in deltas(heard)] == ["assistant", None, None]


def test_a_repeated_role_is_said_once() -> None:
    heard = stream(piece(role="assistant", content="a"), piece(role="assistant", content="b"), FINISH, DONE)
    assert [delta.get("role") for delta in deltas(heard)] == ["assistant", None, None]


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "h"}, {"text": "m"}, {"id": 1}]},
    ],
)
def test_reasoning_is_also_said_in_the_usual_place(delta: dict[str, Any]) -> None:
    heard = stream(ROLE, piece(**delta), piece("stop"), DONE)
    assert deltas(heard)[1] == {**delta, "reasoning_content": "hm"}


def test_reasoning_in_the_usual_place_is_kept() -> None:
    events = [ROLE, piece(reasoning_content="a", reasoning="b"), piece("stop"), DONE]
    assert stream(*events).body == b"".join(events)


def test_calls_without_an_index_get_one() -> None:
    heard = stream(
        ROLE,
        call_piece(id="a", type="function", function={"name": "f", "arguments": '{"x"'}),
        call_piece(index=None, function={"arguments": ":1}"}),
        call_piece(id="b", function=NAMES),
        DONE,
    )
    assert accumulated_calls(heard) == {
        0: {"id": "a", "name": "f", "arguments": '{"x":1}'},
        1: {"id": "b", "name": "f", "arguments": "{}"},
    }


def test_calls_that_are_all_numbered_zero_are_renumbered() -> None:
    heard = stream(
        ROLE, call_piece(index=0, id="a", function=NAMES), call_piece(index=0, id="b", function=NAMES), DONE
    )
    assert sorted(accumulated_calls(heard)) == [0, 1]


def test_an_id_that_is_repeated_is_said_once() -> None:
    parts = [
        call_piece(index=0, id="a", type="function", function={"name": "f", "arguments": text})
        for text in "{}"
    ]
    heard = stream(ROLE, *parts, DONE)
    assert accumulated_calls(heard) == {0: {"id": "a", "name": "f", "arguments": "{}"}}


def test_arguments_as_an_object_become_text() -> None:
    heard = stream(ROLE, call_piece(index=0, id="a", function={"name": "f", "arguments": {"x": "é"}}), DONE)
    assert accumulated_calls(heard) == {0: {"id": "a", "name": "f", "arguments": '{"x":"é"}'}}


def test_a_call_without_an_id_gets_one() -> None:
    heard = stream(ROLE, call_piece(function=NAMES), DONE)
    assert accumulated_calls(heard)[0]["id"] == f"call_{REQUEST_ID}_0"


def test_ordinary_calls_pass_byte_for_byte() -> None:
    events = [
        ROLE,
        call_piece(index=0, id="a", type="function", function={"name": "f", "arguments": ""}),
        call_piece(index=0, function={"arguments": "{}"}),
        call_piece(index=1, id="b", type="function", function={"name": "g", "arguments": ""}),
        call_piece(index=1, function={"arguments": "{}"}),
        piece("tool_calls"),
        DONE,
    ]
    assert stream(*events).body == b"".join(events)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("model_length", "length"),
        ("max_tokens", "length"),
        ("stop", "stop"),
        ("odd", "odd"),
    ],
)
def test_reasons_to_finish_become_openais(theirs: str, ours: str) -> None:
    assert finishes(stream(ROLE, piece(theirs), DONE)) == [ours]


@pytest.mark.parametrize("reason", ["stop", "eos"])
def test_a_stop_after_calls_is_for_the_calls(reason: str) -> None:
    heard = stream(ROLE, call_piece(index=0, id="a", function=NAMES), piece(reason), DONE)
    assert finishes(heard) == ["tool_calls"]


def test_a_finish_that_never_came_is_supplied_before_done() -> None:
    assert finishes(stream(ROLE, piece("", content="a"), DONE)) == ["stop"]
    heard = stream(ROLE, call_piece(index=0, id="a", function=NAMES), piece(""), DONE)
    assert finishes(heard) == ["tool_calls"] and heard.events[-1] == b"[DONE]"


def test_no_finish_is_supplied_where_the_stream_was_cut() -> None:
    heard = stream(ROLE, piece(content="a"))
    assert heard.failure is not None and heard.failure.kind == errors.INCOMPLETE


@pytest.mark.parametrize(
    ("reason", "kind"), [("error", errors.FAILED), ("insufficient_system_resource", errors.OVERLOADED)]
)
def test_a_finish_that_is_a_failure_is_one(reason: str, kind: str) -> None:
    heard = stream(ROLE, piece(content="a"), piece(reason), DONE)
    assert heard.failure is not None and heard.failure.kind == kind
    assert heard.body == ROLE + piece(content="a")
    with pytest.raises(ProviderError) as caught:
        decode({"choices": [{"message": {}, "finish_reason": reason}]})
    assert caught.value.kind == kind


def test_usage_is_read_and_left_out_as_in_pass_through() -> None:
    usage = event(id="c1", created=1, choices=[], usage={"prompt_tokens": 1, "completion_tokens": 2})
    recording = ROLE + piece("stop") + usage + DONE
    heard = hear(KIND, stream_call(), recording)
    assert heard.usage == Usage(1, 2) and usage not in heard.body
    assert hear(KIND, asking_call(), recording).body == recording


BEGUN = {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": "stop"}]}


def test_created_is_a_whole_number() -> None:
    assert stream(event(id="c1", created=1.5, **BEGUN), DONE).payloads[0]["created"] == 1


@pytest.mark.parametrize("created", [None, "now", -1.5, 1e300])
def test_a_host_without_ids_or_times_gets_the_gateways(created: Any) -> None:
    ours = {"id": f"chatcmpl-{REQUEST_ID}", "created": make_call().created}
    begun, ended = stream(event(created=created, **BEGUN), event(id="", **BEGUN), DONE).payloads
    assert {**begun, **ours} == begun and {**ended, **ours} == ended
    whole = decode({"created": created, "choices": [{"index": 0, "message": {}, "finish_reason": "stop"}]})
    assert {**whole, **ours} == whole


def test_an_answer_has_one_id_and_one_time() -> None:
    heard = stream(event(id="c1", created=7, **BEGUN), event(**BEGUN), DONE)
    assert [(each["id"], each["created"]) for each in heard.payloads] == [("c1", 7), ("c1", 7)]


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": None},
        {"choices": [None, 7]},
        {"choices": [{"index": [], "delta": None}]},
        {
            "choices": [
                {"delta": {"tool_calls": [None, {"function": None, "index": {}}], "reasoning_details": "x"}}
            ]
        },
        {"choices": [{"delta": {}, "finish_reason": ["x"]}]},
        {"choices": {}, "usage": 7, "created": "x"},
        {"x_groq": 7, "choices": []},
        {"choices": [{"delta": {"content": [None, {"thinking": 7}, {"text": 3}]}}]},
    ],
)
@pytest.mark.parametrize("kind", [name for name, row in ROWS.items() if row.repairs])
def test_nonsense_does_no_harm(kind: str, odd: dict[str, Any]) -> None:
    heard = hear(kind, stream_call(), event(**odd) + DONE)
    assert heard.done or heard.failure
    whole = {
        **odd,
        "choices": [
            {"message": choice.get("delta")} for choice in odd["choices"] or () if isinstance(choice, dict)
        ],
    }
    assert codec_of(make_adapter(kind)).decode(make_call(), json.dumps(whole).encode()).body


# Whole answers


def decode(answer: dict[str, Any], kind: str = KIND) -> dict[str, Any]:
    reply = codec_of(make_adapter(kind), CHAT).decode(make_call(), json.dumps(answer).encode())
    repaired: dict[str, Any] = json.loads(reply.body)
    return repaired


def test_a_whole_answer_is_put_right() -> None:
    message = {
        "role": "assistant",
        "content": None,
        "reasoning": "hm",
        "tool_calls": [
            {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
            {"function": {"name": "g", "arguments": ""}},
        ],
    }
    choice = decode({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["reasoning_content"] == "hm"
    assert choice["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": f"call_{REQUEST_ID}_1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_a_whole_answer_that_needs_nothing_keeps_its_bytes() -> None:
    body = (
        b'{ "id":"c1", "created":1, "choices" : [{"message":{"content":"x"},"finish_reason":"stop"}],'
        b' "usage":{"prompt_tokens":1} }'
    )
    reply = codec_of(make_adapter(KIND)).decode(make_call(), body)
    assert reply.body is body and reply.usage == Usage(1)


@pytest.mark.parametrize("reason", ["", None])
@pytest.mark.parametrize("calls", [[], [{"id": "a", "type": "function", "function": NAMES}]])
def test_a_whole_answer_that_does_not_say_why_it_ended(reason: Any, calls: list[Any]) -> None:
    message = {"role": "assistant", "content": "x", **({"tool_calls": calls} if calls else {})}
    choice = decode({"choices": [{"index": 0, "message": message, "finish_reason": reason}]})["choices"][0]
    assert choice["finish_reason"] == ("tool_calls" if calls else "stop")
