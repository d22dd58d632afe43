"""The numbered cases of every dialect, in both directions; see wire_cases.py for what a case is."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers import errors
from tests.providers import wire_cases
from tests.providers.calling import Heard
from tests.providers.wire_cases import Case

CASES: Final = [case for case in wire_cases.cases() if not case.get("inbound")]


def having(*keys: str) -> Any:
    """Parametrised over the cases that show all of this."""
    found = [case for case in CASES if all(key in case for key in keys)]
    return pytest.mark.parametrize("case", found, ids=[f"{case['kind']}-{case['id']}" for case in found])


def hear(case: Case, pieces: list[bytes]) -> Heard:
    call = wire_cases.call_of(case)
    return Heard(wire_cases.codec_of(case).decoder(call), pieces)


@having("openai_request", "upstream_request")
def test_the_vendor_reads(case: Case) -> None:
    path, body = wire_cases.sent(case)
    assert body == case["upstream_request"]
    assert path == case.get("url", path)


@having("upstream_response", "openai_response")
def test_the_client_is_answered(case: Case) -> None:
    wire_cases.expect(wire_cases.answered(case), case["openai_response"])


@having("openai_error")
def test_the_client_is_refused(case: Case) -> None:
    answer, expected = wire_cases.refused(case), case["openai_error"]
    assert answer.status == expected["status"]
    assert json.loads(answer.body) == expected["body"]
    for name, value in expected.get("headers", {}).items():
        assert f"{name}: {value}\r\n".encode() in answer.headers


@having("upstream_sse", "openai_chunks")
def test_the_stream_is_translated(case: Case) -> None:
    recording = wire_cases.stream_bytes(case["upstream_sse"])
    heard = hear(case, [recording])
    wire_cases.expect(wire_cases.merged(heard.payloads), wire_cases.merged(case["openai_chunks"]))
    assert heard.done is case["done"] is heard.body.endswith(b"data: [DONE]\n\n")
    frame = case.get("openai_error_frame")
    told = None if heard.failure is None else json.loads(errors.event(heard.failure)[6:])
    assert told == frame
    for line_end in ("\n", "\r\n", "\r"):
        data = wire_cases.stream_bytes(case["upstream_sse"], line_end)
        assert hear(case, [data[at : at + 1] for at in range(len(data))]).outcome[1:] == heard.outcome[1:]
        split = hear(case, [data[at : at + 7] for at in range(0, len(data), 7)])
        assert wire_cases.merged(split.payloads) == wire_cases.merged(heard.payloads)


@having("upstream_sse", "openai_chunks")
def test_the_stream_is_the_same_however_it_is_cut(case: Case) -> None:
    recording = wire_cases.stream_bytes(case["upstream_sse"])
    whole = hear(case, [recording])

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers(0, len(recording)), max_size=8).map(sorted))
    def check(cuts: list[int]) -> None:
        ends = [*cuts, len(recording)]
        pieces = [recording[start:end] for start, end in zip([0, *cuts], ends, strict=True)]
        assert hear(case, pieces).outcome == whole.outcome

    check()
