"""Budget windows: the edges of days, weeks and months in UTC, resets, and clocks that step back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from limits.windows import DAY, Windows, window

FIRST, LAST = 0, 32_503_680_000  # the year 3000
MOMENTS = st.integers(FIRST, LAST) | st.floats(FIRST, LAST)
PERIODS = st.sampled_from(["day", "week", "month"])


def at(*parts: int) -> int:
    """A moment of UTC in Unix seconds."""
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]


@pytest.fixture(params=["Pacific/Kiritimati", "America/New_York", "UTC"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the machine stands must not matter."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("period", "now", "start", "end"),
    [
        ("day", (2026, 3, 29, 0, 0, 0), (2026, 3, 29), (2026, 3, 30)),
        ("day", (2026, 3, 29, 23, 59, 59), (2026, 3, 29), (2026, 3, 30)),
        ("day", (2025, 12, 31, 23, 59, 59), (2025, 12, 31), (2026, 1, 1)),
        ("day", (2024, 2, 29, 12), (2024, 2, 29), (2024, 3, 1)),
        ("week", (2026, 6, 15, 0, 0, 0), (2026, 6, 15), (2026, 6, 22)),  # a Monday
        ("week", (2026, 6, 21, 23, 59, 59), (2026, 6, 15), (2026, 6, 22)),  # the Sunday after
        ("week", (2026, 1, 1), (2025, 12, 29), (2026, 1, 5)),
        ("week", (2024, 3, 1), (2024, 2, 26), (2024, 3, 4)),
        ("week", (1970, 1, 1), (1969, 12, 29), (1970, 1, 5)),
        ("month", (2026, 1, 1), (2026, 1, 1), (2026, 2, 1)),
        ("month", (2025, 12, 31, 23, 59, 59), (2025, 12, 1), (2026, 1, 1)),
        ("month", (2024, 2, 29, 23, 59, 59), (2024, 2, 1), (2024, 3, 1)),
        ("month", (2026, 2, 28, 23, 59, 59), (2026, 2, 1), (2026, 3, 1)),
        ("month", (2000, 2, 29), (2000, 2, 1), (2000, 3, 1)),
        ("month", (2100, 2, 28, 23, 59, 59), (2100, 2, 1), (2100, 3, 1)),  # no leap year
        ("month", (2026, 4, 30, 23, 59, 59), (2026, 4, 1), (2026, 5, 1)),
    ],
)
def test_the_window_of_a_moment(
    period: str, now: tuple[int, ...], start: tuple[int, ...], end: tuple[int, ...]
) -> None:
    assert window(period, at(*now)) == (at(*start), at(*end))


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_the_last_part_of_a_second_belongs_to_the_window_that_ends(period: str) -> None:
    end = at(2026, 6, 1)  # of a day, a week and a month: a Monday
    assert window(period, end - 1e-6)[1] == end
    assert window(period, end)[0] == end
    windows = Windows()
    assert windows.start(period, None, end - 1e-6) < end == windows.start(period, None, end)


@given(period=PERIODS, now=MOMENTS)
@example(period="month", now=at(2024, 2, 29))
@example(period="month", now=at(2100, 2, 28))
@example(period="week", now=0)
def test_windows_hold_their_moment_and_follow_each_other(period: str, now: float) -> None:
    start, end = window(period, now)
    assert start <= now < end
    assert window(period, start) == window(period, end - 1) == (start, end)
    assert window(period, end)[0] == end
    assert window(period, start - 1)[1] == start


@given(period=PERIODS, now=MOMENTS)
def test_windows_begin_where_the_calendar_says(period: str, now: float) -> None:
    start, end = (datetime.fromtimestamp(edge, UTC) for edge in window(period, now))
    assert start.time() == end.time() == datetime.min.time()
    if period == "day":
        assert end - start == timedelta(days=1)
    elif period == "week":
        assert (start.isoweekday(), end - start) == (1, timedelta(weeks=1))
    else:
        assert start.day == end.day == 1
        assert (end.year * 12 + end.month) - (start.year * 12 + start.month) == 1


@given(st.lists(st.tuples(PERIODS, MOMENTS), max_size=20))
def test_what_is_remembered_changes_no_answer(asked: list[tuple[str, float]]) -> None:
    """Neither another period nor a clock that steps, forwards or back."""
    windows = Windows()
    for period, now in asked:
        assert windows.start(period, None, now) == window(period, now)[0]
        assert windows.end(period, now) == window(period, now)[1]


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_a_clock_that_steps_back_over_an_edge_is_in_the_window_before(period: str) -> None:
    edge = at(2026, 6, 1)
    windows = Windows()
    assert windows.start(period, None, edge + 1) == edge
    assert windows.start(period, None, edge - 1) == window(period, edge - DAY)[0]
    assert windows.start(period, None, edge + 1) == edge


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_a_reset_begins_a_window_in_the_middle_of_the_period(period: str) -> None:
    start, end = window(period, at(2026, 6, 17, 12))
    windows = Windows()
    for reset_at in (start + 1, start + 3600, end - 1):
        assert windows.start(period, reset_at, end - 1) == reset_at
        assert windows.end(period, end - 1) == end
    assert windows.start(period, None, end - 1) == start


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_a_reset_before_the_window_is_long_over(period: str) -> None:
    start, end = window(period, at(2026, 6, 17, 12))
    windows = Windows()
    assert windows.start(period, end - 1, end - 1) == end - 1
    assert windows.start(period, end - 1, end) == end  # the period after it has a window of its own
    for reset_at in (0, start - DAY, start - 1, start):
        assert windows.start(period, reset_at, start) == start


def test_a_reset_at_zero_is_one_and_not_none() -> None:
    assert Windows().start("day", 0, 5) == 0
    assert Windows().start("total", 0, 5) == 0


@given(now=MOMENTS, reset_at=st.none() | st.integers(0, LAST))
def test_a_total_budget_has_one_window_from_the_last_reset_on(now: float, reset_at: int | None) -> None:
    windows = Windows()
    assert windows.start("total", reset_at, now) == (reset_at or 0)
    assert windows.end("total", now) is None


@given(period=PERIODS, now=MOMENTS, reset_at=st.integers(0, LAST))
def test_a_reset_never_puts_the_start_before_the_period(period: str, now: float, reset_at: int) -> None:
    assert Windows().start(period, reset_at, now) == max(window(period, now)[0], reset_at)
