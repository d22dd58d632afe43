"""Numbers for the eye: short, never misleading by more than their last digit, no sum shown as nothing."""

from __future__ import annotations

import pytest

from handlers import figures


@pytest.mark.parametrize(
    ("nanodollars", "text"),
    [
        (0, "$0"),
        (1, "$0.000000001"),
        (125_000, "$0.000125"),
        (31_200_000, "$0.0312"),
        (999_999_999, "$1.00"),
        (500_000_000, "$0.50"),
        (1_500_000_000, "$1.50"),
        (1_234_567_891_234, "$1,235"),
        (2_500_000 * 10**9, "$2.5M"),
        (-31_200_000, "-$0.0312"),
        (-2 * 10**9, "-$2.00"),
    ],
)
def test_money(nanodollars: int, text: str) -> None:
    assert figures.money(nanodollars) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (7, "7"), (999, "999"), (1000, "1k"), (1234, "1.2k"), (99_960, "100k"), (999_600, "1M"),
     (9_731_275, "9.7M"), (34_500_000_000, "34.5G"), (0.5, "0.5")],
)  # fmt: skip
def test_counts(count: float, text: str) -> None:
    assert figures.short(count) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(None, "–"), (0, "0 ms"), (831, "831 ms"), (1000, "1.0 s"), (9949, "9.9 s"), (31_215, "31 s"),
     (125_000, "2 min 5 s")],
)  # fmt: skip
def test_durations(ms: int | None, text: str) -> None:
    assert figures.took(ms) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [(None, "–"), (0, "0 %"), (0.0003, "0.03 %"), (0.125, "12.5 %"), (0.1, "10 %"), (1, "100 %")],
)
def test_shares(part: float | None, text: str) -> None:
    assert figures.share(part) == text


def test_exact_money_has_every_nano_dollar() -> None:
    assert figures.exact_money(1_234_000_000_001) == "$1,234.000000001"
    assert figures.exact_money(-1) == "-$0.000000001"


def test_times_are_of_utc() -> None:
    assert figures.moment(1_790_000_000_123) == "2026-09-21 14:13:20"
    assert (figures.day(1_790_000_000), figures.hour(1_790_000_000)) == ("21 Sep", "21 Sep 14:13")
