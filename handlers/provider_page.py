"""GET /dashboard/admin/providers: how providers, limits and the ledger do, and what cost is uncertain.

For admins alone. No secret is shown but by its fingerprint.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from handlers.page import ADMIN
from handlers.provider_states import PARTLY, ProviderState, SecretState
from handlers.provider_testing import Tested
from handlers.report_pages import ReportHandler
from handlers.spans import Span
from handlers.wording import ago
from providers.health import DOWN, HEALTHY, UNKNOWN
from store.reports import Group, Sums

WORDS: Final = {HEALTHY: "up", PARTLY: "partly up", DOWN: "down", UNKNOWN: "not called yet"}
KINDS: Final = {HEALTHY: "good", PARTLY: "warn", DOWN: "bad", UNKNOWN: "quiet"}


class Card(NamedTuple):
    """A provider as the template has it."""

    state: ProviderState
    word: str
    kind: str
    quoted: str
    read: str
    failing: str
    secrets: list[SecretState]
    sums: Sums


class Uncertain(NamedTuple):
    """Calls of a model that were not charged by the provider's figures and a price."""

    name: str
    query: str
    estimated: int
    unpriced: int


class ProvidersPageHandler(ReportHandler):
    """The whole page, with what has just been tried."""

    role = ADMIN
    section = "admin"

    async def show(self, tested: dict[str, list[Tested]]) -> None:
        """tested: by the provider's name, what has just been tried."""
        span = Span.asked(lambda name: "7d" if name == "range" else "", self.reporting.clock())
        reports, scope = self.reporting.reports, self.scope()
        sums = {group.id: group.sums for group in await reports.groups("provider", scope, span.days)}
        models = await reports.groups("model", scope, span.days)
        self.page(
            "providers.html",
            providers=[card(state, sums) for state in await self.reporting.providers.all()],
            state=self.reporting.state(),
            tested=tested,
            uncertain=[one for one in (uncertain(group, span) for group in models) if one is not None],
        )


class ProvidersHandler(ProvidersPageHandler):
    """GET /dashboard/admin/providers."""

    async def get(self) -> None:
        await self.show({})


class ProviderTestHandler(ProvidersPageHandler):
    """POST /dashboard/admin/providers/NAME/test: asks for its list of models with each of its secrets."""

    is_paced = False  # who waits is the provider

    async def post(self, name: str) -> None:
        await self.show({name: await self.reporting.tester.test(name)})


def card(state: ProviderState, sums: dict[Any, Sums]) -> Card:
    return Card(
        state,
        WORDS[state.word],
        KINDS[state.word],
        quote(state.name, safe=""),
        ago(state.read_at),
        ago(state.failing_since),
        [secret for secret in state.secrets if secret.fingerprint],
        sums.get(state.name, Sums()),
    )


def uncertain(group: Group, span: Span) -> Uncertain | None:
    """None where all is certain."""
    if not (group.sums.estimated or group.sums.unpriced):
        return None
    query = urlencode({"model": group.id, "from": span.first, "to": span.last})
    return Uncertain(group.name, query, group.sums.estimated, group.sums.unpriced)
