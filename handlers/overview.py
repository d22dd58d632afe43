"""The overview as its page has it: tiles, charts and what they divide into, out of a report's figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from handlers import figures
from handlers.charts import Chart, Series, bars, lines, share_bar
from handlers.spans import NAMED, Span
from store.reports import DAY_HOURS, Group, Overview, Point, Sums

RANGES: Final = {"today": "Today", "7d": "7 days", "30d": "30 days"}


class Tile(NamedTuple):
    """name: in the markup. note: a line below. exact: for the pointer."""

    name: str
    label: str
    value: str
    note: str
    exact: str = ""


class Drawn(NamedTuple):
    """A chart, ready for its template."""

    chart: Chart
    svg: str
    scale: list[str]


class Line(NamedTuple):
    """A line of a breakdown. link: to its requests, empty where there is none."""

    name: str
    link: str
    sums: Sums
    share: str
    bar: str


def shown(overview: Overview, span: Span, in_flight: int) -> dict[str, Any]:
    """What the template is given."""
    return {
        "span": span,
        "ranges": [(name, RANGES[name]) for name in NAMED],
        "tiles": tiles(overview.total, in_flight),
        "drawings": drawings(overview.points, span),
        "models": breakdown(overview.models, overview.total, "model", span),
        "keys": breakdown(overview.keys, overview.total, "key", span),
        "is_empty": not overview.total.calls,
        "figures": figures,
    }


def tiles(total: Sums, in_flight: int) -> list[Tile]:
    """The sums at a glance."""
    cached = (
        f", {figures.share(total.cached_tokens / total.input_tokens)} cached" if total.cached_tokens else ""
    )
    guessed = f"{figures.whole(total.estimated)} not as reported" if total.estimated else "all as reported"
    unpriced = f", {figures.whole(total.unpriced)} without a price" if total.unpriced else ""
    failed = f"{figures.whole(total.errors)} of {figures.whole(total.calls)} attempts"
    split = f"{figures.short(total.input_tokens)} in{cached}, {figures.short(total.output_tokens)} out"
    most = f"95 % within {figures.took(total.p95_ms)}"
    return [
        Tile("spend", "Spend", figures.money(total.cost_nanodollars), guessed + unpriced,
             figures.exact_money(total.cost_nanodollars)),
        Tile("requests", "Requests", figures.short(total.requests), f"{figures.whole(total.calls)} attempts",
             figures.whole(total.requests)),
        Tile("tokens", "Tokens", figures.short(total.tokens), split, figures.whole(total.tokens)),
        Tile("errors", "Error rate", figures.share(total.error_rate), failed),
        Tile("latency", "Latency, median", figures.took(total.p50_ms), most),
        Tile("in_flight", "In flight", figures.whole(in_flight), "calls under way now"),
    ]  # fmt: skip


def drawings(points: Sequence[Point], span: Span) -> list[Drawn]:
    """Requests, what they cost, that added up, and tokens, over time."""
    is_daily = span.days.step_hours == DAY_HOURS
    named = [(figures.day if is_daily else figures.hour)(point.at) for point in points]
    is_one_day = span.days.first == span.days.last
    marks = [(figures.clock if is_one_day else figures.day)(point.at) for point in points]
    sums = [point.sums for point in points]
    spent = 0
    running = [spent := spent + one.cost_nanodollars for one in sums]

    def chart(title: str, show: Callable[[float], str], *series: Series, is_running: bool = False) -> Chart:
        return Chart(title, named, series, show, is_running, marks)

    failed = Series("failed", "bad", [one.errors for one in sums])
    answered = Series("answered", "good", [one.calls - one.errors for one in sums])
    cost = Series("cost", "money", [one.cost_nanodollars for one in sums])
    asked = Series("input", "first", [one.input_tokens for one in sums])
    given = Series("output", "second", [one.output_tokens for one in sums])
    return [
        _bars(chart("Requests", figures.short, answered, failed)),
        _bars(chart("Cost", figures.money, cost)),
        _bars(chart("Tokens", figures.short, asked, given)),
        _lines(chart("Spend added up", figures.money, Series("spend", "money", running), is_running=True)),
    ]


def breakdown(groups: Sequence[Group], total: Sums, by: str, span: Span) -> list[Line]:
    """By cost where anything cost something, else by requests."""
    whole = total.cost_nanodollars or total.calls
    found = []
    for group in groups:
        part = (group.sums.cost_nanodollars if total.cost_nanodollars else group.sums.calls) / max(1, whole)
        words = {by: group.id, "from": span.first, "to": span.last}
        link = "" if group.id is None else f"/dashboard/requests?{urlencode(words)}"
        found.append(Line(group.name, link, group.sums, figures.share(part), share_bar(part)))
    return found


def _bars(chart: Chart) -> Drawn:
    return Drawn(chart, bars(chart), chart.scale(chart.stacked_top()))


def _lines(chart: Chart) -> Drawn:
    return Drawn(chart, lines(chart), chart.scale(chart.top()))
