"""Numbers as the pages show them: money, counts, durations, shares, times. Rounded for the eye.

Exact ones are in the tables' titles, in the export and in the JSON. Times are UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

NANODOLLARS: Final = 1_000_000_000
NOTHING: Final = "–"
UNITS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def money(nanodollars: float) -> str:
    """$0, $0.000125, $0.0312, $12.30, $1,235, $1.2M"""
    amount = abs(nanodollars) / NANODOLLARS
    sign = "-$" if nanodollars < 0 else "$"
    if not amount:
        return "$0"
    if amount >= 1e6:
        return sign + short(amount)
    if amount >= 1000:
        return f"{sign}{amount:,.0f}"
    if amount >= 0.99995:
        return f"{sign}{amount:,.2f}"
    digits = 4 if amount >= 0.01 else 6 if amount >= 1e-6 else 9
    return sign + f"0.{f'{amount:.{digits}f}'[2:].rstrip('0'):0<2}"


def exact_money(nanodollars: int) -> str:
    """With all its decimals: $0.000125000"""
    whole, rest = divmod(abs(nanodollars), NANODOLLARS)
    return f"{'-' if nanodollars < 0 else ''}${whole:,}.{rest:09d}"


def short(count: float) -> str:
    """999, 1.2k, 34.5M"""
    for size, letter in UNITS:
        if abs(count) >= size * 0.9995:
            scaled = count / size
            return f"{scaled:.{1 if abs(scaled) < 99.95 else 0}f}".removesuffix(".0") + letter
    return f"{count:.10g}" if isinstance(count, int) else f"{count:.3g}"


def whole(count: int) -> str:
    """1,234,567"""
    return f"{count:,}"


def took(ms: int | None) -> str:
    """831 ms, 31.2 s, 2 min 5 s"""
    if ms is None:
        return NOTHING
    if ms < 1000:
        return f"{ms} ms"
    if ms < 100_000:
        return f"{ms / 1000:.1f} s" if ms < 9950 else f"{ms / 1000:.0f} s"
    return f"{ms // 60_000} min {ms % 60_000 // 1000} s"


def share(part: float | None) -> str:
    """0 %, 0.03 %, 12.5 %, 100 %"""
    if part is None:
        return NOTHING
    percent = part * 100
    digits = 2 if 0 < percent < 1 else 1
    return f"{percent:.{digits}f}".rstrip("0").rstrip(".") + " %"


def moment(at_ms: int) -> str:
    """2026-11-24 04:33:15"""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def hour(at: int) -> str:
    """24 Nov 04:00"""
    return datetime.fromtimestamp(at, UTC).strftime("%-d %b %H:%M")


def clock(at: int) -> str:
    """04:00"""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M")


def day(at: int) -> str:
    """24 Nov"""
    return datetime.fromtimestamp(at, UTC).strftime("%-d %b")
