"""Which chat calls go by way of OpenAI's Responses, and what the numbered cases do not show of them."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from providers import errors
from providers.adapter import Codec
from providers.errors import ProviderError, Unsupported
from providers.responses import ResponsesCodec
from providers.types import Call, ProviderSpec
from tests.providers.calling import HELLO, SECRET, Heard, make_adapter, make_call, make_target

FUNCTION: Final = {"type": "function", "function": {"name": "f"}}
CUSTOM: Final = {"type": "custom", "custom": {"name": "c"}}
SLOW: Final = {"code": "rate_limit_exceeded", "message": "slow down"}
BASE_URL: Final = "https://api.openai.com/v1"


def codec_of(call: Call, kind: str = "openai", base_url: str = BASE_URL) -> Codec:
    adapter = make_adapter(kind, base_url)
    codec = adapter.codec_for(call, make_target(adapter, call, base_url=base_url))
    assert codec is not None
    return codec


def goes_apart(model: str, effort: str | None, tools: list[Any] | None, **more: Any) -> bool:
    fields: dict[str, Any] = {"model": model, **more}
    if effort is not None:
        fields["reasoning_effort"] = effort
    if tools is not None:
        fields["tools"] = tools
    return isinstance(codec_of(make_call(**fields)), ResponsesCodec)


@pytest.mark.parametrize(
    "model", ["gpt-5.6", "gpt-5.6-mini", "gpt-6-sol", "gpt-6.1-terra", "ft:gpt-6-luna:x", "gpt-7"]
)
def test_the_newest_take_functions_only_apart_unless_they_do_not_reason(model: str) -> None:
    assert [goes_apart(model, effort, [FUNCTION]) for effort in (None, "low", "xhigh", "none")] == [
        True,
        True,
        True,
        False,
    ]
    assert not goes_apart(model, None, None) and not goes_apart(model, "high", [CUSTOM])
    assert goes_apart(model, None, None, functions=[{"name": "f"}])


@pytest.mark.parametrize(
    ("model", "is_apart"), [("gpt-5.2", True), ("gpt-5.4-mini", True), ("gpt-5.1", False)]
)
def test_older_ones_do_so_only_when_an_effort_is_asked_for(model: str, is_apart: bool) -> None:
    assert not goes_apart(model, None, [FUNCTION]) and not goes_apart(model, "none", [FUNCTION])
    assert goes_apart(model, "low", [FUNCTION]) is is_apart


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5", "gpt-5-mini", "gpt-5.5", "o3", "gpt-5.3-chat-latest"])
def test_the_others_do_not(model: str) -> None:
    assert not goes_apart(model, "low", [FUNCTION])


def test_azures_older_addresses_have_no_responses() -> None:
    call = make_call(model="gpt-6-sol", tools=[FUNCTION])
    newer, older = "https://x.openai.azure.com/openai/v1", "https://x.openai.azure.com"
    assert isinstance(codec_of(call, "azure", newer), ResponsesCodec)
    assert not isinstance(codec_of(call, "azure", older), ResponsesCodec)


def test_hints_without_a_word_there_are_named_and_several_answers_are_several_requests() -> None:
    call = make_call(
        model="gpt-6-sol", tools=[FUNCTION], seed=1, stop="x", temperature=0.5, logit_bias={"1": 1}
    )
    adapter = make_adapter("openai", BASE_URL)
    request = codec_of(call).encode(call, make_target(adapter, call, base_url=BASE_URL))
    assert sorted(request.dropped) == ["logit_bias", "seed", "stop", "temperature"]
    assert request.endpoint.head.startswith(b"POST /v1/responses ")
    parts = codec_of(call).divide(make_call(model="gpt-6-sol", tools=[FUNCTION], n=3))
    assert [(part.first_choice, "n" in part.payload) for part in parts] == [
        (0, False),
        (1, False),
        (2, False),
    ]


def test_recordings_are_refused() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
    call = make_call(model="gpt-6-sol", tools=[FUNCTION], messages=[{"role": "user", "content": [sound]}])
    adapter = make_adapter("openai", BASE_URL)
    with pytest.raises(Unsupported):
        codec_of(call).encode(call, make_target(adapter, call, base_url=BASE_URL))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", errors.FAILED),
        (b"<html>", errors.FAILED),
        (b"[]", errors.FAILED),
        (b'{"output": 1}', errors.FAILED),
        (b'{"error": {"message": "no", "code": "rate_limit_exceeded"}}', errors.RATE_LIMIT),
        (b'{"output": [], "error": {"message": "no", "code": "server_error"}}', errors.FAILED),
    ],
)
def test_what_is_no_answer_is_a_failure(body: bytes, kind: str) -> None:
    call = make_call(model="gpt-6-sol", tools=[FUNCTION])
    with pytest.raises(ProviderError) as caught:
        codec_of(call).decode(call, body)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow down"},
        {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "slow down"}},
        {
            "type": "response.failed",
            "response": {"error": {"code": "rate_limit_exceeded", "message": "slow down"}},
        },
    ],
)
def test_an_error_in_a_stream_says_what_it_is(event: dict[str, Any]) -> None:
    call = make_call(model="gpt-6-sol", tools=[FUNCTION], stream=True, messages=HELLO)
    data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
    failure = Heard(codec_of(call).decoder(call), [data]).failure
    assert failure is not None and (failure.kind, failure.message) == (errors.RATE_LIMIT, "slow down")


def test_a_stream_without_an_event_is_no_answer() -> None:
    call = make_call(model="gpt-6-sol", tools=[FUNCTION], stream=True)
    for pieces in ([], [b": keep-alive\n\n"], [b"<html>"]):
        failure = Heard(codec_of(call).decoder(call), pieces).failure
        assert failure is not None and failure.kind == errors.FAILED


def test_odd_items_are_left_out() -> None:
    call = make_call(model="gpt-6-sol", tools=[FUNCTION])
    items = [
        None,
        1,
        {},
        {"type": "message"},
        {"type": "message", "content": [{"type": "x"}, 5]},
        {"type": "y"},
    ]
    body = json.dumps({"output": items, "status": "completed", "usage": None}).encode()
    reply = codec_of(call).decode(call, body)
    assert json.loads(reply.body)["choices"][0]["message"]["content"] == "" and reply.usage is None


def test_no_secret_is_in_a_repr() -> None:
    adapter = make_adapter("openai", BASE_URL)
    call = make_call(model="gpt-6-sol", tools=[FUNCTION])
    request = codec_of(call).encode(call, make_target(adapter, call, base_url=BASE_URL))
    assert SECRET not in repr(request) + repr(ProviderSpec("x", "openai", None, (SECRET,)))
