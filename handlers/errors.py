"""ONE table: what went wrong -> status, type and code of the documented error envelope.

    {"error": {"message": …, "type": …, "param": … | null, "code": … | null[, "details": {…}]}}

The rooms raise; nobody but this file knows a status number. Messages are fit for the client: no
secret, no content, no foreign HTML.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch
from http import HTTPStatus
from typing import Any, Final

import ujson

from handlers.command_values import usd
from handlers.payload import InvalidJSON
from handlers.validate import InvalidParameter
from limits import types as limit
from limits.errors import LimiterUnavailable
from limits.types import Claim
from providers import errors as vendor
from providers.errors import ModelNotFound, OperationNotOffered, ProviderError, Unsupported
from store.errors import (
    Invalid,
    KeyRefused,
    LedgerFull,
    NotFound,
    Overloaded,
    StoreUnavailable,
    TookTooLong,
)

INVALID: Final = "invalid_request_error"
SERVER: Final = "server_error"
TIMEOUT: Final = "timeout_error"
RATE: Final = "rate_limit_error"


@dataclass(frozen=True, slots=True)
class Row:
    """status, type and code of one kind of failure, and its words where the failure brings none."""

    status: int
    type: str
    code: str | None
    message: str = ""


REFUSALS: Final = {
    "malformed": Row(400, INVALID, "malformed_request", "The request is malformed."),
    "missing_api_key": Row(
        401, INVALID, "missing_api_key", "No API key was given. Send it as 'Authorization: Bearer sk-…'."
    ),
    "unknown": Row(401, INVALID, "invalid_api_key", "The API key is not valid."),
    "inactive": Row(401, INVALID, "inactive_api_key", "The API key is deactivated."),
    "expired": Row(401, INVALID, "expired_api_key", "The API key has expired."),
    "model_not_allowed": Row(
        403, INVALID, "model_not_allowed", "This API key may not use the model that was asked for."
    ),
    "model_not_priced": Row(400, INVALID, "model_not_priced"),
    "unbounded_cost": Row(
        400,
        INVALID,
        "unbounded_cost",
        "What this may cost has no bound, and the API key has a budget.",
    ),
    "not_signed_in": Row(401, INVALID, "not_signed_in", "Sign in, or send an API token of an account."),
    "not_allowed": Row(403, INVALID, "not_allowed", "This account may not do that."),
    "wrong_login": Row(401, INVALID, "wrong_login", "The e-mail address or the password is wrong."),
    "wrong_code": Row(401, INVALID, "wrong_code", "The code is wrong, or has been used."),
    "registration_closed": Row(
        403, INVALID, "registration_closed", "Nobody can sign up here without an invitation."
    ),
    "link_spent": Row(403, INVALID, "link_spent", "This link has been used or has expired: ask for another."),
    "oidc_failed": Row(502, SERVER, "oidc_failed", "The sign-in provider did not say who you are."),
    "oidc_unlinked": Row(403, INVALID, "oidc_unlinked", "Sign in with your password and link the accounts."),
    "oidc_stale": Row(400, INVALID, "oidc_stale", "This sign-in took too long: start again."),
    "busy": Row(503, SERVER, "busy", "Too many people are signing in at the moment: try again."),
    "xsrf": Row(
        403, INVALID, "xsrf_refused", "The form is too old or came from another site: load it again."
    ),
    "not_found": Row(404, INVALID, "not_found", "There is nothing at this path."),
    "method_not_allowed": Row(405, INVALID, "method_not_allowed", "This path does not take that method."),
    "request_timeout": Row(408, INVALID, "request_timeout", "The request did not arrive in time."),
    "body_too_large": Row(413, INVALID, "request_too_large", "The request body is too large."),
    "head_too_large": Row(
        431, INVALID, "request_header_fields_too_large", "The request's header fields are too large."
    ),
    "internal": Row(500, SERVER, "internal_error", "The gateway failed at this request."),
    "ledger_full": Row(
        503, SERVER, "ledger_full", "The gateway cannot write down what calls cost at the moment."
    ),
    "limiter_unavailable": Row(
        503, SERVER, "limiter_unavailable", "The gateway cannot check this API key's budget at the moment."
    ),
    "took_too_long": Row(
        503, SERVER, "took_too_long", "This report took too long. Choose a shorter time, or look for less."
    ),
    "overloaded": Row(
        503, SERVER, "overloaded", "Too many reports are being made at once. Try again in a moment."
    ),
    "store_unavailable": Row(
        503, SERVER, "store_unavailable", "The gateway cannot look up API keys at the moment."
    ),
}

LIMITS: Final = {
    limit.BUDGET: Row(402, "budget_exceeded", limit.BUDGET, "Budget limit exceeded for this API key"),
    limit.TOKENS: Row(429, RATE, limit.TOKENS, "Rate limit exceeded"),
    limit.REQUESTS: Row(429, RATE, limit.REQUESTS, "Rate limit exceeded"),
    limit.PARALLEL: Row(429, RATE, limit.PARALLEL, "Rate limit exceeded"),
    limit.ADDRESS: Row(429, RATE, limit.ADDRESS, "Rate limit exceeded"),
}

PROVIDER_FAILURES: Final = {
    vendor.INVALID_REQUEST: Row(400, INVALID, None),
    vendor.AUTH: Row(
        502,
        SERVER,
        "upstream_auth_error",
        "Upstream provider rejected the gateway's credentials",
    ),
    vendor.NOT_FOUND: Row(404, INVALID, "model_not_found"),
    vendor.TIMEOUT: Row(504, TIMEOUT, "upstream_timeout"),
    vendor.RATE_LIMIT: Row(429, RATE, "upstream_rate_limit"),
    vendor.OVERLOADED: Row(503, SERVER, "upstream_overloaded"),
    vendor.FAILED: Row(502, SERVER, "upstream_error"),
    vendor.INCOMPLETE: Row(502, SERVER, "upstream_incomplete"),
}

BY_STATUS: Final = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
JSON: Final = b"Content-Type: application/json\r\n"
NO_RETRY: Final = b"x-should-retry: false\r\n"


class Refused(Exception):
    """Refused by the gateway itself. reason: a key of REFUSALS; message: in place of the row's own words."""

    def __init__(self, reason: str, message: str | None = None, *, param: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.message = message
        self.param = param


class LimitRefused(Exception):
    """A claim that its key's limits do not allow. reset_at: when the budget's window ends, Unix seconds."""

    def __init__(self, claim: Claim, reset_at: int | None = None) -> None:
        super().__init__(claim.refusal)
        self.claim = claim
        self.reset_at = reset_at


class LoginThrottled(Exception):
    """Too many failed logins, of the account or from the address."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(wait_seconds)
        self.wait_seconds = wait_seconds


class AddressRefused(Exception):
    """An address has sent too many requests. wait_ms: until one would pass."""

    def __init__(self, wait_ms: int) -> None:
        super().__init__(wait_ms)
        self.wait_ms = wait_ms


KNOWN: Final = (
    Refused,
    LimitRefused,
    AddressRefused,
    LoginThrottled,
    LimiterUnavailable,
    KeyRefused,
    StoreUnavailable,
    LedgerFull,
    TookTooLong,
    Overloaded,
    InvalidJSON,
    InvalidParameter,
    ModelNotFound,
    OperationNotOffered,
    Unsupported,
    ProviderError,
    Invalid,
    NotFound,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A failure as a client gets it. headers: ready lines, each with its CR LF; body: the envelope."""

    status: int
    headers: bytes
    body: bytes

    @property
    def phrase(self) -> bytes:
        return HTTPStatus(self.status).phrase.encode()


@singledispatch
def answer(error: BaseException) -> Answer:
    """Any failure -> its answer. What is not in the table is the gateway's own fault and says just that."""
    return _render(REFUSALS["internal"], None, None)


@answer.register
def _(error: Refused) -> Answer:
    return _render(REFUSALS[error.reason], error.message, error.param)


@answer.register
def _(error: KeyRefused) -> Answer:
    return _render(REFUSALS[error.code], None, None, b"WWW-Authenticate: Bearer\r\n")


@answer.register
def _(error: StoreUnavailable) -> Answer:
    return _render(REFUSALS["store_unavailable"], None, None, b"Retry-After: 1\r\n")


@answer.register
def _(error: Invalid) -> Answer:
    return _render(Row(400, INVALID, "invalid_value"), f"{error}"[:1].upper() + f"{error}."[1:], None)


@answer.register
def _(error: NotFound) -> Answer:
    return _render(REFUSALS["not_found"], f"There is no {error.what}.", None)


@answer.register
def _(error: LedgerFull) -> Answer:
    return _render(REFUSALS["ledger_full"], None, None, b"Retry-After: 1\r\n")


@answer.register
def _(error: TookTooLong) -> Answer:
    return _render(REFUSALS["took_too_long"], None, None, NO_RETRY)


@answer.register
def _(error: Overloaded) -> Answer:
    return _render(REFUSALS["overloaded"], None, None, b"Retry-After: 2\r\n")


@answer.register
def _(error: LimiterUnavailable) -> Answer:
    return _render(REFUSALS["limiter_unavailable"], None, None, b"Retry-After: 1\r\n")


@answer.register
def _(error: AddressRefused) -> Answer:
    return _render(LIMITS[limit.ADDRESS], None, None, _retry_after(error.wait_ms))


@answer.register
def _(error: LoginThrottled) -> Answer:
    row = Row(429, RATE, "login_throttled")
    text = f"Too many failed attempts: try again in {error.wait_seconds} seconds."
    return _render(row, text, None, _retry_after(error.wait_seconds * 1000))


@answer.register
def _(error: LimitRefused) -> Answer:
    claim = error.claim
    headers = b"" if claim.retry_after_ms is None else _retry_after(claim.retry_after_ms)
    if claim.retry_after_ms is None or claim.refusal == limit.TOKENS:
        headers += NO_RETRY  # the official SDKs obey it: they would ask again within seconds
    return _render(LIMITS[claim.refusal], None, None, headers, DETAILS[claim.refusal](error))


def _retry_after(wait_ms: int) -> bytes:
    return b"Retry-After: %d\r\n" % max(1, -(-wait_ms // 1000))


def _budget_details(error: LimitRefused) -> dict[str, Any]:
    claim = error.claim
    return {
        "limit_usd": usd(claim.rules.budget_nanodollars),
        "spent_usd": usd(claim.spent_nanodollars),
        "reserved_usd": usd(claim.reserved_nanodollars),
        "needed_usd": usd(claim.least_nanodollars),
        "reset_at": error.reset_at,
    }


def _token_details(error: LimitRefused) -> dict[str, Any]:
    claim = error.claim
    return {"limit": claim.rules.tpd, "remaining": claim.tokens_left, "needed": claim.tokens}


def _request_details(error: LimitRefused) -> dict[str, Any]:
    return {"limit": error.claim.rules.rpm, "remaining": error.claim.requests_left}


def _parallel_details(error: LimitRefused) -> dict[str, Any]:
    return {"limit": error.claim.rules.max_parallel}


DETAILS: Final = {
    limit.BUDGET: _budget_details,
    limit.TOKENS: _token_details,
    limit.REQUESTS: _request_details,
    limit.PARALLEL: _parallel_details,
}


@answer.register
def _(error: InvalidJSON) -> Answer:
    row = Row(400, INVALID, "invalid_json")
    return _render(row, f"The request body is not valid JSON: {error.message}", None)


@answer.register
def _(error: InvalidParameter) -> Answer:
    return _render(Row(400, INVALID, error.code), error.message, error.param)


@answer.register
def _(error: Unsupported) -> Answer:
    return _render(Row(400, INVALID, "unsupported_value"), error.message, error.param)


@answer.register
def _(error: ModelNotFound) -> Answer:
    row = Row(404, INVALID, "model_not_found")
    return _render(row, f"The model '{shown(error.model)}' does not exist here.", "model")


@answer.register
def _(error: OperationNotOffered) -> Answer:
    row = Row(400, INVALID, "operation_not_supported")
    text = f"The model '{shown(error.model)}' does not offer {error.operation}."
    return _render(row, text, "model")


@answer.register
def _(error: ProviderError) -> Answer:
    row = PROVIDER_FAILURES[error.kind]
    headers = b""
    if error.retry_after_seconds is not None:
        headers = b"Retry-After: %d\r\n" % max(1, math.ceil(error.retry_after_seconds))
    elif row.status == 429:
        headers = b"Retry-After: 1\r\n"
    if error.kind == vendor.TIMEOUT and error.dispatched:
        headers += NO_RETRY
    message = row.message or error.message
    # Of the operator's own account nothing is told but that it is about that.
    code = row.code if error.kind == vendor.AUTH else error.code or row.code
    return _render(Row(row.status, row.type, code), message, error.param, headers)


def event(error: BaseException) -> bytes:
    """The failure as the last event of a stream that has begun (no [DONE] follows)."""
    return b"data: " + answer(error).body + b"\n\n"


def for_status(status: int) -> Answer:
    """The envelope for a bare HTTP status, as Tornado raises them."""
    if status in BY_STATUS:
        return _render(REFUSALS[BY_STATUS[status]], None, None)
    if 400 <= status < 500:
        return _render(Row(status, INVALID, None, HTTPStatus(status).phrase), None, None)
    return _render(REFUSALS["internal"], None, None)


def shown(name: str) -> str:
    """A client's word as an error may repeat it: short and printable."""
    text = "".join(char if char.isprintable() else "?" for char in name[:100])
    return text if len(name) <= 100 else text + "…"


def _render(
    row: Row,
    message: str | None,
    param: str | None,
    headers: bytes = b"",
    details: dict[str, Any] | None = None,
) -> Answer:
    fields: dict[str, Any] = {
        "message": message or row.message,
        "type": row.type,
        "param": param,
        "code": row.code,
    }
    if details is not None:
        fields["details"] = details
    body = ujson.dumps({"error": fields}, ensure_ascii=False, escape_forward_slashes=False)
    return Answer(row.status, JSON + headers, body.encode("utf-8", "replace"))
