"""The whole URL table, one line a route: the hot endpoints first, then Tornado's application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine
from tornado.web import Application

from handlers.base import NotFoundHandler
from handlers.errors import Refused, answer
from handlers.exchange import Exchange
from handlers.health import HealthHandler
from handlers.inference import Inference
from handlers.models import ModelHandler, ModelsHandler
from providers.router import Router
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS

HOT: Final = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/embeddings": EMBEDDINGS,
}


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the routes need from the composition root."""

    inference: Inference
    router: Router
    state: Callable[[], str]
    uptime_seconds: Callable[[], float]


def application(rooms: Rooms) -> Application:
    """Everything that is not hot."""
    health = {"state": rooms.state, "uptime_seconds": rooms.uptime_seconds}
    router = {"router": rooms.router}
    return Application(
        [
            (r"/health", HealthHandler, health),
            (r"/v1/models", ModelsHandler, router),
            (r"/v1/models/(.+)", ModelHandler, router),
        ],
        default_handler_class=NotFoundHandler,
        log_function=lambda handler: None,
    )


class Routes:
    """An exchange -> its endpoint."""

    def __init__(self, rooms: Rooms) -> None:
        self._serve = rooms.inference.serve
        self._application = application(rooms)

    async def __call__(self, exchange: Exchange) -> None:
        operation = HOT.get(exchange.head.path)
        if operation is None:
            await self._serve_by_tornado(exchange)
        elif exchange.head.method == "POST":
            await self._serve(exchange, operation)
        else:
            refusal = answer(Refused("method_not_allowed"))
            exchange.respond(405, refusal.body, refusal.headers + b"Allow: POST\r\n")

    async def _serve_by_tornado(self, exchange: Exchange) -> None:
        head = exchange.head
        start_line = RequestStartLine(head.method, head.target, "HTTP/1.1")
        headers = HTTPHeaders()
        try:
            for name, value in head.fields():
                headers.add(name, value)
            delegate = self._application.start_request(None, exchange)
            started = delegate.headers_received(start_line, headers)
        except HTTPInputError as error:
            raise Refused("malformed") from error
        if started is not None:
            await started
        body = await exchange.read_body()
        if body:
            received = delegate.data_received(body)
            if received is not None:
                await received
        delegate.finish()
        await exchange.wait_finished()
