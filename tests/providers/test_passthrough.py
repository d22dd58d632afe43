"""Streams of OpenAI's dialect: byte for byte, whole or failed, nothing in between (R-14, R-15, R-17)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.types import COMPLETIONS, Usage
from tests.providers.calling import (
    DONE,
    FINISH,
    asking_call,
    codec_of,
    hear,
    hear_every_way,
    make_adapter,
    make_call,
    stream_call,
)

KIND = "openai_compatible"


def event(**fields: Any) -> bytes:
    return (
        b"data: "
        + json.dumps({"id": "c1", **fields}, separators=(",", ":"), ensure_ascii=False).encode()
        + b"\n\n"
    )


def said(text: str, finish_reason: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return event(choices=[choice], **fields)


ROLE = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
USED = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
USAGE = event(choices=[], usage=USED)
RECORDING = ROLE + said("Grüße 👋") + said(' "usage" [DONE] error') + FINISH + USAGE + DONE


def test_a_usage_chunk_that_nobody_asked_for_is_left_out() -> None:
    heard = hear_every_way(KIND, stream_call(), RECORDING)
    assert heard.body == RECORDING.replace(USAGE, b"")
    assert heard.usage == Usage(5, 7)
    assert heard.done and heard.failure is None


def test_a_client_that_asked_gets_every_byte() -> None:
    heard = hear_every_way(KIND, asking_call(), RECORDING)
    assert heard.body == RECORDING
    assert heard.usage == Usage(5, 7)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_line_ends_of_all_kinds_are_relayed_as_they_came(line_end: bytes) -> None:
    recording = RECORDING.replace(b"\n", line_end)
    heard = hear_every_way(KIND, stream_call(), recording)
    assert heard.body == recording.replace(USAGE.replace(b"\n", line_end), b"")
    assert heard.usage == Usage(5, 7) and heard.done


def test_comments_blank_lines_and_obfuscation_pass() -> None:
    recording = b": OPENROUTER PROCESSING\n\n" + said("a", obfuscation="x1") + b"\n: ping\n\n" + FINISH + DONE
    assert hear_every_way(KIND, stream_call(), recording).body == recording


def test_usage_null_on_every_chunk_is_not_parsed_and_passes() -> None:
    recording = said("a", usage=None) + FINISH + DONE
    heard = hear(KIND, asking_call(), recording)
    assert heard.body == recording and heard.usage is None


def test_usage_on_the_finishing_chunk_stays_there() -> None:
    recording = ROLE + said("", "stop", usage=USED) + DONE
    heard = hear_every_way(KIND, stream_call(), recording)
    assert heard.body == recording and heard.usage == Usage(5, 7)


def test_usage_on_every_chunk_counts_the_last() -> None:
    pieces = [said("a", usage={**USED, "completion_tokens": n, "total_tokens": 5 + n}) for n in (1, 2, 3)]
    heard = hear_every_way(KIND, stream_call(), b"".join(pieces) + FINISH + DONE)
    assert heard.usage == Usage(5, 3)


def test_what_follows_done_is_not_for_the_client() -> None:
    heard = hear(KIND, stream_call(), FINISH + DONE + b"data: more\n\n")
    assert heard.body == FINISH + DONE


@pytest.mark.parametrize(
    "done", [b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", b"data: [DONE]\n", b"data: [DONE]"]
)
def test_done_is_understood_however_it_is_written(done: bytes) -> None:
    heard = hear_every_way(KIND, stream_call(), said("a") + FINISH + done)
    assert heard.done and heard.failure is None
    assert heard.events[-1] == b"[DONE]"


def test_a_missing_done_after_a_finish_is_supplied() -> None:
    heard = hear_every_way(KIND, stream_call(), said("a") + FINISH)
    assert heard.body == said("a") + FINISH + DONE and heard.done


def test_a_finish_is_seen_with_blanks_in_it() -> None:
    finish = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason" : "length"}]}\n\n'
    assert hear(KIND, stream_call(), finish).done


def test_a_last_event_without_its_end_counts_if_it_is_whole() -> None:
    heard = hear_every_way(KIND, stream_call(), said("a") + FINISH.rstrip())
    assert heard.done and heard.events == [said("a")[6:-2], FINISH[6:-2], b"[DONE]"]


@pytest.mark.parametrize("cut", [said("a"), said("a") + said("bcd")[:30], ROLE])
def test_a_stream_that_stops_is_incomplete(cut: bytes) -> None:
    heard = hear_every_way(KIND, stream_call(), cut)
    assert heard.failure is not None and not heard.done
    assert (heard.failure.kind, heard.failure.code) == (errors.INCOMPLETE, "upstream_incomplete")
    assert b"[DONE]" not in heard.body and b"bcd" not in heard.body


def test_an_answer_that_finished_is_whole_though_its_usage_was_cut() -> None:
    heard = hear_every_way(KIND, stream_call(), said("a") + FINISH + USAGE[:40])
    assert heard.body == said("a") + FINISH + DONE and heard.done and heard.usage is None


def test_every_choice_has_to_finish() -> None:
    other = FINISH.replace(b'"index":0', b'"index":1')
    assert hear(KIND, stream_call(n=2), said("a") + FINISH).failure is not None
    assert hear(KIND, stream_call(n=2), said("a") + FINISH + other).done
    many = make_call(COMPLETIONS, stream=True, prompt=["a", "b"])
    assert hear(KIND, many, FINISH).failure is not None
    assert hear(KIND, many, FINISH + other).done
    assert hear(KIND, make_call(COMPLETIONS, stream=True, prompt=[1, 2, 3]), FINISH).done


@pytest.mark.parametrize(
    "nothing",
    [
        b"",
        b": ping\n\n",
        b"\n\n\n",
        b"<html>\n\nno</html>",
        b"event: ping\n\n",
        b"data:\n\n",
        DONE,
        DONE.rstrip(),
    ],
)
def test_an_empty_stream_is_a_failure(nothing: bytes) -> None:
    heard = hear_every_way(KIND, stream_call(), nothing)
    assert heard.failure is not None and heard.failure.kind == errors.FAILED
    assert heard.failure.retryable and not any(heard.events)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (b'data: {"error":{"message":"Boom","code":503}}\n\n', errors.OVERLOADED, "Boom"),
        (b'data: {"error":{"message":"Slow down","code":429}}\n\n', errors.RATE_LIMIT, "Slow down"),
        (
            b'data: {"error":{"message":"Bad","type":"invalid_request_error"}}\n\n',
            errors.INVALID_REQUEST,
            "Bad",
        ),
        (b'data: {"error":"text"}\n\n', errors.FAILED, "text"),
        (b'event: error\ndata: {"message":"Gone"}\n\n', errors.FAILED, "Gone"),
        (b"event: error\r\ndata: no json\r\n\r\n", errors.FAILED, "The provider failed."),
        (b'data: {"error":{"code":402,"message":"pay"},"choices":[]}\n\n', errors.AUTH, None),
        (b'{"error":{"message":"Not a stream","code":400}}', errors.INVALID_REQUEST, "Not a stream"),
        (b'{\n  "error": {"message": "Not a stream"}\n}\n', errors.FAILED, "Not a stream"),
    ],
)
def test_an_error_inside_the_stream_is_a_failure(text: bytes, kind: str, message: str | None) -> None:
    heard = hear_every_way(KIND, stream_call(), text)
    assert heard.failure is not None and heard.failure.kind == kind
    assert message is None or heard.failure.message == message
    assert heard.body == b""


def test_what_came_before_an_error_is_relayed_and_nothing_after() -> None:
    error = b'data: {"error":{"message":"Boom","code":500}}\n\n'
    heard = hear_every_way(KIND, stream_call(), said("a") + error + said("b") + FINISH + DONE)
    assert heard.body == said("a") and heard.failure is not None and not heard.done


@pytest.mark.parametrize(
    "piece", [said("x", error=None), said('"error"'), said("error: [DONE]"), said('\\"usage')]
)
def test_words_inside_the_answer_mean_nothing(piece: bytes) -> None:
    heard = hear_every_way(KIND, stream_call(), piece + FINISH + DONE)
    assert heard.body == piece + FINISH + DONE and heard.usage is None


def test_an_event_beyond_all_bounds_is_a_failure() -> None:
    decoder = codec_of(make_adapter(KIND)).decoder(stream_call())
    for _ in range(17):
        decoder.feed(b"x" * 1024 * 1024)
    assert decoder.failure is not None
    assert decoder.feed(DONE) == [] and decoder.close() == []


def test_a_large_event_passes_byte_for_byte() -> None:
    recording = said("y" * 300_000) + FINISH + DONE
    pieces = [recording[at : at + 4096] for at in range(0, len(recording), 4096)]
    assert hear(KIND, stream_call(), *pieces).body == recording


TEXTS = st.lists(
    st.sampled_from(["usage", '"', "\\", "[DONE]", "error", "{", "}", ":", "é", "\n", "data: "]), max_size=8
)


@given(st.lists(TEXTS.map("".join), max_size=5), st.booleans())
def test_no_content_changes_what_is_relayed(texts: list[str], asks: bool) -> None:
    recording = ROLE + b"".join(said(text) for text in texts) + FINISH + USAGE + DONE
    heard = hear(KIND, asking_call() if asks else stream_call(), recording)
    assert heard.body == (recording if asks else recording.replace(USAGE, b""))
    assert heard.usage == Usage(5, 7) and heard.done


def counted(kind: str, *pieces: bytes) -> int:
    decoder = codec_of(make_adapter(kind)).decoder(stream_call())
    for data in pieces:
        decoder.feed(data)
    decoder.close()
    return decoder.text_bytes


def counted_every_way(kind: str, recording: bytes) -> int:
    """Whole, byte by byte, and cut in two at every place: always the same count."""
    counts = {counted(kind, recording)}
    counts.add(counted(kind, *(recording[at : at + 1] for at in range(len(recording)))))
    counts |= {counted(kind, recording[:at], recording[at:]) for at in range(1, len(recording))}
    assert len(counts) == 1
    return counts.pop()


def thought(text: str, **fields: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": "", "reasoning": text, **fields}}])


ERROR = b'data: {"error":{"message":"no content","content":"Boom","text":"Boom"}}\n\n'
CALLED = event(
    choices=[{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}}]
)
ACROSS = thought("hmm") + said("a\n") + CALLED + said('"b"}', obfuscation="xyz") + said("c", usage=USED)


@pytest.mark.parametrize(
    ("recording", "size"),
    [
        (RECORDING, 12 + 21),
        (RECORDING.replace(b"\n", b"\r\n"), 12 + 21),
        (ACROSS + FINISH + USAGE + DONE, 3 + 2 + 5 + 4 + 1),
        (ACROSS + DONE + said("later"), 15),
        (ACROSS + said("a cut event")[:-20], 15),
        (ACROSS + said("whole")[:-2], 20),
        (ACROSS + ERROR, 15),
        (ERROR + said("later"), 0),
        (b"event: error\n" + said("no answer"), 0),
        (b'{"error":{"content":"Not a stream"}}', 0),
        (USAGE + DONE, 0),
        (b"", 0),
    ],
)
def test_generated_text_is_counted_as_it_passes(recording: bytes, size: int) -> None:
    assert counted_every_way(KIND, recording) == size


@pytest.mark.parametrize("kind", ["groq", "openrouter", "perplexity", KIND])
def test_a_thought_that_a_repair_repeats_counts_once(kind: str) -> None:
    details = [{"type": "reasoning.text", "text": "hmm"}]
    recording = thought("hmm") + thought("why", reasoning_details=details) + said("a") + FINISH + DONE
    assert counted_every_way(kind, recording) == 7


def test_what_is_said_again_in_every_event_counts_once() -> None:
    words = ["one", "onetwo", "onetwothree"]
    choices = [
        {"index": 0, "message": {"role": "assistant", "content": word}, "delta": {"content": word[-3:]}}
        for word in words
    ]
    recording = b"".join(event(choices=[choice], usage=USED) for choice in choices) + FINISH + DONE
    assert counted_every_way("perplexity", recording) == 9
