"""Charts: well-formed whatever is in them, to scale, without style or script, and said in words as well."""

from __future__ import annotations

import random
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from handlers import figures
from handlers.charts import HEIGHT, LEAST_SHOWN, Chart, Series, bars, lines, nice, share_bar

HOSTILE = [
    "</title><script>alert(1)</script>",
    "\" onload='x' \x00\x1b[31m",
    "]]>&amp;<!--",
    "모델-名前-🚀",
    "a\ud800b",
]
DRAWINGS: list[Callable[[Chart], str]] = [bars, lines]


def chart(points: list[str], *values: list[float], names: tuple[str, ...] = ("one", "two", "three")) -> Chart:
    series = [Series(names[number], f"series-{number}", each) for number, each in enumerate(values)]
    return Chart("Requests", points, series, figures.short)


def drawn(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


@pytest.mark.parametrize("draw", DRAWINGS)
@pytest.mark.parametrize("word", HOSTILE)
def test_no_word_gets_out_of_its_place(draw: Callable[[Chart], str], word: str) -> None:
    made = Chart(word, [word, "b"], [Series(word, "series-1", [1, 2])], lambda value: f"{value}{word}")
    markup = draw(made)
    root = drawn(markup)
    assert {each.tag for each in root.iter()} <= {"svg", "g", "rect", "line", "title", "polyline"}
    allowed = {"class", "viewBox", "preserveAspectRatio", "role", "aria-label"}
    allowed |= {"x", "y", "x1", "x2", "y1", "y2", "width", "height", "points"}
    assert {name for each in root.iter() for name in each.attrib} <= allowed


@pytest.mark.parametrize("draw", DRAWINGS)
@pytest.mark.parametrize("count", [0, 1, 2, 31, 366])
def test_any_number_of_points_can_be_drawn(draw: Callable[[Chart], str], count: int) -> None:
    drawing = random.Random(count)
    made = chart([str(at) for at in range(count)], *([drawing.random() for _ in range(count)] for _ in "ab"))
    root = drawn(draw(made))
    assert root.get("role") == "img" and "Requests" in root.get("aria-label", "")
    titles = [each.text or "" for each in root.iter("title")]
    assert len(titles) == len(made.rows()) == count
    assert all(title.startswith(f"{at}: one ") for at, title in enumerate(titles))


def test_bars_are_as_high_as_their_values_and_stand_on_each_other() -> None:
    root = drawn(bars(chart(["a", "b"], [10, 0], [30, 5])))
    first, second = (
        [rect for rect in group.iter("rect") if rect.get("class") != "hit"] for group in root.iter("g")
    )
    top = 40.0
    assert [float(rect.get("height", "")) for rect in first] == [10 / top * HEIGHT, 30 / top * HEIGHT]
    assert [float(rect.get("y", "")) for rect in first] == [75.0, 0.0]
    assert [(rect.get("class"), float(rect.get("height", ""))) for rect in second] == [("series-1", 12.5)]


def test_a_little_is_seen_beside_much() -> None:
    root = drawn(bars(chart(["a", "b"], [1, 1_000_000])))
    heights = [float(rect.get("height", "")) for rect in root.iter("rect") if rect.get("class") != "hit"]
    assert heights == [LEAST_SHOWN, HEIGHT]


def test_a_line_goes_through_its_values() -> None:
    root = drawn(lines(chart(["a", "b", "c"], [0, 5, 10])))
    (line,) = root.iter("polyline")
    assert [point.split(",")[1] for point in line.get("points", "").split()] == ["100.00", "50.00", "0.00"]


@pytest.mark.parametrize(
    ("most", "top"), [(0, 1), (1, 1), (1.1, 2), (37, 40), (41, 50), (99, 100), (730, 800)]
)
def test_an_axis_ends_at_a_round_number(most: float, top: float) -> None:
    assert nice(most) == pytest.approx(top)


def test_ticks_are_few_and_have_both_ends() -> None:
    for count in (1, 2, 3, 7, 24, 28, 30, 366):
        ticks = chart([str(at) for at in range(count)], [0.0] * count).ticks
        assert ticks[0] == "0" and ticks[-1] == str(count - 1) and len(ticks) <= 5
        assert len(set(ticks)) == len(ticks)


def test_the_table_behind_has_every_value() -> None:
    made = chart(["a", "b"], [1, 2], [3000, 0])
    assert made.rows() == [("a", ["1", "3k"]), ("b", ["2", "0"])]


@pytest.mark.parametrize(
    ("part", "width"), [(0, "0.0"), (0.5, "50.0"), (1, "100.0"), (7, "100.0"), (-1, "0.0")]
)
def test_a_share_stays_within_its_bar(part: float, width: str) -> None:
    assert [rect.get("width") for rect in drawn(share_bar(part)).iter("rect")] == ["100", width]
