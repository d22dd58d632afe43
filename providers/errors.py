"""What can go wrong with a vendor, as one exception with fields.

An adapter or the transport says *what kind* of failure it was; `handlers/errors.py` alone knows
which status number a client gets for it (the table is the one of the API contract: an operator's
own account trouble, for one, never reaches a client as 401).
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, Final

if typing.TYPE_CHECKING:
    from providers.types import Usage

INVALID_REQUEST: Final = "invalid_request"  # the vendor refused what the client sent (400, 413, 422)
AUTH: Final = "auth"  # the operator's own account: secret, permission or balance (401, 402, 403)
NOT_FOUND: Final = "not_found"  # the vendor does not know the model (404)
TIMEOUT: Final = "timeout"  # the vendor's time-out (408, 504), or one of our own bounds
RATE_LIMIT: Final = "rate_limit"  # the vendor's own rate limit (429)
OVERLOADED: Final = "overloaded"  # 503, 529, or our own bound on connections is reached
FAILED: Final = "failed"  # other 5xx, no connection, an answer that is none
INCOMPLETE: Final = "incomplete"  # the answer began and was cut


class ProviderError(Exception):
    """A call to a vendor failed.

    kind: one of this module's constants. message: fit for the client's eyes (no secret, no foreign
    HTML). status: the vendor's own status, None where there was no answer. retryable: another
    target may be tried, as long as no byte reached the client. dispatched: the vendor may have seen
    (and may charge for) the request. is_learned: the adapter knows better now, the same target is worth
    one more attempt. retry_after_seconds: the vendor's own wish, None if it had none. amend: None, or what
    makes a payload of the refused one that the same target may take; worth one more attempt. usage: None, or
    what the vendor says it has used, and charges, all the same.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        retryable: bool = False,
        dispatched: bool = True,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.retryable = retryable
        self.dispatched = dispatched
        self.retry_after_seconds = retry_after_seconds
        self.is_learned = False
        self.amend: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.usage: Usage | None = None

    def __repr__(self) -> str:
        return f"ProviderError({self.kind}, status={self.status}, retryable={self.retryable})"


def too_many_wait() -> ProviderError:
    """Our own bound on calls under way is reached: another target may have room, else a second later."""
    return ProviderError(
        OVERLOADED,
        "too many calls wait for this provider",
        retryable=True,
        dispatched=False,
        retry_after_seconds=1,
    )


class ModelNotFound(Exception):
    """No configured provider serves a model of this name."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.model = model


class OperationNotOffered(Exception):
    """The model's provider does not offer this operation (embeddings of a chat host, say)."""

    def __init__(self, model: str, operation: str) -> None:
        super().__init__(f"{model}: {operation}")
        self.model = model
        self.operation = operation


class Unsupported(Exception):
    """Content of the request that the vendor has no word for; refused, never silently lost."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param
        self.message = message


class ProviderMisconfigured(Exception):
    """A provider or model entry that cannot work; `where` names it as rooya.toml does."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where
        self.message = message
