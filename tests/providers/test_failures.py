"""A vendor's refusals, status by status and shape by shape (R-20, wire table of errors)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import errors
from providers.errors import ProviderError
from tests.providers.calling import SECRET, make_adapter

JSON_BODY = b'{"error":{"message":"Words","type":"t","param":"p","code":"c"}}'

STATUSES = [
    (400, errors.INVALID_REQUEST, False),
    (401, errors.AUTH, True),
    (402, errors.AUTH, True),
    (403, errors.AUTH, True),
    (404, errors.NOT_FOUND, False),
    (405, errors.INVALID_REQUEST, False),
    (408, errors.TIMEOUT, True),
    (409, errors.INVALID_REQUEST, False),
    (413, errors.INVALID_REQUEST, False),
    (422, errors.INVALID_REQUEST, False),
    (429, errors.RATE_LIMIT, True),
    (498, errors.INVALID_REQUEST, False),
    (500, errors.FAILED, True),
    (501, errors.FAILED, True),
    (502, errors.FAILED, True),
    (503, errors.OVERLOADED, True),
    (504, errors.TIMEOUT, True),
    (520, errors.FAILED, True),
    (529, errors.OVERLOADED, True),
    (302, errors.FAILED, True),
    (204, errors.FAILED, True),
]


def fail(
    status: int, body: bytes = JSON_BODY, kind: str = "openai_compatible", **headers: str
) -> ProviderError:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return make_adapter(kind).error(status, named, body)


@pytest.mark.parametrize(("status", "kind", "retryable"), STATUSES)
def test_a_status_means_a_kind_of_failure(status: int, kind: str, retryable: bool) -> None:
    failure = fail(status)
    assert (failure.kind, failure.retryable, failure.status) == (kind, retryable, status)
    assert failure.dispatched


@pytest.mark.parametrize("status", [row[0] for row in STATUSES])
@pytest.mark.parametrize(
    "body", [b"", b"<html>Words</html>", b"Words", b"{", b"[]", b"null", b"\xff\xfe", b'"Words"']
)
def test_what_is_no_json_object_is_never_repeated(status: int, body: bytes) -> None:
    failure = fail(status, body)
    assert failure.message and "html" not in failure.message and "\xff" not in failure.message
    assert failure.code is None and failure.param is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "Words"}}, "Words"),
        ({"error": "Words"}, "Words"),
        ({"error": "Words", "code": "Some words of xAI"}, "Words"),
        ({"message": "Words"}, "Words"),
        ({"detail": "Words"}, "Words"),
        ({"detail": [{"loc": ["body", "n"], "msg": "Words"}]}, "body.n: Words"),
        ({"object": "error", "message": "Words", "type": "x", "code": 40303}, "Words"),
        (
            {"object": "error", "message": {"detail": [{"loc": ["body", "x"], "msg": "Extra", "type": "y"}]}},
            "body.x: Extra",
        ),
        ({"error": {"detail": "Words"}}, "Words"),
        ({"error": {"message": None}, "message": "Words"}, "Words"),
        ({"error": {"message": {"a": 1}}}, "The provider refused the request."),
        ({"error": None}, "The provider refused the request."),
        ({}, "The provider refused the request."),
    ],
)
def test_every_shape_of_an_error_gives_its_message(body: Any, message: str) -> None:
    assert fail(400, json.dumps(body).encode()).message == message


def test_code_and_param_are_kept() -> None:
    failure = fail(400)
    assert (failure.message, failure.code, failure.param) == ("Words", "c", "p")


@pytest.mark.parametrize("code", [400, None, True, ["x"], "a sentence is no code", "x" * 201, ""])
def test_what_is_no_code_is_none(code: Any) -> None:
    assert fail(400, json.dumps({"error": {"message": "Words", "code": code}}).encode()).code is None


@pytest.mark.parametrize("status", [401, 402, 403])
def test_trouble_with_the_operators_account_is_told_in_fixed_words(status: int) -> None:
    assert fail(status).message == "The provider refused the gateway's credentials or account."


@pytest.mark.parametrize(
    "leak",
    [
        SECRET,
        "sk-proj-abcdefgh12345678",
        "org-AbCdEfGh123456",
        "Bearer eyJhbGciOi",
        "gsk_a1b2c3d4e5f6",
        "AIzaSyA1-b2_C3",
        "project_number:123456",
        "projects/some-name-1",
    ],
)
def test_no_secret_and_no_account_is_repeated(leak: str) -> None:
    message = fail(400, json.dumps({"error": {"message": f"Rate limit for {leak} reached"}}).encode()).message
    assert leak not in message and message.startswith("Rate limit for ") and message.endswith(" reached")


def test_a_long_message_is_cut() -> None:
    assert len(fail(400, json.dumps({"error": "x" * 100_000}).encode()).message) <= 1001


def test_a_huge_error_body_is_not_parsed() -> None:
    assert fail(400, b'{"error":"' + b"x" * 1_000_000 + b'"}').message == "The provider refused the request."


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "17"}, 17.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after_ms": "soon", "retry_after": "9"}, 9.0),
        ({"retry_after": "Mon, 23 Nov 2026 10:00:30 GMT", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry_after": "Mon, 23 Nov 2026 09:00:00 GMT", "date": "Mon, 23 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"retry_after": "Mon, 23 Nov 2026 10:00:30 GMT"}, None),
        ({"retry_after": "Mon, 99 Nov 2026", "date": "nonsense"}, None),
        ({"retry_after": "-3"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "9" * 30}, 86400.0),
        ({"retry_after": ""}, None),
        ({}, None),
    ],
)
def test_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    assert fail(429, **headers).retry_after_seconds == seconds


def test_groqs_own_status_is_an_overload() -> None:
    assert fail(498, kind="groq").kind == errors.OVERLOADED


def test_a_filtered_prompt_keeps_its_code() -> None:
    body = {
        "error": {
            "message": "The response was filtered",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
        }
    }
    failure = fail(400, json.dumps(body).encode(), kind="azure")
    assert (failure.kind, failure.code, failure.param) == (errors.INVALID_REQUEST, "content_filter", "prompt")
