"""Answers, streams and failures as clients of Anthropic's format get them."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from handlers import anthropic_answer, anthropic_errors, errors
from handlers.anthropic_stream import EventWriter
from handlers.errors import AddressRefused, Refused
from handlers.rules import InvalidParameter
from providers import errors as vendor
from providers.errors import ProviderError
from providers.types import Usage
from tests.handlers.anthropic_wire import (
    FIELDS,
    JUNK,
    REDACTED,
    SIGNED,
    STREAMED,
    THOUGHT,
    WHOLE,
    WORDS,
    Node,
    call_of,
)
from tests.providers import wire_cases
from tests.providers.calling import codec_of, make_adapter
from tests.providers.wire_cases import Case

EVENTS: Final[TypeAdapter[Any]] = TypeAdapter(RawMessageStreamEvent)


def parsed(events: bytes) -> list[Node]:
    """Events with their names, which must be those of their types."""
    found = []
    for event in events.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        found.append({"event": name.removeprefix("event: "), "data": json.loads(data.removeprefix("data: "))})
        assert found[-1]["event"] == found[-1]["data"]["type"]
    return found


def heard(case: Case, pieces: list[bytes]) -> bytes:
    """What the client gets for the vendor's stream, cut like this."""
    call = call_of(case["anthropic_request"])
    decoder = codec_of(make_adapter("openai")).decoder(call)
    writer, used, events = EventWriter(call), Usage(), b""
    for chunk in [chunk for piece in pieces for chunk in decoder.feed(piece)] + decoder.close():
        events += writer.feed(chunk.data)
        used = chunk.usage or used
    assert decoder.failure is None
    return events + writer.end(used)


def recording(case: Case) -> bytes:
    events = [{"data": chunk} for chunk in case["upstream_chunks"]] + [{"data": "[DONE]"}]
    return wire_cases.stream_bytes(events)


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case["id"])
def test_the_client_is_answered(case: Case) -> None:
    call = call_of(case["anthropic_request"])
    reply = codec_of(make_adapter("openai")).decode(call, json.dumps(case["upstream_response"]).encode())
    assert reply.usage is not None
    message = json.loads(anthropic_answer.message(call, reply.body, reply.usage))
    wire_cases.expect(message, case["anthropic_response"])
    Message.model_validate(message, strict=True)


@pytest.mark.parametrize("case", STREAMED, ids=lambda case: case["id"])
def test_the_stream_is_translated(case: Case) -> None:
    events = parsed(heard(case, [recording(case)]))
    wire_cases.expect(events, case["anthropic_sse"])
    for event in events:
        EVENTS.validate_python(event["data"])


@pytest.mark.parametrize("case", STREAMED, ids=lambda case: case["id"])
def test_the_stream_is_the_same_however_it_is_cut(case: Case) -> None:
    data = recording(case)
    whole = heard(case, [data])

    @given(st.lists(st.integers(0, len(data)), max_size=8).map(sorted))
    def check(cuts: list[int]) -> None:
        ends = [*cuts, len(data)]
        assert heard(case, [data[a:b] for a, b in zip([0, *cuts], ends, strict=True)]) == whole

    check()


def completion(message: Node, finish_reason: Any = "stop") -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish_reason}]}).encode()


def answered(body: bytes, used: Usage | None = None) -> Node:
    message: Node = json.loads(anthropic_answer.message(call_of(FIELDS), body, used or Usage()))
    Message.model_validate(message, strict=True)
    return message


def chunk(finish_reason: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()


def streamed(*chunks: bytes) -> list[Node]:
    writer = EventWriter(call_of(FIELDS))
    return [event["data"] for event in parsed(writer.feed(b"".join(chunks)) + writer.end(Usage()))]


def blocks_of(events: list[Node]) -> list[Node]:
    """The blocks as a client puts them together."""
    blocks: list[Node] = []
    texts: list[str] = []
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append(dict(event["content_block"]))
            texts.append("")
            assert event["index"] == len(blocks) - 1
        elif event["type"] == "content_block_delta":
            (name,) = event["delta"].keys() - {"type"}
            if name == "partial_json":
                texts[event["index"]] += event["delta"][name]
                blocks[event["index"]]["input"] = json.loads(texts[event["index"]])
            else:
                blocks[event["index"]][name] += event["delta"][name]
    starts = [event["type"] for event in events if event["type"].startswith("content_block_st")]
    assert starts == ["content_block_start", "content_block_stop"] * len(blocks)
    return blocks


REASONS: Final = [
    ("stop", "end_turn"),
    ("length", "max_tokens"),
    ("content_filter", "refusal"),
    (None, "end_turn"),
]


@pytest.mark.parametrize(("finish_reason", "stop_reason"), REASONS)
def test_why_an_answer_ended_is_translated(finish_reason: str | None, stop_reason: str) -> None:
    assert answered(completion({"content": "x"}, finish_reason))["stop_reason"] == stop_reason
    assert streamed(chunk(finish_reason, content="x"))[-2]["delta"]["stop_reason"] == stop_reason


def called(arguments: str, **more: Any) -> Node:
    return {"index": 0, "type": "function", "function": {"name": "w", "arguments": arguments}, **more}


def test_who_is_to_run_a_tool_hears_so_whatever_the_host_says() -> None:
    tool_calls = [called("{}", id="c1")]
    assert answered(completion({"tool_calls": tool_calls}, "stop"))["stop_reason"] == "tool_use"
    assert streamed(chunk("stop", tool_calls=tool_calls))[-2]["delta"]["stop_reason"] == "tool_use"
    assert answered(completion({"tool_calls": tool_calls}, "length"))["stop_reason"] == "max_tokens"


def test_arguments_that_are_no_json_are_not_lost() -> None:
    message = answered(completion({"tool_calls": [called('{"city":', id="c1")]}))
    assert message["content"][0]["input"] == {"raw_arguments": '{"city":'}


def test_a_call_without_an_id_gets_one() -> None:
    tool_calls = [called("{}"), {**called("{}"), "index": 1}]
    ids = [block["id"] for block in answered(completion({"tool_calls": tool_calls}))["content"]]
    assert len(set(ids)) == 2 and all(ids)
    assert [block["id"] for block in blocks_of(streamed(chunk(tool_calls=tool_calls)))] == ids


def test_a_refusal_is_explained() -> None:
    details = {"type": "refusal", "category": None, "explanation": "I cannot."}
    message = answered(completion({"content": None, "refusal": "I cannot."}))
    assert (message["stop_reason"], message["stop_details"]) == ("refusal", details)
    events = streamed(chunk(refusal="I "), chunk(refusal="cannot."), chunk("stop"))
    assert blocks_of(events) == message["content"] == []
    delta = events[-2]["delta"]
    assert (delta["stop_reason"], delta["stop_details"]) == ("refusal", details)


def test_what_a_model_thought_comes_first() -> None:
    whole = answered(completion({"content": "Yes.", "reasoning_content": "hm"}))["content"]
    assert whole == [THOUGHT, WORDS]
    pieces = [chunk(reasoning_content="h"), chunk(reasoning_content="m"), chunk(content="Yes.")]
    assert blocks_of(streamed(*pieces)) == whole


def test_signed_thoughts_come_as_they_were_signed() -> None:
    said = {"content": "Yes.", "reasoning_content": "hm", "thinking_blocks": [SIGNED, REDACTED]}
    assert answered(completion(said))["content"] == [SIGNED, REDACTED, WORDS]
    in_pieces = chunk(reasoning_content="hm"), chunk(thinking_blocks=[SIGNED])
    rest = chunk(thinking_blocks=[REDACTED]), chunk(content="Yes.")
    assert blocks_of(streamed(*in_pieces, *rest)) == [SIGNED, REDACTED, WORDS]
    assert blocks_of(streamed(chunk(thinking_blocks=[SIGNED, REDACTED]), *rest[1:])) == [
        SIGNED,
        REDACTED,
        WORDS,
    ]


def test_thoughts_that_are_kept_from_the_client_are_a_signature_alone() -> None:
    events = streamed(chunk(thinking_blocks=[{**SIGNED, "thinking": ""}]))
    assert blocks_of(events) == [{**SIGNED, "thinking": ""}]
    assert [event["delta"]["type"] for event in events[2:3]] == ["signature_delta"]


def test_thinking_between_calls_opens_a_block_of_its_own() -> None:
    events = streamed(
        chunk(reasoning_content="hm"),
        chunk(tool_calls=[called('{"city":"Rome"}', id="c1")]),
        chunk(reasoning_content="hm"),
        chunk(tool_calls=[{**called("", id="c2"), "index": 1}]),
        chunk(content="Yes."),
    )
    call = {"type": "tool_use", "id": "c1", "name": "w", "input": {"city": "Rome"}}
    assert blocks_of(events) == [THOUGHT, call, THOUGHT, {**call, "id": "c2", "input": {}}, WORDS]


def test_a_stream_of_nothing_is_a_message_of_nothing() -> None:
    assert [event["type"] for event in streamed()] == ["message_start", "message_delta", "message_stop"]


def test_input_excludes_what_the_cache_had() -> None:
    used = Usage(120, 15, cached_tokens=90, cache_write_tokens=20, reasoning_tokens=7)
    assert answered(completion({"content": "x"}), used)["usage"] == {
        "input_tokens": 10,
        "cache_read_input_tokens": 90,
        "cache_creation_input_tokens": 20,
        "output_tokens": 15,
        "output_tokens_details": {"thinking_tokens": 7},
    }


@given(JUNK)
def test_no_answer_of_a_host_breaks_the_translation(junk: Any) -> None:
    delta = {
        "content": junk,
        "tool_calls": [junk, {"index": junk, "function": junk}],
        "thinking_blocks": junk,
    }
    answered(completion(delta, junk))
    answered(json.dumps({"choices": junk}).encode())
    streamed(chunk(junk, **delta), b"data: %b\n\n" % json.dumps({"choices": junk}).encode())
    with pytest.raises(ProviderError):
        anthropic_answer.message(call_of(FIELDS), b'{"choices": oh}', Usage())


# Failures


def test_a_failure_is_told_in_anthropics_envelope() -> None:
    answer = anthropic_errors.answer(InvalidParameter("It is bad.", "tools[0]", "invalid_value"), "r1")
    assert answer.status == 400
    assert b"request-id: r1\r\n" in answer.headers
    assert json.loads(answer.body) == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "It is bad.",
            "details": {"error_code": "invalid_value", "param": "tools[0]"},
        },
        "request_id": "r1",
    }


FAILURES: Final[list[tuple[Exception, int, str]]] = [
    (Refused("missing_api_key"), 401, "authentication_error"),
    (Refused("model_not_allowed"), 403, "permission_error"),
    (Refused("method_not_allowed"), 405, "invalid_request_error"),
    (Refused("body_too_large"), 413, "request_too_large"),
    (AddressRefused(1500), 429, "rate_limit_error"),
    (Refused("ledger_full"), 529, "overloaded_error"),
    (ProviderError(vendor.NOT_FOUND, "x"), 404, "not_found_error"),
    (ProviderError(vendor.AUTH, "x"), 502, "api_error"),
    (ProviderError(vendor.TIMEOUT, "x"), 504, "timeout_error"),
    (ProviderError(vendor.OVERLOADED, "x"), 529, "overloaded_error"),
    (ZeroDivisionError(), 500, "api_error"),
]


@pytest.mark.parametrize(("error", "status", "kind"), FAILURES, ids=[kind for _, _, kind in FAILURES])
def test_a_failure_has_the_status_and_type_that_sdks_go_by(error: Exception, status: int, kind: str) -> None:
    answer = anthropic_errors.answer(error, "r1")
    assert (answer.status, json.loads(answer.body)["error"]["type"]) == (status, kind)
    assert errors.answer(error).headers in answer.headers  # Retry-After and x-should-retry are the same
