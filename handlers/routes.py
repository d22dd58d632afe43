"""The whole URL table, one line a route: the hot endpoints first, then Tornado's application."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine
from tornado.web import Application

from handlers import anthropic_errors
from handlers.anthropic_inference import Messages
from handlers.base import NotFoundHandler
from handlers.errors import Refused
from handlers.exchange import Exchange
from handlers.gate import Gate
from handlers.health import HealthHandler
from handlers.inference import Authenticator, Inference
from handlers.key_info import KeyHandler
from handlers.model_pages import ModelPages
from handlers.models import ModelHandler, ModelsHandler, StatusHandler
from handlers.relay import Relay
from providers.estimate import Estimator
from providers.router import Router
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS
from store.settings import Settings

HOT: Final = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/embeddings": EMBEDDINGS,
}


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the routes need from the composition root."""

    authenticator: Authenticator
    gate: Gate
    relay: Relay
    router: Router
    estimator: Estimator
    pages: ModelPages
    settings: Settings
    state: Callable[[], str]
    uptime_seconds: Callable[[], float]


def application(rooms: Rooms) -> Application:
    """Everything that is not hot."""
    health = {"state": rooms.state, "uptime_seconds": rooms.uptime_seconds}
    keyed = {"authenticator": rooms.authenticator, "gate": rooms.gate}
    catalog = {"pages": rooms.pages, "is_public": rooms.settings.server.public_catalog, **keyed}
    return Application(
        [
            (r"/health", HealthHandler, health),
            (r"/v1/key", KeyHandler, keyed),
            (r"/v1/models", ModelsHandler, catalog),
            (r"/v1/models/status", StatusHandler, catalog),
            (r"/v1/models/(.+)", ModelHandler, catalog),
        ],
        default_handler_class=NotFoundHandler,
        log_function=lambda handler: None,
    )


class Routes:
    """An exchange -> its endpoint."""

    def __init__(self, rooms: Rooms) -> None:
        caller: dict[str, Any] = {
            "authenticator": rooms.authenticator,
            "gate": rooms.gate,
            "relay": rooms.relay,
        }
        self._serve = Inference(**caller, is_strict=rooms.settings.compat.strict_params).serve
        messages = Messages(**caller, router=rooms.router, estimator=rooms.estimator)
        self._anthropic = {
            "/v1/messages": messages.serve,
            "/v1/messages/count_tokens": messages.count,
        }
        self._gate = rooms.gate
        self._authenticator = rooms.authenticator
        self._application = application(rooms)

    def __call__(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        operation = HOT.get(exchange.head.path)
        if operation is not None and exchange.head.method == "POST":
            return self._serve(exchange, operation)
        serve = self._anthropic.get(exchange.head.path)
        if serve is not None:
            exchange.envelope = partial(anthropic_errors.answer, request_id=exchange.request_id)
            if exchange.head.method == "POST":
                return serve(exchange)
        return self._serve_rest(exchange, is_for_posts=operation is not None or serve is not None)

    async def _serve_rest(self, exchange: Exchange, *, is_for_posts: bool) -> None:
        if self._gate.is_for_all or not await self._authenticator.has_valid_key(exchange.head):
            await self._gate.enter_without_key(exchange)
        if is_for_posts:
            refusal = exchange.envelope(Refused("method_not_allowed"))
            exchange.respond(405, refusal.body, refusal.headers + b"Allow: POST\r\n")
        else:
            await self._serve_by_tornado(exchange)

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
