"""Rows of the request log for their readers: what is looked for, and a row as a page, JSON or CSV has it.

A cell of the export never begins with what a spreadsheet would take for a formula.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import ujson

from handlers.figures import NANODOLLARS, moment
from handlers.spans import invalid, milliseconds
from store.records import SOURCES, STATUSES
from store.reports import Scope
from store.requests import Cursor, Request, Wanted

FAILED: Final = "failed"
UNREPORTED: Final = "unreported"
UNPRICED: Final = "unpriced"
ID: Final = re.compile(r"[0-9a-f]{8,30}\Z")
CURSOR: Final = re.compile(r"([0-9a-f]{12,30})\.([0-9]{1,4})\Z")
MOST_NAME: Final = 256
# What a spreadsheet calculates, or breaks a row at.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
COLUMNS: Final = (
    "time", "request_id", "attempt", "key_id", "key_name", "model", "provider", "upstream_model", "endpoint",
    "is_stream", "status", "input_tokens", "output_tokens", "cached_tokens", "cost_usd", "cost_nanodollars",
    "usage_source", "price_source", "first_byte_ms", "total_ms", "error", "client_request_id",
)  # fmt: skip

SOURCE_WORDS: Final = {
    "reported": "as the provider reported",
    "estimated": "estimated from the text",
    "none": "nothing was used",
    "lease": "the most it may have cost: the process died",
    "corrected": "corrected by hand",
}


def wanted(word: Callable[[str], str], scope_user: int | None) -> Wanted:
    """What a request's words look for. Raises InvalidParameter."""
    key = word("key")
    if key and not re.fullmatch(r"[0-9]{1,15}", key):
        raise invalid("key", "'key' is the number of an API key.")
    request_id = word("request_id").strip().lower()
    if request_id and not ID.match(request_id):
        raise invalid("request_id", "A request id is 30 digits of 0-9 and a-f; its first 8 will do.")
    since, until = word("from"), word("to")
    return Wanted(
        scope=Scope(scope_user, int(key) if key else None),
        model=_name(word, "model"),
        provider=_name(word, "provider"),
        status=_one_of(word, "status", (*STATUSES, FAILED)),
        source=_one_of(word, "source", (*SOURCES, UNREPORTED, UNPRICED)),
        request_id=request_id,
        since_ms=milliseconds(since, "from") if since else 0,
        until_ms=milliseconds(until, "to", is_end=True) if until else None,
    )


def cursor(text: str) -> Cursor | None:
    """As `cursor_text` wrote it. Raises InvalidParameter."""
    if not text:
        return None
    match = CURSOR.match(text)
    if match is None:
        raise invalid("before", "'before' is what a page gave as its end.")
    return Cursor(match[1], int(match[2]))


def cursor_text(place: Cursor) -> str:
    return f"{place.request_id}.{place.attempt}"


def exact_usd(nanodollars: int) -> str:
    """0.000125000"""
    whole, rest = divmod(abs(nanodollars), NANODOLLARS)
    return f"{'-' if nanodollars < 0 else ''}{whole}.{rest:09d}"


def details(row: Request) -> dict[str, Any]:
    """What is rare, as it was written down; nothing where that cannot be read."""
    if not row.details:
        return {}
    try:
        found = ujson.loads(row.details)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def error(row: Request) -> str:
    """Why it failed, in a word or two; empty where it did not."""
    if row.status == "ok":
        return ""
    return str(details(row).get("error", ""))


def as_json(row: Request) -> dict[str, Any]:
    """Every column of the row, and what is rare under `details`."""
    return {
        "time": f"{moment(row.started_at_ms).replace(' ', 'T')}.{row.started_at_ms % 1000:03d}Z",
        **row._asdict(),
        "is_stream": bool(row.is_stream),
        "cost_usd": exact_usd(row.cost_nanodollars),
        "error": error(row) or None,
        "details": details(row),
    }


def csv_head() -> str:
    return _csv([COLUMNS])


def csv_lines(rows: Iterable[Request]) -> str:
    """Whole lines."""
    return _csv([[cell(values.get(name)) for name in COLUMNS] for values in map(_values, rows)])


def cell(value: Any) -> str | int:
    """As a spreadsheet may have it: text that would be calculated is text for certain."""
    if value is None:
        return ""
    if isinstance(value, bool | int):
        return int(value)
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _values(row: Request) -> dict[str, Any]:
    values = as_json(row)
    return {**values, "client_request_id": values["details"].get("client_request_id")}


def _csv(lines: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(lines)
    return text.getvalue()


def _name(word: Callable[[str], str], name: str) -> str | None:
    text = word(name)
    if len(text) > MOST_NAME:
        raise invalid(name, f"'{name}' is too long.")
    return text or None


def _one_of(word: Callable[[str], str], name: str, words: tuple[str, ...]) -> str | None:
    text = word(name)
    if text and text not in words:
        raise invalid(name, f"'{name}' is one of {', '.join(words)}.")
    return text or None
