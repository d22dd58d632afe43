"""The span of days that a page or a report is about, from a request's own words. Days are of UTC.

Refuses, as InvalidParameter, what is no date, what ends before it begins, and what is longer than its bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from handlers.rules import InvalidParameter
from store.reports import Days

DAY: Final = 86_400
MOST_DAYS: Final = 366
NAMED: Final = {"today": 1, "7d": 7, "30d": 30}  # days up to now, today included
CUSTOM: Final = "custom"
EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Span:
    """name: one of NAMED, or CUSTOM. now: Unix seconds at which it was asked for."""

    name: str
    days: Days
    now: int

    @classmethod
    def asked(cls, word: Callable[[str], str], now: float) -> Span:
        """word: of the request, by name; empty where it is not there. Raises InvalidParameter."""
        today = int(now) // DAY
        first, last = word("from"), word("to")
        name = word("range") or (CUSTOM if first or last else "today")
        if name in NAMED:
            return cls(name, Days(today - NAMED[name] + 1, today), int(now))
        if name != CUSTOM:
            raise invalid("range", f"'range' is one of {', '.join((*NAMED, CUSTOM))}.")
        end = _day(last, "to") if last else today
        begin = _day(first, "from") if first else end
        if begin > end:
            raise invalid("from", "'from' is later than 'to'.")
        if end - begin >= MOST_DAYS:
            raise invalid("from", f"No more than {MOST_DAYS} days at once.")
        return cls(CUSTOM, Days(begin, end), int(now))

    @property
    def first(self) -> str:
        return day_text(self.days.first)

    @property
    def last(self) -> str:
        return day_text(self.days.last)

    @property
    def said(self) -> str:
        """In words."""
        words = {"today": "Today", "7d": "The last 7 days", "30d": "The last 30 days"}
        return words.get(self.name, self.first if self.first == self.last else f"{self.first} to {self.last}")

    @property
    def query(self) -> str:
        """As a link says it."""
        if self.name == CUSTOM:
            return f"range={CUSTOM}&from={self.first}&to={self.last}"
        return f"range={self.name}"


def invalid(name: str, message: str) -> InvalidParameter:
    """A word of the request that says nothing."""
    return InvalidParameter(message, name, "invalid_value")


def day_text(day: int) -> str:
    """2026-11-24"""
    return (EPOCH + timedelta(days=day)).isoformat()


def milliseconds(text: str, name: str, *, is_end: bool = False) -> int:
    """`2026-11-24` or `2026-11-24T04:33` as Unix milliseconds; the end of a day where a date is an end."""
    try:
        given = datetime.fromisoformat(text)
        if len(text) == 10 and is_end:
            given += timedelta(days=1)
        at = (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise invalid(name, f"'{name}' is no time such as 2026-11-24T08:30.") from None
    if not 0 <= at < 2**38:
        raise invalid(name, f"'{name}' is out of reach.")
    return int(at * 1000)


def _day(text: str, name: str) -> int:
    try:
        return (date.fromisoformat(text) - EPOCH).days
    except ValueError:
        raise invalid(name, f"'{name}' is no date such as 2026-11-24.") from None
