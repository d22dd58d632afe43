"""GET /dashboard/requests, the log by the page, and GET /dashboard/requests.csv, all that was looked for.

The export is read by the page as well and sent in slices, so that neither memory nor anybody's time depends
on how much of it there is; it ends where its reader leaves.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from handlers import figures
from handlers.report_pages import ReportDataHandler, ReportHandler
from handlers.reporting import MOST_KEYS
from handlers.request_rows import (
    FAILED,
    SOURCE_WORDS,
    UNPRICED,
    UNREPORTED,
    csv_head,
    csv_lines,
    cursor,
    cursor_text,
    details,
    error,
    wanted,
)
from store.requests import Cursor, Request, Wanted

PAGE_ROWS: Final = 50
READ_ROWS: Final = 400  # of the export, at once
SLICE_ROWS: Final = 50  # made into text in one go: a millisecond
PAUSE_SHARE: Final = 3  # times what a read of it took: calls to models come first
WORDS: Final = ("key", "model", "provider", "status", "source", "request_id", "from", "to")
KINDS: Final = {"ok": "good", "error": "bad", "timeout": "bad", "client_gone": "warn", "lost": "bad"}
STATUS_NAMES: Final = {
    "ok": "answered", "error": "failed", "timeout": "timed out", "client_gone": "client left", "lost": "lost",
}  # fmt: skip
STATUSES: Final = (*STATUS_NAMES.items(), (FAILED, "all that failed"))
SOURCES: Final = (
    ("reported", "as reported"),
    ("estimated", "estimated"),
    ("lease", "worst case"),
    ("corrected", "corrected"),
    ("none", "nothing used"),
    (UNREPORTED, "all but as reported"),
    (UNPRICED, "without a price"),
)
MARKS: Final = {"estimated": "est.", "lease": "worst", "corrected": "corr."}


class Row(NamedTuple):
    """A request as the template has it."""

    row: Request
    time: str
    iso: str
    model_query: str
    status: str
    kind: str
    error: str
    cost: str
    exact_cost: str
    source: str
    source_mark: str
    short_id: str
    facts: list[tuple[str, str]]


class RequestsHandler(ReportHandler):
    """A page, the newest first."""

    section = "requests"

    async def get(self) -> None:
        words = {name: self.word(name) for name in WORDS}
        looked_for = wanted(self.word, self.scope().user_id)
        before = cursor(self.word("before"))
        page = await self.reporting.log.page(looked_for, before, PAGE_ROWS)
        given = {name: value for name, value in words.items() if value}
        self.page(
            "requests.html",
            words=words,
            filter_query=urlencode(given),
            has_before=before is not None,
            rows=[shown(row) for row in page.rows],
            is_cut=page.is_cut,
            searched_to="" if page.older is None else _when(page.older),
            older_query="" if page.older is None else urlencode({**given, "before": cursor_text(page.older)}),
            keys=await self.reporting.reports.keys(self.scope(), MOST_KEYS),
            models=list(self.reporting.catalogue.names()),
            providers=self.reporting.catalogue.providers(),
            statuses=STATUSES,
            sources=SOURCES,
        )


class RequestsCsvHandler(ReportDataHandler):
    """All of it, the newest first."""

    is_paced = False
    _is_left = False

    async def get(self) -> None:
        looked_for = wanted(self.word, self.scope().user_id)
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="requests.csv"')
        self.set_header("X-Accel-Buffering", "no")
        self.write(csv_head())
        if self.request.method != "HEAD":
            await self._send(looked_for)

    def on_connection_close(self) -> None:
        self._is_left = True

    async def _send(self, looked_for: Wanted) -> None:
        before: Cursor | None = None
        while not self._is_left:
            started = time.monotonic()
            page = await self.reporting.log.page(looked_for, before, READ_ROWS)
            for at in range(0, len(page.rows), SLICE_ROWS):
                self.write(csv_lines(page.rows[at : at + SLICE_ROWS]))
                await self.flush()
                await asyncio.sleep(0)
            if page.older is None:
                return
            before = page.older
            await asyncio.sleep(PAUSE_SHARE * min(1.0, time.monotonic() - started))


def shown(row: Request) -> Row:
    """A row for the eye."""
    is_unpriced = row.price_source == "unpriced" and not row.cost_nanodollars
    source = SOURCE_WORDS.get(row.usage_source, row.usage_source)
    if is_unpriced:
        source = f"{source}; no price is known"
    time = figures.moment(row.started_at_ms)
    return Row(
        row,
        time,
        f"{time.replace(' ', 'T')}Z",
        urlencode({"model": row.model}),
        STATUS_NAMES.get(row.status, row.status),
        KINDS.get(row.status, "warn"),
        error(row),
        figures.NOTHING if is_unpriced else figures.money(row.cost_nanodollars),
        f"{figures.exact_money(row.cost_nanodollars)}, {source}",
        source,
        "no price" if is_unpriced else MARKS.get(row.usage_source, ""),
        f"{row.request_id[:12]}…",
        _facts(row, source),
    )


def _facts(row: Request, source: str) -> list[tuple[str, str]]:
    facts: list[tuple[str, Any]] = [
        ("Request id", row.request_id),
        ("Attempt", row.attempt + 1),
        ("Endpoint", f"{row.endpoint}{', streamed' if row.is_stream else ''}"),
        ("Upstream model", row.upstream_model),
        ("Cached tokens", row.cached_tokens),
        ("Cost", f"{figures.exact_money(row.cost_nanodollars)}, {source}"),
        ("Price", row.price_source or figures.NOTHING),
        *((name.replace("_", " ").capitalize(), value) for name, value in details(row).items()),
    ]
    return [(name, str(value)) for name, value in facts]


def _when(place: Cursor) -> str:
    return figures.moment(int(place.request_id[:12], 16))
