"""Charts as SVG, made here: bars, stacked bars and lines over time, and the bar of a share.

The plot is stretched to the room there is, so all words stand beside it in the page and keep their size on a
phone. Colours are the style sheet's, by class; there is neither style nor script in it. Every point has a
title for the pointer, and every chart comes with the table it was drawn from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tornado.escape import xhtml_escape

HEIGHT: Final = 100.0
STEP: Final = 12.0  # of a point, its gap included
GAP: Final = 2.0
GRID: Final = (0.0, 25.0, 50.0, 75.0, 100.0)
MOST_TICKS: Final = 5
NICE: Final = (1.0, 2.0, 4.0, 5.0, 8.0, 10.0)
LEAST_SHOWN: Final = 0.8  # of the height: what is there at all is seen


@dataclass(frozen=True, slots=True)
class Series:
    """kind: its class in the style sheet."""

    name: str
    kind: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Chart:
    """points: what each is called. show: how its values are written. is_running: each value has those before
    it in it. marks: what a point is called on the axis, empty = as in `points`."""

    title: str
    points: Sequence[str]
    series: Sequence[Series]
    show: Callable[[float], str]
    is_running: bool = False
    marks: Sequence[str] = ()

    @property
    def ticks(self) -> list[str]:
        """Of the axis below: the first point, the last and some in between, evenly."""
        marks = self.marks or self.points
        last = len(marks) - 1
        if last < 1:
            return list(marks)
        count = min(last, MOST_TICKS - 1)
        return [marks[round(last * number / count)] for number in range(count + 1)]

    def scale(self, top: float) -> list[str]:
        """Of the axis beside it, downwards."""
        return [self.show(value).removesuffix(".00") for value in (top, top / 2, 0)]

    def rows(self) -> list[tuple[str, list[str]]]:
        """The table behind it."""
        return [
            (point, [self.show(one.values[at]) for one in self.series])
            for at, point in enumerate(self.points)
        ]

    def stacked_top(self) -> float:
        """Where the axis of stacked bars ends."""
        return nice(max((sum(values) for values in zip(*self._values(), strict=True)), default=0))

    def top(self) -> float:
        """Where the axis of lines ends."""
        return nice(max((max(values) for values in zip(*self._values(), strict=True)), default=0))

    def said(self, at: int) -> str:
        """A point in words."""
        parts = ", ".join(f"{one.name} {self.show(one.values[at])}" for one in self.series)
        return f"{self.points[at]}: {parts}"

    def label(self) -> str:
        """The whole in words, for who does not see it."""
        whole = max if self.is_running else sum
        sums = ", ".join(f"{one.name} {self.show(whole(one.values or (0,)))} in all" for one in self.series)
        span = f", {self.points[0]} to {self.points[-1]}" if self.points else ""
        return f"{self.title}{span}: {sums}"

    def _values(self) -> list[Sequence[float]]:
        return [one.values for one in self.series]


def nice(most: float) -> float:
    """The least round number that is not less."""
    if most <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(most))
    return next((step * size for step in NICE if step * size >= most), 10.0 * size)


def bars(chart: Chart) -> str:
    """A bar for each point, of as many parts as there are series, the first at the bottom."""
    top = chart.stacked_top()
    parts = [_opened(chart)]
    for at in range(len(chart.points)):
        left = at * STEP
        parts.append(f'<g class="point">{_title(chart, at)}<rect class="hit" x="{left:g}" y="0" ')
        parts.append(f'width="{STEP:g}" height="{HEIGHT:g}"/>')
        bottom = HEIGHT
        for one in chart.series:
            value = one.values[at]
            if value > 0:
                height = min(bottom, max(value / top * HEIGHT, LEAST_SHOWN))
                bottom -= height
                parts.append(f'<rect class="{one.kind}" x="{left + GAP / 2:g}" y="{bottom:.2f}" ')
                parts.append(f'width="{STEP - GAP:g}" height="{height:.2f}"/>')
        parts.append("</g>")
    parts.append("</svg>")
    return "".join(parts)


def lines(chart: Chart) -> str:
    """A line for each series."""
    top = chart.top()
    parts = [_opened(chart)]
    for one in chart.series:
        heights = [HEIGHT - max(0.0, value) / top * HEIGHT for value in one.values]
        places = [f"{(at + 0.5) * STEP:g},{height:.2f}" for at, height in enumerate(heights)]
        if len(places) == 1:  # a line has two ends
            places = [f"0,{heights[0]:.2f}", f"{STEP:g},{heights[0]:.2f}"]
        parts.append(f'<polyline class="{one.kind}" points="{" ".join(places)}"/>')
    for at in range(len(chart.points)):
        parts.append(f'<g class="point">{_title(chart, at)}<rect class="hit" x="{at * STEP:g}" y="0" ')
        parts.append(f'width="{STEP:g}" height="{HEIGHT:g}"/></g>')
    parts.append("</svg>")
    return "".join(parts)


def share_bar(part: float) -> str:
    """A part of the whole, from 0 to 1; the number stands beside it."""
    width = max(0.0, min(1.0, part)) * 100
    return (
        '<svg class="share" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rest" width="100" height="6"/>'
        f'<rect class="part" width="{width:.1f}" height="6"/></svg>'
    )


def _opened(chart: Chart) -> str:
    width = max(1, len(chart.points)) * STEP
    grid = "".join(f'<line class="grid" x1="0" x2="{width:g}" y1="{y:g}" y2="{y:g}"/>' for y in GRID)
    return (
        f'<svg class="plot" viewBox="0 0 {width:g} {HEIGHT:g}" preserveAspectRatio="none" role="img" '
        f'aria-label="{_words(chart.label())}">{grid}'
    )


def _title(chart: Chart, at: int) -> str:
    return f"<title>{_words(chart.said(at))}</title>"


def _words(text: str) -> str:
    """Fit for markup, whoever wrote them: some characters may be in no XML, escaped or not."""
    return xhtml_escape("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text))
