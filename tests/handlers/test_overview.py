"""The overview's words and drawings: each figure from the report, each link to the calls behind it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

from handlers import overview
from handlers.spans import Span
from store.reports import Days, Group, Overview, Point, Sums
from tests.store.test_latencies import counted

TODAY = 20717
SPAN = Span("7d", Days(TODAY - 6, TODAY), TODAY * 86_400)
ONE = Sums(10, 9, 2, 3, 1, 800, 200, 400, 1_500_000_000, tuple(counted([100] * 8)))
TWO = Sums(30, 30, 0, 0, 0, 100, 50, 0, 500_000_000, tuple(counted([5000] * 30)))


def shown(*sums: Sums, in_flight: int = 0) -> dict[str, Any]:
    total = Sums.total(list(sums))
    points = [Point((TODAY - 6) * 86_400 + number * 21_600, each) for number, each in enumerate(sums)]
    groups = [Group(f"<b>{number}</b>&=", f"<b>{number}</b>&=", each) for number, each in enumerate(sums)]
    groups.append(Group(None, "all others", Sums()))
    return overview.shown(Overview(total, points, groups, groups), SPAN, in_flight)


def test_tiles_say_the_sums() -> None:
    tiles = {tile.name: tile for tile in shown(ONE, TWO, in_flight=4)["tiles"]}
    assert {name: tile.value for name, tile in tiles.items()} == {
        "spend": "$2.00", "requests": "39", "tokens": "1.1k", "errors": "5 %", "latency": "5.4 s",
        "in_flight": "4",
    }  # fmt: skip
    assert tiles["spend"].exact == "$2.000000000" and tiles["tokens"].exact == "1,150"
    assert tiles["spend"].note == "3 not as reported, 1 without a price"
    assert tiles["tokens"].note == "900 in, 44.4 % cached, 250 out"


def test_an_empty_time_is_said_to_be_one() -> None:
    found = shown()
    assert found["is_empty"] and not shown(ONE)["is_empty"]
    assert [tile.value for tile in found["tiles"]] == ["$0", "0", "0", "–", "–", "0"]


def test_charts_are_of_the_series() -> None:
    drawn = {each.chart.title: each for each in shown(ONE, TWO)["drawings"]}
    values = {
        title: {one.name: list(one.values) for one in each.chart.series} for title, each in drawn.items()
    }
    assert values == {
        "Requests": {"answered": [8, 30], "failed": [2, 0]},
        "Cost": {"cost": [1_500_000_000, 500_000_000]},
        "Tokens": {"input": [800, 100], "output": [200, 50]},
        "Spend added up": {"spend": [1_500_000_000, 2_000_000_000]},
    }
    for each in drawn.values():
        ElementTree.fromstring(each.svg)
    assert "spend $2.00 in all" in drawn["Spend added up"].svg


def test_a_line_links_to_its_calls_and_the_rest_to_none() -> None:
    lines = shown(ONE, TWO)["models"]
    link = urlsplit(lines[0].link)
    assert link.path == "/dashboard/requests"
    assert parse_qs(link.query) == {"model": ["<b>0</b>&="], "from": ["2026-09-15"], "to": ["2026-09-21"]}
    assert lines[-1].link == "" and lines[0].share == "75 %"


def test_what_cost_nothing_is_divided_by_calls() -> None:
    free = Sums(calls=30, requests=30), Sums(calls=10, requests=10)
    assert [line.share for line in shown(*free)["keys"]] == ["75 %", "25 %", "0 %"]
