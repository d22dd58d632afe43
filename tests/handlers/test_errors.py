"""The error table: every failure the rooms can raise -> the documented status, type, code and headers."""

from __future__ import annotations

import json

import pytest

from handlers import errors
from handlers.errors import Refused
from providers import errors as vendor
from providers.errors import ModelNotFound, OperationNotOffered, ProviderError, Unsupported
from store.errors import KeyRefused, StoreUnavailable


def failure(kind: str, **fields: object) -> ProviderError:
    return ProviderError(kind, "said by the vendor", **fields)  # type: ignore[arg-type]


TABLE = [
    (Refused("missing_api_key"), 401, "invalid_request_error", "missing_api_key"),
    (KeyRefused("unknown"), 401, "invalid_request_error", "invalid_api_key"),
    (KeyRefused("inactive"), 401, "invalid_request_error", "inactive_api_key"),
    (KeyRefused("expired"), 401, "invalid_request_error", "expired_api_key"),
    (StoreUnavailable(), 503, "server_error", "store_unavailable"),
    (Refused("model_not_allowed"), 403, "invalid_request_error", "model_not_allowed"),
    (Refused("not_found"), 404, "invalid_request_error", "not_found"),
    (Refused("method_not_allowed"), 405, "invalid_request_error", "method_not_allowed"),
    (Refused("body_too_large"), 413, "invalid_request_error", "request_too_large"),
    (ModelNotFound("x"), 404, "invalid_request_error", "model_not_found"),
    (OperationNotOffered("x", "embeddings"), 400, "invalid_request_error", "operation_not_supported"),
    (Unsupported("tools", "no"), 400, "invalid_request_error", "unsupported_value"),
    (failure(vendor.INVALID_REQUEST, code="bad"), 400, "invalid_request_error", "bad"),
    (failure(vendor.INVALID_REQUEST), 400, "invalid_request_error", None),
    (failure(vendor.AUTH, code="theirs"), 502, "server_error", "upstream_auth_error"),
    (failure(vendor.NOT_FOUND), 404, "invalid_request_error", "model_not_found"),
    (failure(vendor.TIMEOUT), 504, "timeout_error", "upstream_timeout"),
    (failure(vendor.RATE_LIMIT), 429, "rate_limit_error", "upstream_rate_limit"),
    (failure(vendor.OVERLOADED), 503, "server_error", "upstream_overloaded"),
    (failure(vendor.FAILED), 502, "server_error", "upstream_error"),
    (failure(vendor.INCOMPLETE), 502, "server_error", "upstream_incomplete"),
    (RuntimeError("a secret detail"), 500, "server_error", "internal_error"),
]


@pytest.mark.parametrize(("error", "status", "kind", "code"), TABLE, ids=lambda v: str(v)[:40])
def test_a_failure_has_its_row(error: Exception, status: int, kind: str, code: str | None) -> None:
    answer = errors.answer(error)
    body = json.loads(answer.body)["error"]
    assert (answer.status, body["type"], body["code"]) == (status, kind, code)
    assert body["message"]
    assert set(body) == {"message", "type", "param", "code"}
    assert "secret" not in body["message"]


def test_every_kind_of_provider_failure_has_a_row() -> None:
    kinds = {value for name, value in vars(vendor).items() if name.isupper()}
    assert kinds == set(errors.PROVIDER_FAILURES)


def test_the_operator_s_trouble_is_told_in_fixed_words() -> None:
    assert b"said by the vendor" not in errors.answer(failure(vendor.AUTH)).body


def test_a_429_always_says_when_to_come_back_and_never_early() -> None:
    assert b"Retry-After: 1\r\n" in errors.answer(failure(vendor.RATE_LIMIT)).headers
    late = errors.answer(failure(vendor.RATE_LIMIT, retry_after_seconds=6.2))
    assert b"Retry-After: 7\r\n" in late.headers


def test_a_time_out_after_dispatch_is_not_to_be_retried() -> None:
    assert b"x-should-retry: false" in errors.answer(failure(vendor.TIMEOUT)).headers
    assert b"x-should-retry" not in errors.answer(failure(vendor.TIMEOUT, dispatched=False)).headers


def test_a_client_s_words_come_back_short_and_printable() -> None:
    message = json.loads(errors.answer(ModelNotFound("a\r\n\x00" + "b" * 500)).body)["error"]["message"]
    assert "\n" not in message
    assert "\x00" not in message
    assert len(message) < 200


def test_a_lone_surrogate_in_a_message_does_not_break_the_envelope() -> None:
    assert json.loads(errors.answer(Refused("malformed", "odd \ud800 text")).body)


def test_a_failure_in_a_stream_is_one_event() -> None:
    event = errors.event(failure(vendor.INCOMPLETE))
    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2
