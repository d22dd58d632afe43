"""GET /dashboard/models: what can be asked for, how it does, what it costs, and what one has used of it."""

from __future__ import annotations

from datetime import date
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from handlers import figures
from handlers.catalogue import Model
from handlers.report_pages import ReportHandler
from handlers.spans import Span
from providers.health import DOWN, HEALTHY, UNKNOWN
from store.reports import Sums

PAGE_MODELS: Final = 100
MOST_PAGES: Final = 1000
WORDS: Final = ("q", "provider", "type")
KINDS: Final = {HEALTHY: "good", DOWN: "bad", UNKNOWN: "quiet"}


class Row(NamedTuple):
    """A model as the template has it."""

    model: Model
    health: str
    kind: str
    latency_ms: int | None
    context: str
    max_output: str
    input_price: str
    output_price: str
    used: str
    retires: date | None


class ModelsPageHandler(ReportHandler):
    """Searched by name, provider and type; so many a page."""

    section = "models"

    async def get(self) -> None:
        words = {name: self.word(name) for name in WORDS}
        number = self.number("page", MOST_PAGES)
        catalogue = self.reporting.catalogue
        models = await catalogue.models()
        found = [model for model in models if is_found(model, words)]
        days = Span.asked(lambda name: "7d" if name == "range" else "", self.reporting.clock()).days
        used = {
            group.id: group.sums for group in await self.reporting.reports.groups("model", self.scope(), days)
        }
        page = found[number * PAGE_MODELS : (number + 1) * PAGE_MODELS]
        given = {name: value for name, value in words.items() if value}

        def query(page_number: int) -> str:
            return urlencode({**given, "page": page_number})

        self.page(
            "models.html",
            words=words,
            total=len(models),
            found=len(found),
            rows=[self._row(model, used.get(model.id)) for model in page],
            providers=catalogue.providers(),
            types=sorted({model.type for model in models}),
            previous_query=query(number - 1) if number else None,
            next_query=query(number + 1) if len(found) > (number + 1) * PAGE_MODELS else None,
        )

    def _row(self, model: Model, used: Sums | None) -> Row:
        word, latency_ms = self.reporting.catalogue.seen(model)
        rates = None if model.price is None else model.price.rates
        return Row(
            model,
            word,
            KINDS[word],
            latency_ms if used is None or used.p50_ms is None else used.p50_ms,
            size(model.context),
            size(model.max_output),
            figures.NOTHING if rates is None else figures.money(rates.input),
            figures.NOTHING if rates is None else figures.money(rates.output),
            figures.NOTHING if used is None else figures.short(used.requests),
            model.retires,
        )


def is_found(model: Model, words: dict[str, str]) -> bool:
    """Has it all words of the search in its name?"""
    name = model.id.lower()
    return (
        all(part in name for part in words["q"].lower().split())
        and words["provider"] in ("", model.provider)
        and words["type"] in ("", model.type)
    )


def size(tokens: int | None) -> str:
    """128k"""
    return figures.NOTHING if tokens is None else figures.short(tokens)


def as_json(model: Model, seen: tuple[str, int | None]) -> dict[str, Any]:
    """For /api/v1/models. Prices: USD per million tokens."""
    rates = None if model.price is None else model.price.rates
    return {
        **model._asdict(),
        "retires": None if model.retires is None else model.retires.isoformat(),
        "health": seen[0],
        "latency_ms": seen[1],
        "price": None
        if model.price is None or rates is None
        else {
            "source": model.price.source,
            "input_usd": rates.input / figures.NANODOLLARS,
            "cached_input_usd": rates.cached_input / figures.NANODOLLARS,
            "output_usd": rates.output / figures.NANODOLLARS,
        },
    }
