"""GET /dashboard, and GET /dashboard/events, by which an open overview hears of what is new.

The events carry the page's live part as the server draws it, so that there is one way to draw it. Who listens
is looked at again every so often: a session that was ended ends its events too.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import ujson

from handlers import overview
from handlers.live import Listener
from handlers.report_pages import ReportDataHandler, ReportHandler
from handlers.spans import Span
from store.errors import Overloaded, StoreUnavailable, TookTooLong
from store.reports import Scope

CHECK_SECONDS: Final = 5.0  # between two looks at the session, and at whether anybody still reads
PAUSE_SECONDS: Final = 0.25  # between two pictures at the least
PAUSE_SHARE: Final = 9  # times what the last one took: a tenth of the time goes into them at the most


class OverviewHandler(ReportHandler):
    """Spend, requests, tokens, errors and latency of a span of days."""

    section = "overview"

    async def get(self) -> None:
        span = self.span()
        values = await self.overview(self.scope(), span)
        self.page("overview.html", **values)

    async def overview(self, scope: Scope, span: Span) -> dict[str, Any]:
        """What the templates are given."""
        reporting = self.reporting
        found = await reporting.reports.overview(scope, span.days, span.now)
        in_flight = await reporting.in_flight(scope)
        return {**overview.shown(found, span, in_flight), "key_id": scope.key_id}


class EventsHandler(ReportDataHandler, OverviewHandler):
    """`picture` events until the page is closed, the process drains or the session ends."""

    is_paced = False
    _listener: Listener | None = None
    _is_left = False

    async def get(self) -> None:
        scope = self.scope()
        self.span()  # refused before anything is sent
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")
        with self.reporting.live.listening(self.signed_in.id) as listener:
            self._listener = listener
            if not self._is_left:  # else it was closed before anybody listened
                await self._tell(listener, scope)

    def on_connection_close(self) -> None:
        self._is_left = True
        if self._listener is not None:
            self._listener.end()

    async def _tell(self, listener: Listener, scope: Scope) -> None:
        loop = asyncio.get_running_loop()
        last = ""
        while not listener.has_ended and await self.is_still_signed_in():
            started = loop.time()
            picture = await self._picture(scope)
            self.write(
                ": still here\n\n" if picture in ("", last) else f"event: picture\ndata: {picture}\n\n"
            )
            last = picture or last
            await self.flush()
            await listener.pause(max(PAUSE_SECONDS, PAUSE_SHARE * (loop.time() - started)))
            await listener.wait(CHECK_SECONDS)

    async def _picture(self, scope: Scope) -> str:
        """The live part of the page as JSON, which has no line ends; empty where it cannot be had now."""
        span = self.span()  # of now: at midnight another day begins
        try:
            return await self.reporting.live.view(
                (scope, span.query, span.days), partial(self._draw, scope, span)
            )
        except (StoreUnavailable, TookTooLong, Overloaded):
            return ""

    async def _draw(self, scope: Scope, span: Span) -> str:
        values = await self.overview(scope, span)
        return ujson.dumps(self.render_string("overview_live.html", **values).decode())
