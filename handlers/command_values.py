"""Words of the command line <-> values: money, times, durations, tables."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, Inexact, InvalidOperation, localcontext
from typing import Any, Final

ABSENT: Final = object()  # an option that was not given, where None is a value
NANODOLLARS: Final = 1_000_000_000
MOST_USD: Final = 8_000_000  # up to here each nano-dollar is a double of its own, in JSON and in Redis
LAST: Final = 253_402_300_799  # the end of the year 9999, the last there is for datetime
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def now() -> int:
    """Unix seconds."""
    return int(time.time())


def nanodollars(text: str) -> int | None:
    """`12.5` -> 12_500_000_000, `none` -> None."""
    if text == "none":
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"'{text}' is no amount of USD") from None
    if not amount.is_finite() or not 0 <= amount <= MOST_USD:
        raise argparse.ArgumentTypeError(f"a budget is 0 to {MOST_USD} USD, or none")
    with localcontext() as context:
        context.traps[Inexact] = True  # else a product too long for the context is silently rounded
        try:
            return int((amount * NANODOLLARS).to_integral_exact())
        except Inexact:
            raise argparse.ArgumentTypeError("money has nine decimals at the most") from None


def cost(text: str) -> int:
    """`0.000125` -> 125_000 nano-dollars."""
    amount = nanodollars(text)
    if amount is None:
        raise argparse.ArgumentTypeError("a cost is an amount of USD")
    return amount


def usd(nanodollars: int | None) -> int | float | None:
    """Nano-dollars as a JSON number that prints all their decimals: up to MOST_USD a double does."""
    if nanodollars is None:
        return None
    whole, rest = divmod(nanodollars, NANODOLLARS)
    return whole if not rest else float(Decimal(nanodollars) / NANODOLLARS)


def positive(text: str) -> int:
    """A whole number from 1."""
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1")
    return int(text)


def positive_or_none(text: str) -> int | None:
    """A whole number from 1, `none` -> None."""
    return None if text == "none" else positive(text)


def duration(text: str) -> int:
    """`24h` -> seconds."""
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no duration such as 30d, 24h or 15m")
    return int(match[1]) * UNITS[match[2]]


def moment(text: str) -> int | None:
    """`30d`, `2027-01-31`, `2027-01-31T12:00` (UTC unless an offset is given), `never` -> Unix s."""
    if text == "never":
        return None
    if re.fullmatch(r"[0-9]{1,9}[smhdw]", text):
        at = now() + duration(text)
    else:
        at = _given(text, "30d, 12h or 2027-01-31")
    if at <= now():
        raise argparse.ArgumentTypeError(f"{text} is not in the future")
    if at > LAST:
        raise argparse.ArgumentTypeError(f"{text} is past the year 9999: leave it out, or say never")
    return at


def since(text: str) -> int:
    """`7d`, `2026-11-01`, `2026-11-01T12:00` (UTC unless an offset is given), `all` -> Unix s."""
    if text == "all":
        return 0
    if re.fullmatch(r"[0-9]{1,9}[smhdw]", text):
        return max(0, now() - duration(text))
    at = _given(text, "7d, 12h or 2026-11-01")
    if at > now():
        raise argparse.ArgumentTypeError(f"{text} is in the future")
    return max(0, at)


def _given(text: str, such_as: str) -> int:
    """A date or time that was written out."""
    try:
        given = datetime.fromisoformat(text)
        return int((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"'{text}' is no time such as {such_as}") from None


def models(text: str) -> frozenset[str] | None:
    """`a,b` -> the set, `any` -> None."""
    if text == "any":
        return None
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    if not names or not all(name.isprintable() for name in names):
        raise argparse.ArgumentTypeError("name at least one model, or 'any'")
    return names


def state(disabled_at: int | None, expires_at: int | None) -> str:
    """A key's state in a word."""
    if disabled_at is not None:
        return "inactive"
    return "expired" if expires_at is not None and expires_at <= now() else "active"


def time_text(at: int | None) -> str | None:
    """Unix seconds as people read them, in UTC."""
    if at is None:
        return None
    if not 0 <= at <= LAST:  # written by hand, in milliseconds perhaps
        return f"{at}s"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def cell(value: Any) -> str:
    """A value in a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{Decimal(str(value)):f}"  # 0.0000005, not 5e-07
    text = ", ".join(value) if isinstance(value, list) else str(value)
    # No row, whoever wrote it, moves the cursor of the terminal that shows it.
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Rows of equal length -> lines with straight columns."""
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
