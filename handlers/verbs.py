"""What a verb of the command line is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from providers.router import Router
from store.catalog import CatalogLists
from store.credentials import Credentials
from store.keys import ApiKeys
from store.prices import Prices
from store.sessions import Sessions
from store.settings import Settings
from store.usage import UsageReader
from store.users import Users


@dataclass(frozen=True, slots=True)
class Tables:
    """What a verb works on."""

    settings: Settings
    keys: ApiKeys
    users: Users
    credentials: Credentials
    sessions: Sessions
    usage: UsageReader
    prices: Prices
    catalog: CatalogLists
    router: Callable[[], Router]


class Result(NamedTuple):
    """document: for --json. lines: for people. status: of the process."""

    document: Any
    lines: list[str]
    status: int = 0
