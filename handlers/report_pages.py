"""What the pages of usage and their JSON share: whose calls, of which days, the request's own words."""

from __future__ import annotations

import time
from typing import Final

from handlers.page import ApiHandler, PageHandler, Site
from handlers.reporting import Reporting
from handlers.spans import Span, invalid
from store.reports import Scope

MOST_WORD: Final = 512


class ReportHandler(PageHandler):
    """A page of an account's calls. Raises InvalidParameter, and what `Readers.run` does."""

    is_paced = True  # what goes on for long paces itself
    _started = 0.0

    def initialize(self, site: Site, reporting: Reporting) -> None:  # type: ignore[override]
        super().initialize(site)
        self.reporting = reporting

    async def admitted(self) -> None:
        if self.is_paced:
            await self.reporting.pace.wait(self.signed_in.id)
        self._started = time.monotonic()

    def on_finish(self) -> None:
        if self.is_paced and self._started:
            self.reporting.pace.spend(self.signed_in.id, time.monotonic() - self._started)

    async def is_still_signed_in(self) -> bool:
        """Asked by what goes on for long."""
        account = await self.find_account()
        return account is not None and account.id == self.signed_in.id

    def word(self, name: str) -> str:
        """Of the query, empty where it is not there."""
        text = self.get_query_argument(name, "")
        if len(text) > MOST_WORD:
            raise invalid(name, f"'{name}' is too long.")
        return text

    def number(self, name: str, most: int) -> int:
        """Of the query, 0 where it is not there."""
        text = self.word(name) or "0"
        if not (text.isascii() and text.isdigit()) or len(text) > 15 or int(text) > most:
            raise invalid(name, f"'{name}' is a number from 0 to {most}.")
        return int(text)

    def span(self) -> Span:
        """The days that are asked for."""
        return Span.asked(self.word, self.reporting.clock())

    def scope(self) -> Scope:
        """The account's keys, or the one of them that is asked for."""
        return self.reporting.scope(self.signed_in, self.number("key", 10**15) or None)


class ReportDataHandler(ApiHandler, ReportHandler):
    """The same for programs: no page, and errors as JSON."""
