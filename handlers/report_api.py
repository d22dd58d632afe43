"""The same figures as JSON, under /api/v1: usage, requests, models, providers and the gateway's own state.

Money is in whole nano-dollars, and in USD beside it. Made by the same functions as the pages.
"""

from __future__ import annotations

from typing import Any, Final

import ujson

from handlers.figures import NANODOLLARS
from handlers.model_page import as_json as model_json
from handlers.page import ADMIN
from handlers.report_pages import ReportDataHandler
from handlers.request_rows import as_json as request_json
from handlers.request_rows import cursor, cursor_text, wanted
from handlers.spans import invalid
from store.reports import COUNTED, Group, Sums

MOST_ROWS: Final = 200
USUAL_ROWS: Final = 50
GROUPS: Final = ("model", "key", "provider")


class UsageApiHandler(ReportDataHandler):
    """GET /api/v1/usage?range=|from=&to=&key=&by=: sums, a series, and what they divide into."""

    async def get(self) -> None:
        by = self.word("by")
        if by and by not in GROUPS:
            raise invalid("by", f"'by' is one of {', '.join(GROUPS)}.")
        span, scope, reporting = self.span(), self.scope(), self.reporting
        found = await reporting.reports.overview(scope, span.days, span.now)
        groups: dict[str, list[Group]] = {"model": found.models, "key": found.keys}
        if by == "provider":
            groups = {by: await reporting.reports.groups(by, scope, span.days)}
        self.write_json(
            {
                "from": span.first,
                "to": span.last,
                "step_hours": span.days.step_hours,
                "in_flight": await reporting.in_flight(scope),
                "total": sums_json(found.total),
                "series": [{"at": point.at, **sums_json(point.sums)} for point in found.points],
                **{
                    f"by_{name}": [{name: one.id, "name": one.name, **sums_json(one.sums)} for one in each]
                    for name, each in groups.items()
                    if by in ("", name)
                },
            }
        )


class RequestsApiHandler(ReportDataHandler):
    """GET /api/v1/requests, as the page; `older` is the next page's `before`."""

    async def get(self) -> None:
        looked_for = wanted(self.word, self.scope().user_id)
        most = self.number("limit", MOST_ROWS) or USUAL_ROWS
        page = await self.reporting.log.page(looked_for, cursor(self.word("before")), most)
        self.write_json(
            {
                "data": [request_json(row) for row in page.rows],
                "older": None if page.older is None else cursor_text(page.older),
                "is_cut": page.is_cut,
            }
        )


class ModelsApiHandler(ReportDataHandler):
    """GET /api/v1/models: the catalogue."""

    async def get(self) -> None:
        catalogue = self.reporting.catalogue
        models = await catalogue.models()
        lines = (ujson.dumps(model_json(model, catalogue.seen(model))) for model in models)
        self.write(f'{{"data":[{",".join(lines)}]}}')


class ProvidersApiHandler(ReportDataHandler):
    """GET /api/v1/providers, for admins."""

    role = ADMIN

    async def get(self) -> None:
        states = await self.reporting.providers.all()
        self.write_json({"data": [_provider_json(state._asdict()) for state in states]})


class ProviderTestApiHandler(ReportDataHandler):
    """POST /api/v1/providers/NAME/test, for admins: its list of models, by each of its secrets."""

    role = ADMIN
    is_paced = False  # who waits is the provider

    async def post(self, name: str) -> None:
        tested = await self.reporting.tester.test(name)
        self.write_json({"data": [each._asdict() for each in tested]})


class StateApiHandler(ReportDataHandler):
    """GET /api/v1/state, for admins."""

    role = ADMIN

    async def get(self) -> None:
        self.write_json(self.reporting.state()._asdict())


def sums_json(sums: Sums) -> dict[str, Any]:
    """Percentiles are null where there were no answers, or where they are not known by this."""
    counts = {name: getattr(sums, name) for name in COUNTED}
    return {
        **counts,
        "cost_usd": sums.cost_nanodollars / NANODOLLARS,
        "p50_ms": sums.p50_ms,
        "p95_ms": sums.p95_ms,
    }


def _provider_json(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "secrets": [secret._asdict() for secret in state["secrets"]]}
