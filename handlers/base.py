"""What every RequestHandler shares: JSON out, the error envelope, HEAD where GET is, no Server header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ujson
from tornado.web import HTTPError, RequestHandler

from handlers import errors


class BaseHandler(RequestHandler):
    """Raise the rooms' exceptions; they become the documented envelope."""

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Type", "application/json")

    def compute_etag(self) -> str | None:
        return None

    def data_received(self, chunk: bytes) -> None:
        raise NotImplementedError

    async def head(self, *args: str, **kwargs: str) -> None:
        """As GET, without the body (Tornado leaves it out)."""
        if type(self).get is RequestHandler.get:
            raise HTTPError(405)
        await self.get(*args, **kwargs)  # type: ignore[misc]

    def write_json(self, value: Mapping[str, Any]) -> None:
        """The answer's body."""
        self.write(ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        answer = self.failure(status_code, kwargs)
        self.begin(answer)
        _ = self.finish(answer.body)  # the future is for flow control, of which a page of text has no need

    def failure(self, status_code: int, kwargs: Mapping[str, Any]) -> errors.Answer:
        """What went wrong, by the one table."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        known = error is not None and not isinstance(error, HTTPError)
        return errors.answer(error) if known else errors.for_status(status_code)

    def begin(self, answer: errors.Answer) -> None:
        """A refusal's status and header lines."""
        self.set_status(answer.status)
        for line in answer.headers.decode("latin-1").split("\r\n")[:-1]:
            name, _, value = line.partition(": ")
            self.set_header(name, value)
        if answer.status == 405:
            self.set_header("Allow", ", ".join(self._allowed_methods()))

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        is_the_clients = (
            isinstance(value, HTTPError) and value.status_code < 500
        )  # anybody could fill the log
        if not is_the_clients and not isinstance(value, errors.KNOWN):
            super().log_exception(typ, value, tb)

    def _allowed_methods(self) -> list[str]:
        own = [m for m in self.SUPPORTED_METHODS if m != "HEAD" and self._offers(m)]
        return [*own, "HEAD"] if "GET" in own else own

    def _offers(self, method: str) -> bool:
        return getattr(type(self), method.lower()) is not getattr(RequestHandler, method.lower())


class NotFoundHandler(BaseHandler):
    """Every path that is not in the table."""

    async def prepare(self) -> None:
        raise errors.Refused("not_found")
