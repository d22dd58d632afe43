"""A vendor's refusal -> ProviderError, for every host that speaks OpenAI's dialect.

Statuses map as the gateway's error table says. Bodies come as {"error": {…}}, {"error": "text"},
{"message"}, {"detail": text | list}, {"object": "error", "message"} or plain text. Words of the vendor reach
the client only out of JSON, cleared of secrets, and never where they are about the operator's account.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import ujson

from providers import errors
from providers.errors import ProviderError

MAX_MESSAGE_CHARS: Final = 1000
MAX_RETRY_AFTER_SECONDS: Final = 86_400.0
MAX_ERROR_BODY_BYTES: Final = 256 * 1024  # no error is longer; parsing more would stall everybody

KINDS: Final = {
    401: errors.AUTH,
    402: errors.AUTH,
    403: errors.AUTH,
    404: errors.NOT_FOUND,
    408: errors.TIMEOUT,
    429: errors.RATE_LIMIT,
    503: errors.OVERLOADED,
    504: errors.TIMEOUT,
    529: errors.OVERLOADED,
}
# What errors inside a 200 say in words where they carry no number.
STATUS_BY_TYPE: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "timeout_error": 504,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
}
WORDS: Final = {
    errors.INVALID_REQUEST: "The provider refused the request.",
    errors.AUTH: "The provider refused the gateway's credentials or account.",
    errors.NOT_FOUND: "The provider does not know the model.",
    errors.TIMEOUT: "The provider took too long.",
    errors.RATE_LIMIT: "The provider's rate limit was reached.",
    errors.OVERLOADED: "The provider is overloaded.",
    errors.FAILED: "The provider failed.",
}
# Shapes of secrets and account names that vendors like to quote.
_SECRETS: Final = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|org|proj|nvapi|csk|pplx|fw)[-_][A-Za-z0-9_*.\-]{8,}|\bBearer\s+\S+", re.I
)


class Failures:
    """Maps the failures of one provider. statuses: what the vendor means by numbers of its own."""

    def __init__(self, secrets: tuple[str, ...] = (), statuses: Mapping[int, str] | None = None) -> None:
        self._secrets = tuple(secret for secret in secrets if len(secret) >= 6)
        self._kinds = {**KINDS, **(statuses or {})}

    def from_answer(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> ProviderError:
        """A non-2xx answer."""
        failure = self.make(status, parse(body))
        wish = retry_after_seconds(headers)
        if wish is not None:
            failure.retry_after_seconds = wish
        return failure

    def from_event(self, payload: Any) -> ProviderError:
        """An error that came where an answer was due: in a 200, or inside a stream."""
        error = payload.get("error") if isinstance(payload, dict) else payload
        fields = error if isinstance(error, dict) else payload if isinstance(payload, dict) else {}
        return self.make(_status_within(fields), payload)

    def no_answer(self) -> ProviderError:
        """A 2xx without an answer in it: no JSON, not a byte, something else's body."""
        message = "The provider's answer was empty or not understood."
        return ProviderError(errors.FAILED, message, retryable=True)

    def make(self, status: int | None, payload: Any) -> ProviderError:
        """A failure by its status, None where it has none, and what the vendor wrote."""
        kind = self._kind(status)
        message, code, param = describe(payload)
        if kind == errors.AUTH or not message:
            message = WORDS[kind]
        return ProviderError(
            kind,
            self._cleared(message),
            status=status,
            code=code if kind == errors.INVALID_REQUEST else None,  # else the gateway's own words
            param=param,
            retryable=kind not in (errors.INVALID_REQUEST, errors.NOT_FOUND),
        )

    def _kind(self, status: int | None) -> str:
        if status is None:
            return errors.FAILED
        kind = self._kinds.get(status)
        if kind is not None:
            return kind
        return errors.INVALID_REQUEST if 400 <= status < 500 else errors.FAILED

    def _cleared(self, message: str) -> str:
        """Fit for a client's eyes: a vendor may quote the secret, or the organisation, that it refuses."""
        message = message[: 4 * MAX_MESSAGE_CHARS]
        for secret in self._secrets:
            message = message.replace(secret, "…")
        message = _SECRETS.sub("…", message)
        return message if len(message) <= MAX_MESSAGE_CHARS else message[:MAX_MESSAGE_CHARS] + "…"


def parse(body: bytes) -> Any:
    """JSON, or None for what is none (HTML of a proxy in between, say)."""
    if len(body) > MAX_ERROR_BODY_BYTES:
        return None
    try:
        return ujson.loads(body)
    except ValueError:
        return None


def describe(payload: Any) -> tuple[str, str | None, str | None]:
    """The first message found in an error's body, its code and its param."""
    if not isinstance(payload, dict):
        return (payload if isinstance(payload, str) else ""), None, None
    error = payload.get("error")
    fields = error if isinstance(error, dict) else payload
    code = fields.get("code") or payload.get("code")
    param = fields.get("param")
    candidates = (fields.get("message"), error, fields.get("detail"), payload.get("message"))
    message = next((text for text in map(_text, candidates) if text), "")
    return message, _word(code), _word(param)


def retry_after_seconds(headers: Mapping[bytes, bytes]) -> float | None:
    """OpenAI's retry-after-ms, else Retry-After in seconds or as a date.

    A date is counted from the answer's own Date: an adapter has no clock, and the vendor meant its own.
    """
    exact = _seconds(headers.get(b"retry-after-ms"))
    if exact is not None:
        return min(exact / 1000, MAX_RETRY_AFTER_SECONDS)
    stated = headers.get(b"retry-after")
    seconds = _seconds(stated)
    if seconds is None and stated is not None:
        then, now = _moment(stated), _moment(headers.get(b"date", b""))
        seconds = None if then is None or now is None else max(0.0, then - now)
    return None if seconds is None else min(seconds, MAX_RETRY_AFTER_SECONDS)


def _seconds(value: bytes | None) -> float | None:
    try:
        seconds = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _moment(value: bytes) -> float | None:
    try:
        return parsedate_to_datetime(value.decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return None


def _status_within(fields: dict[str, Any]) -> int | None:
    for name in ("code", "status", "status_code"):
        value = fields.get(name)
        if isinstance(value, str) and value.isdecimal() and len(value) == 3:
            value = int(value)
        if type(value) is int and 400 <= value < 600:
            return value
    for name in ("type", "code"):
        value = fields.get(name)
        if isinstance(value, str) and value in STATUS_BY_TYPE:
            return STATUS_BY_TYPE[value]
    return None


def _text(value: Any) -> str:
    """A message as text; FastAPI and Mistral put lists of {loc, msg} in its place."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        return _text(value.get("message")) or _text(value.get("detail")) or _text(value.get("msg"))
    if isinstance(value, list):
        return "; ".join(text for text in map(_located, value[:5]) if text)
    return ""


def _located(item: Any) -> str:
    if not isinstance(item, dict):
        return _text(item)
    place = item.get("loc")
    where = ".".join(str(part) for part in place) if isinstance(place, list) else ""
    text = _text(item)
    return f"{where}: {text}" if where and text else text


def _word(value: Any) -> str | None:
    """A name a program can act on; some hosts put a number or a sentence there."""
    return value if isinstance(value, str) and re.fullmatch(r"[\w.\[\]/:-]{1,200}", value) else None
