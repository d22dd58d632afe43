"""Who sees what, and what the operator is told of the gateway's state."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from handlers.reporting import Reporting, Wellness
from store.readers import Readers
from store.reports import Reports, Scope
from tests.store.books import make_data_dir
from tests.store.stores import run
from tests.store.test_reports import own_keys


@dataclass
class Account:
    id: int
    is_admin: bool = False


def reporting(reports: Any = None, open_keys: Counter[int] | None = None) -> Reporting:
    nothing = cast(Any, None)
    return Reporting(
        reports=reports,
        log=nothing,
        catalogue=nothing,
        providers=nothing,
        tester=nothing,
        live=nothing,
        pace=nothing,
        state=nothing,
        open_keys=lambda: open_keys or Counter(),
        clock=lambda: 0.0,
    )


def test_an_admin_sees_all_and_others_their_own() -> None:
    found = reporting()
    assert found.scope(Account(3)) == Scope(3) and found.scope(Account(3), 7) == Scope(3, 7)
    assert found.scope(Account(3, is_admin=True)) == Scope() and found.scope(Account(1, True), 7) == Scope(
        None, 7
    )


def test_calls_under_way_are_of_the_readers_keys(tmp_path: Path) -> None:
    directory = make_data_dir(tmp_path)
    own_keys(tmp_path)

    async def test() -> None:
        readers = Readers(directory.database, 20)
        found = reporting(Reports(readers), Counter({1: 2, 2: 3, 3: 5, 4: 7, 99: 11}))
        counts = {scope: await found.in_flight(scope) for scope in (
            Scope(), Scope(1), Scope(2), Scope(None, 4), Scope(1, 2), Scope(1, 3), Scope(99),
        )}  # fmt: skip
        await readers.close()
        assert list(counts.values()) == [28, 5, 5, 7, 3, 0, 0]

    run(test)


WELL = {
    "word": "ok", "has_redis": False, "is_redis_up": True, "is_database_up": True, "is_ledger_behind": False,
    "is_ledger_full": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("what", "said", "limiter", "ledger"),
    [
        ({}, "", "in this process", "up to date"),
        ({"has_redis": True}, "", "in Redis", "up to date"),
        (
            {"has_redis": True, "is_redis_up": False},
            "Redis does not answer",
            "until Redis is back",
            "up to date",
        ),
        ({"is_database_up": False}, "database does not answer", "in this process", "up to date"),
        ({"is_ledger_behind": True}, "wait in the journal", "in this process", "behind"),
        ({"is_ledger_full": True, "is_ledger_behind": True}, "no room", "in this process", "full"),
    ],
)
def test_what_is_wrong_is_said(what: dict[str, Any], said: str, limiter: str, ledger: str) -> None:
    state = Wellness(**{**WELL, **what}).state(3)
    assert said in state.said and bool(said) == bool(state.said)
    assert limiter in state.limiter and (state.ledger, state.in_flight) == (ledger, 3)
