"""What the pages and the JSON of usage are made from, put together once for a process.

Whoever asks sees the calls of his own keys; an admin sees all. That is decided here alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from handlers.catalogue import Catalogue
from handlers.live import Live
from handlers.pacing import Pace
from handlers.provider_states import ProviderStates
from handlers.provider_testing import ProviderTester
from store.reports import Reports, Scope
from store.requests import RequestLog

MOST_KEYS = 500  # to choose from


class Reader(Protocol):
    """Who asks: an account."""

    @property
    def id(self) -> int: ...

    @property
    def is_admin(self) -> bool: ...


class GatewayState(NamedTuple):
    """word: ok, degraded or draining. said: what that means for calls, empty where all is well."""

    word: str
    said: str
    limiter: str
    ledger: str
    in_flight: int


@dataclass(frozen=True, slots=True)
class Wellness:
    """What a process knows of itself. word: as /health says it."""

    word: str
    has_redis: bool
    is_redis_up: bool
    is_database_up: bool
    is_ledger_behind: bool
    is_ledger_full: bool

    def state(self, in_flight: int) -> GatewayState:
        """In words for the operator."""
        wrongs = []
        if self.has_redis and not self.is_redis_up:
            wrongs.append(
                "Redis does not answer. Limits hold in each process by itself; where there are several, "
                "calls of keys with a budget are refused until it is back."
            )
        if not self.is_database_up:
            wrongs.append("The database does not answer. Keys that are in memory go on; no others do.")
        if self.is_ledger_full:
            wrongs.append("There is no room to write down what calls cost: they are refused.")
        elif self.is_ledger_behind:
            wrongs.append("The database takes no calls at the moment: they wait in the journal.")
        where = "in this process"
        if self.has_redis:
            where = "in Redis" if self.is_redis_up else "in each process by itself, until Redis is back"
        ledger = "full" if self.is_ledger_full else "behind" if self.is_ledger_behind else "up to date"
        return GatewayState(self.word, " ".join(wrongs), where, ledger, in_flight)


@dataclass(frozen=True, slots=True)
class Reporting:
    """open_keys: how many calls are under way here, by key. clock: Unix seconds."""

    reports: Reports
    log: RequestLog
    catalogue: Catalogue
    providers: ProviderStates
    tester: ProviderTester
    live: Live
    pace: Pace
    state: Callable[[], GatewayState]
    open_keys: Callable[[], Counter[int]]
    clock: Callable[[], float]

    def scope(self, reader: Reader, key_id: int | None = None) -> Scope:
        """What a reader may see, of one key alone where one is named."""
        return Scope(None if reader.is_admin else reader.id, key_id)

    async def in_flight(self, scope: Scope) -> int:
        """Calls under way in this process. Raises what `Reports` does."""
        open_keys = self.open_keys()
        if scope.user_id is not None and open_keys:
            own = {key_id for key_id, _ in await self.reports.keys(scope, MOST_KEYS)}
            open_keys = Counter({key: count for key, count in open_keys.items() if key in own})
        return open_keys.total() if scope.key_id is None else open_keys[scope.key_id]
