"""A failure's answer in OpenAI's envelope -> the same in Anthropic's.

    {"type": "error", "error": {"type": …, "message": …[, "details": {…}]}, "request_id": …}

Anthropic's SDKs go by the status, and so does the type here. All that says more (the code, the parameter, the
limit that refused) is under `details`. `errors.py` remains the only place that knows what a failure is.
"""

from __future__ import annotations

from typing import Any, Final

import ujson

from handlers import errors
from handlers.errors import Answer
from providers.answers import dump

OVERLOADED: Final = 529
STATUSES: Final = {503: OVERLOADED}
TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}


def answer(error: BaseException, request_id: str) -> Answer:
    """Any failure -> its answer."""
    ours = errors.answer(error)
    status = STATUSES.get(ours.status, ours.status)
    told = ujson.loads(ours.body)["error"]
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    failure: dict[str, Any] = {"type": kind, "message": told["message"]}
    known = {"error_code": told["code"], "param": told["param"], **told.get("details", {})}
    details = {name: value for name, value in known.items() if value is not None}
    if details:
        failure["details"] = details
    body = dump({"type": "error", "error": failure, "request_id": request_id})
    return Answer(status, ours.headers + request_id_field(request_id), body)


def event(error: BaseException, request_id: str) -> bytes:
    """The failure as the last event of a stream that has begun."""
    return b"event: error\ndata: " + answer(error, request_id).body + b"\n\n"


def request_id_field(request_id: str) -> bytes:
    """The header line by which Anthropic's SDKs know a request."""
    return b"request-id: %b\r\n" % request_id.encode()
