"""The span of a page by its words; what is none is refused with the word that is wrong."""

from __future__ import annotations

import pytest

from handlers.rules import InvalidParameter
from handlers.spans import MOST_DAYS, Span, milliseconds
from store.reports import Days

NOW = 1_790_000_000.5  # 2026-09-21 14:13:20
TODAY = 20717


def asked(**words: str) -> Span:
    return Span.asked(lambda name: words.get(name.replace("from", "since"), ""), NOW)


@pytest.mark.parametrize(
    ("words", "days", "said"),
    [
        ({}, Days(TODAY, TODAY), "Today"),
        ({"range": "7d"}, Days(TODAY - 6, TODAY), "The last 7 days"),
        ({"range": "30d"}, Days(TODAY - 29, TODAY), "The last 30 days"),
        (
            {"since": "2026-09-01", "to": "2026-09-03"},
            Days(TODAY - 20, TODAY - 18),
            "2026-09-01 to 2026-09-03",
        ),
        ({"range": "custom", "since": "2026-09-20"}, Days(TODAY - 1, TODAY), "2026-09-20 to 2026-09-21"),
        ({"range": "custom", "to": "2026-09-20"}, Days(TODAY - 1, TODAY - 1), "2026-09-20"),
    ],
)
def test_words_are_a_span(words: dict[str, str], days: Days, said: str) -> None:
    span = asked(**words)
    assert (span.days, span.said) == (days, said)
    again = dict(pair.split("=") for pair in span.query.replace("from", "since").split("&"))
    assert asked(**again).days == days


@pytest.mark.parametrize(
    ("words", "param"),
    [
        ({"range": "yesterday"}, "range"),
        ({"since": "1.9.2026"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"since": "2026-09-03", "to": "2026-09-01"}, "from"),
        ({"since": "2020-01-01", "to": "2026-09-01"}, "from"),
        ({"since": "' OR 1=1"}, "from"),
    ],
)
def test_what_is_no_span_is_refused(words: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        asked(**words)
    assert refused.value.param == param


def test_a_span_of_the_longest_is_allowed() -> None:
    span = asked(since="2024-01-01", to="2024-12-31")
    assert span.days.last - span.days.first + 1 == MOST_DAYS


def test_a_date_as_an_end_has_its_whole_day() -> None:
    assert milliseconds("2026-09-21", "to", is_end=True) - milliseconds("2026-09-21", "from") == 86_400_000
    assert milliseconds("2026-09-21T14:13:20", "to", is_end=True) == 1_790_000_000_000
    assert milliseconds("2026-09-21T16:13:20+02:00", "from") == 1_790_000_000_000


@pytest.mark.parametrize("text", ["soon", "0001-01-01", "9999-12-31", "2026-09-21T25:00", "1969-12-30"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        milliseconds(text, "from", is_end=True)
