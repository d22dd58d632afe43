"""The whole URL table, one line a route: the hot endpoints first, then Tornado's application."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine
from tornado.web import Application

from handlers import anthropic_errors
from handlers.anthropic_inference import Messages
from handlers.base import NotFoundHandler
from handlers.dashboard import Dashboard
from handlers.docs_pages import DocsHandler, OpenApiHandler
from handlers.errors import Refused
from handlers.exchange import Exchange
from handlers.gate import Gate
from handlers.health import HealthHandler
from handlers.inference import Authenticator, Inference
from handlers.key_info import KeyHandler
from handlers.model_pages import ModelPages
from handlers.models import ModelHandler, ModelsHandler, StatusHandler
from handlers.playground import PATH as PLAYED
from handlers.playground import Playground, PlaygroundHandler
from handlers.relay import Relay
from handlers.report_routes import report_routes
from handlers.site_routes import site_routes
from handlers.static_files import StaticHandler
from providers.estimate import Estimator
from providers.router import Router
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS
from store.settings import Settings

HOT: Final = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/embeddings": EMBEDDINGS,
}
HERE: Final = Path(__file__).parent
STATIC: Final = "/static/"
MOST_FORM_BYTES: Final = 65536  # of a page's form or of JSON for the management API


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the routes need from the composition root."""

    authenticator: Authenticator
    gate: Gate
    relay: Relay
    router: Router
    estimator: Estimator
    pages: ModelPages
    dashboard: Dashboard
    settings: Settings
    state: Callable[[], str]
    uptime_seconds: Callable[[], float]


def application(rooms: Rooms) -> Application:
    """Everything that is not hot."""
    health = {"state": rooms.state, "uptime_seconds": rooms.uptime_seconds}
    keyed = {"authenticator": rooms.authenticator, "gate": rooms.gate}
    dashboard = rooms.dashboard
    played = {"site": dashboard.site, "desk": dashboard.desk, "catalogue": dashboard.reporting.catalogue}
    described = {"site": dashboard.site, "is_public": rooms.settings.server.public_catalog}
    documented = {
        "site": dashboard.site,
        "settings": rooms.settings,
        "catalogue": dashboard.reporting.catalogue,
    }
    catalog = {"pages": rooms.pages, "is_public": rooms.settings.server.public_catalog, **keyed}
    return Application(
        [
            (r"/health", HealthHandler, health),
            (r"/v1/key", KeyHandler, keyed),
            (r"/v1/models", ModelsHandler, catalog),
            (r"/v1/models/status", StatusHandler, catalog),
            (r"/v1/models/(.+)", ModelHandler, catalog),
            *dashboard.oidc_routes,
            *report_routes(dashboard.site, dashboard.reporting),
            (r"/docs", DocsHandler, documented),
            (r"/openapi\.json", OpenApiHandler, described),
            (r"/dashboard/playground", PlaygroundHandler, played),
            *site_routes(dashboard.site, dashboard.desk, dashboard.webhooks),
        ],
        default_handler_class=NotFoundHandler,
        static_handler_class=StaticHandler,
        static_path=str(HERE / "static"),
        static_url_prefix=STATIC,
        template_path=str(HERE / "templates"),
        cookie_secret=dashboard.secret,
        xsrf_cookie_kwargs={
            "httponly": True,
            "samesite": "Lax",
            "secure": rooms.settings.server.public_url.startswith("https://"),
        },
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
        inference = Inference(**caller, is_strict=rooms.settings.compat.strict_params)
        self._serve = inference.serve
        dashboard = rooms.dashboard
        self._play = Playground(dashboard.site, dashboard.desk.keys, inference).serve
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
        is_played = exchange.head.path == PLAYED
        if is_played and exchange.head.method == "POST":
            return self._play(exchange)
        return self._serve_rest(
            exchange, is_for_posts=is_played or operation is not None or serve is not None
        )

    async def _serve_rest(self, exchange: Exchange, *, is_for_posts: bool) -> None:
        is_counted = not exchange.head.path.startswith(STATIC)
        if is_counted and (
            self._gate.is_for_all or not await self._authenticator.has_valid_key(exchange.head)
        ):
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
            if started is not None:
                await started
            exchange.max_body_bytes = min(exchange.max_body_bytes, MOST_FORM_BYTES)
            body = await exchange.read_body()
            if body:
                received = delegate.data_received(body)
                if received is not None:
                    await received
            delegate.finish()
        except HTTPInputError as error:
            raise Refused("malformed") from error
        await exchange.wait_finished()
