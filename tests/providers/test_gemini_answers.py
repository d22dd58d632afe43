"""Gemini's answers, whole and streamed: every reason to end, calls with signatures, pieces in any order."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from handlers import errors
from handlers.answering import with_cost
from providers.errors import ProviderError
from providers.gemini_answers import FILTERED, LENGTH, MALFORMED
from providers.types import Call, Usage
from tests.providers.calling import (
    HELLO,
    REQUEST_ID,
    Heard,
    asking_call,
    codec_of,
    hear,
    hear_every_way,
    make_adapter,
    make_call,
    sent,
    stream_call,
)

TOLD = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}


def candidate(*parts: dict[str, Any], reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"role": "model", "parts": list(parts)} if parts else {"role": "model"}
    ending = {} if reason is None else {"finishReason": reason}
    return {"content": content, **ending, **more}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"text": said, **more}


def function(name: str = "f", signature: str = "", **fields: Any) -> dict[str, Any]:
    part: dict[str, Any] = {"functionCall": {"name": name, **fields}}
    return {**part, "thoughtSignature": signature} if signature else part


def event(*candidates: dict[str, Any], **more: Any) -> bytes:
    return (
        b"data: "
        + json.dumps({"candidates": list(candidates), "usageMetadata": TOLD, **more}).encode()
        + b"\r\n\r\n"
    )


def answer(*candidates: dict[str, Any], call: Call | None = None, **more: Any) -> dict[str, Any]:
    body = json.dumps({"candidates": list(candidates), "usageMetadata": TOLD, **more}).encode()
    reply = codec_of(make_adapter("gemini")).decode(call or make_call(), body)
    read: dict[str, Any] = json.loads(reply.body)
    return read


def stream(*events: bytes, call: Call | None = None) -> Heard:
    return hear_every_way("gemini", call or stream_call(), b"".join(events))


def deltas(heard: Heard, index: int = 0) -> list[dict[str, Any]]:
    choices = [choice for payload in heard.payloads for choice in payload["choices"]]
    return [choice["delta"] for choice in choices if choice["index"] == index]


def finishes(heard: Heard) -> dict[int, str]:
    choices = [choice for payload in heard.payloads for choice in payload["choices"]]
    return {choice["index"]: choice["finish_reason"] for choice in choices if choice["finish_reason"]}


# How answers end


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("OTHER", "stop"),
        ("IMAGE_OTHER", "stop"),
        ("NO_IMAGE", "stop"),
        ("SOMETHING_NEW", "stop"),
        *((reason, "length") for reason in sorted(LENGTH)),
        *((reason, "content_filter") for reason in sorted(FILTERED)),
        *((reason, "stop") for reason in sorted(MALFORMED)),
    ],
)
def test_every_reason_to_end_has_a_word(reason: str, finish: str) -> None:
    assert answer(candidate(text("so"), reason=reason))["choices"][0]["finish_reason"] == finish
    heard = stream(event(candidate(text("so"), reason=reason)))
    assert finishes(heard) == {0: finish} and heard.done
    called = finish if finish in ("length", "content_filter") else "tool_calls"
    assert answer(candidate(function(), reason=reason))["choices"][0]["finish_reason"] == called
    assert finishes(stream(event(candidate(function(), reason=None)), event(candidate(reason=reason)))) == {
        0: called
    }


@pytest.mark.parametrize("reason", sorted(MALFORMED))
def test_an_answer_of_which_nothing_can_be_used_is_a_failure_worth_another_attempt(reason: str) -> None:
    broken = candidate(text("hm", thought=True), reason=reason)
    with pytest.raises(ProviderError) as raised:
        answer(broken)
    heard = stream(event(candidate(reason=reason)))
    assert heard.failure is not None and not heard.body
    for failure in (raised.value, heard.failure):
        assert failure.retryable and failure.code == reason.lower()
        assert (failure.amend is not None) is (reason == "MISSING_THOUGHT_SIGNATURE")
        assert errors.answer(failure).status == 502
    after_thoughts = stream(event(candidate(text("hm", thought=True), reason=None)), event(broken))
    assert after_thoughts.failure is not None and not after_thoughts.done
    assert after_thoughts.usage == Usage(5, 3)


def test_one_broken_candidate_does_not_spoil_the_others() -> None:
    broken = candidate(reason="MALFORMED_RESPONSE", index=1)
    choices = answer(candidate(text("a")), broken)["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["a", ""]
    heard = stream(event(candidate(text("a")), broken))
    assert finishes(heard) == {0: "stop", 1: "stop"} and heard.done


def test_a_blocked_prompt_is_refused_in_a_stream_too() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}
    heard = stream(b"data: " + json.dumps(blocked).encode() + b"\n\n")
    assert deltas(heard)[1] == {"refusal": "Blocked by provider: SAFETY"}
    assert finishes(heard) == {0: "content_filter"} and heard.done and heard.usage == Usage(4)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"candidates":[]}', b'{"promptFeedback":{}}', b"[]", b"<html>", b""]
)
def test_nothing_is_no_answer(body: bytes) -> None:
    with pytest.raises(ProviderError) as raised:
        codec_of(make_adapter("gemini")).decode(make_call(), body)
    assert raised.value.retryable


def test_an_error_in_a_200_is_one() -> None:
    with pytest.raises(ProviderError) as raised:
        answer(error={"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"})
    assert errors.answer(raised.value).status == 429


def test_odd_shapes_crash_nothing() -> None:
    odd = [None, 7, "x", [], {}, {"a": 1}]
    for value in odd:
        for place in ("content", "finishReason", "index", "logprobsResult", "finishMessage"):
            assert answer({**candidate(text("a")), place: value})["choices"]
            hear("gemini", stream_call(), event({**candidate(text("a")), place: value}))
        for name in ("text", "functionCall", "inlineData", "thought", "thoughtSignature"):
            answer(candidate({name: value}))
            hear("gemini", stream_call(), event(candidate({name: value})))
        for name in ("usageMetadata", "promptFeedback"):
            answer(candidate(text("a")), **{name: value})
            hear("gemini", stream_call(), event(candidate(text("a")), **{name: value}))


# Streams


def test_candidates_may_interleave_and_each_says_its_role_once() -> None:
    call = stream_call(n=2)
    heard = stream(
        event(candidate(text("b1"), reason=None, index=1)),
        event(candidate(text("a1"), reason=None), candidate(text("b2"), index=1)),
        event(candidate(text("a2"), function(), reason="STOP")),
        call=call,
    )
    role = {"role": "assistant", "content": "", "refusal": None}
    assert deltas(heard, 1) == [role, {"content": "b1"}, {"content": "b2"}, {}]
    assert deltas(heard)[:3] == [role, {"content": "a1"}, {"content": "a2"}]
    assert finishes(heard) == {0: "tool_calls", 1: "stop"} and heard.done


def test_what_follows_the_end_of_a_candidate_is_no_part_of_it() -> None:
    told = {**TOLD, "candidatesTokenCount": 9}
    heard = stream(event(candidate(text("a"))), event(candidate(text("b"))), event(usageMetadata=told))
    assert deltas(heard)[1:] == [{"content": "a"}, {}]
    assert heard.usage == Usage(5, 9)


def test_usage_is_the_last_word_on_each_count_and_has_its_cost_beside_it() -> None:
    first = {"promptTokenCount": 9, "candidatesTokenCount": 1, "cachedContentTokenCount": 4}
    events = (
        event(candidate(text("a"), reason=None), usageMetadata=first),
        event(candidate(text("b")), usageMetadata={"candidatesTokenCount": 2, "promptTokenCount": None}),
    )
    heard = stream(*events, call=asking_call())
    assert heard.usage == Usage(9, 2, cached_tokens=4)
    assert heard.payloads[-1]["usage"]["total_tokens"] == 11
    decoder = codec_of(make_adapter("gemini")).decoder(asking_call())
    decoder.feed(b"".join(events))
    (last,) = decoder.close()
    assert last.usage == heard.usage and b'"cost":0.5' in with_cost(last.data, 500_000_000)


@pytest.mark.parametrize("reason", [None, ""])
def test_a_stream_that_just_stops_is_incomplete(reason: str | None) -> None:
    heard = stream(event(candidate(text("a"), reason=reason)), b'data: {"candidates":[{"content"')
    assert heard.failure is not None and heard.failure.code == "upstream_incomplete" and not heard.done
    assert stream(event()).failure is not None
    one_of_two = stream(event(candidate(text("a")), candidate(text("b"), reason=None, index=1)))
    assert one_of_two.failure is not None


def test_an_event_without_a_line_end_counts_at_the_end_of_the_body() -> None:
    assert stream(event(candidate(text("a"))).rstrip()).done


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_error_in_a_stream_ends_it(wrapped: bool) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}]
    told: Any = {"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": details}}
    frame = b"data: " + json.dumps([told] if wrapped else told).encode() + b"\n\n"
    heard = stream(event(candidate(text("a"), reason=None)), frame)
    assert heard.failure is not None and not heard.done
    assert heard.failure.retry_after_seconds == 3 and deltas(heard)[1] == {"content": "a"}
    assert errors.answer(heard.failure).status == 429


def test_a_part_of_a_call_counts_from_its_first_choice_and_leaves_the_end_to_others() -> None:
    call = asking_call()
    call.first_choice = 5
    heard = hear("gemini", call, event(candidate(text("a"), function())))
    assert {choice["index"] for each in heard.payloads for choice in each["choices"]} == {5}
    assert heard.done and b"[DONE]" not in heard.body and heard.payloads[-1]["choices"]
    whole = answer(candidate(text("a"), function()), call=call)["choices"][0]
    assert whole["index"] == 5
    assert whole["message"]["tool_calls"][0]["id"] == f"call_{REQUEST_ID[2:]}0500"


# What is in an answer


def test_a_picture_is_text_with_a_data_url() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "iVBOR"}}
    sound = {"inlineData": {"mimeType": "audio/wav", "data": "UklG"}}
    shown = "See: ![image](data:image/png;base64,iVBOR)[audio](data:audio/wav;base64,UklG)"
    said = candidate(text("See: "), picture, sound)
    assert answer(said)["choices"][0]["message"]["content"] == shown
    heard = stream(event(said))
    assert "".join(delta.get("content", "") for delta in deltas(heard)) == shown
    decoder = codec_of(make_adapter("gemini")).decoder(stream_call())
    decoder.feed(event(said))
    assert decoder.text_bytes == len("See: ")  # a picture's bytes are no words to be charged for


def test_only_the_first_call_is_kept_where_the_client_wants_one_at_a_time() -> None:
    said = candidate(function("f"), function("g"))
    assert len(answer(said)["choices"][0]["message"]["tool_calls"]) == 2
    call = make_call(parallel_tool_calls=False)
    (kept,) = answer(said, call=call)["choices"][0]["message"]["tool_calls"]
    assert kept["function"] == {"name": "f", "arguments": "{}"}
    heard = stream(event(said), call=stream_call(parallel_tool_calls=False))
    assert [delta["tool_calls"][0]["index"] for delta in deltas(heard) if "tool_calls" in delta] == [0]


def test_calls_without_ids_get_one_each() -> None:
    said = (candidate(function(), function()), candidate(function(), index=1))
    calls = [choice["message"]["tool_calls"] for choice in answer(*said)["choices"]]
    ids = [call["id"] for call in itertools.chain(*calls)]
    assert len(set(ids)) == 3 and all(len(each) <= 40 and each.startswith("call_") for each in ids)


def test_arguments_keep_every_character() -> None:
    arguments = {"city": "Köln \U0001f600 /", "n": 1.5, "half": "\ud800"}
    said = candidate(function(args=arguments))
    for call in (answer(said)["choices"][0]["message"], deltas(stream(event(said)))[1]):
        assert (
            json.loads(call["tool_calls"][0]["function"]["arguments"])
            == said["content"]["parts"][0]["functionCall"]["args"]
        )


def test_log_probabilities_are_shown_by_token() -> None:
    chosen = [{"token": "Hé", "tokenId": 1, "logProbability": -0.25}]
    others = [{"candidates": [*chosen, {"token": "Ha", "logProbability": -2}]}]
    result = {"chosenCandidates": chosen, "topCandidates": others}
    expected = {
        "content": [
            {
                "token": "Hé",
                "logprob": -0.25,
                "bytes": [72, 195, 169],
                "top_logprobs": [
                    {"token": "Hé", "logprob": -0.25, "bytes": [72, 195, 169]},
                    {"token": "Ha", "logprob": -2, "bytes": [72, 97]},
                ],
            }
        ],
        "refusal": None,
    }
    said = candidate(text("Hé"), logprobsResult=result)
    assert answer(said)["choices"][0]["logprobs"] == expected
    heard = stream(event(said))
    shown = [
        choice["logprobs"] for each in heard.payloads for choice in each["choices"] if choice["logprobs"]
    ]
    assert shown == [expected]
    assert answer(candidate(text("a"), logprobsResult={}))["choices"][0]["logprobs"] is None


# A conversation over several turns


def collected(heard: Heard) -> dict[str, Any]:
    """The message that a client puts together from a stream, as OpenAI's SDK does."""
    message: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": []}
    for delta in deltas(heard):
        message["content"] += delta.get("content") or ""
        message["tool_calls"] += [
            {name: value for name, value in call.items() if name != "index"}
            for call in delta.get("tool_calls", ())
        ]
    return message


@pytest.mark.parametrize("streamed", [False, True])
def test_signatures_return_over_three_steps_where_they_came_from(streamed: bool) -> None:
    steps = [
        [text("hm", thought=True), function(id="a", signature="c2ln", args={"x": 1}), function(id="b")],
        [text("Next."), function(id="c", signature="c2lnMg==")],
        [function(id="d", signature="c2lnMw==")],
    ]
    messages: list[dict[str, Any]] = [*HELLO]
    for step in steps:
        said = candidate(*step)
        message = collected(stream(event(said))) if streamed else answer(said)["choices"][0]["message"]
        messages.append(message)
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in message["tool_calls"]
        ]
    contents = sent("gemini", make_call(messages=messages), "gemini-3.8-flash")["contents"]
    returned = [content["parts"] for content in contents if content["role"] == "model"]
    for step, parts in zip(steps, returned, strict=True):
        spoken = [part for part in step if not part.get("thought")]
        for part in spoken:
            if "functionCall" in part:
                part["functionCall"].setdefault("args", {})
        assert parts == spoken
    answered = [
        part["functionResponse"]["id"]
        for content in contents
        for part in content["parts"]
        if "functionResponse" in part
    ]
    assert answered == ["a", "b", "c", "d"]
