"""The log of changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from store.audit import MOST_ROWS, OPERATOR, Actor, AuditLog
from store.errors import Invalid
from store.keys import NewKey
from store.users import Users
from tests.store.stores import opened, run


def test_a_change_says_who_and_only_what_differs(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, keys):
            key, plaintext = await keys.create(NewKey(name="first"))
            await keys.update(key.id, {"name": "second", "tier": key.tier}, by=Actor("ada", "page", 7))
            _, successor = await keys.rotate(key.id, 60)
            rows = await AuditLog(database).list(subject=f"key {key.id}")
            assert [row.action for row in rows] == ["key.rotate", "key.update", "key.create"]
            changed = rows[1]
            assert (changed.actor, changed.way) == ("ada", "page")
            assert json.loads(changed.before or "") == {"name": "first"}
            assert json.loads(changed.after or "") == {"name": "second"}
            told = " ".join(f"{row.before} {row.after}" for row in rows)
            assert plaintext not in told and successor not in told

    run(test)


def test_what_was_refused_is_no_change(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, keys):
            key, _ = await keys.create(NewKey(name="first"))
            with pytest.raises(Invalid):
                await keys.update(key.id, {"rpm": 0})
            with pytest.raises(Invalid):
                await Users(database).create("nobody")
            assert [row.action for row in await AuditLog(database).list()] == ["key.create"]

    run(test)


def test_it_is_read_by_the_page(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            users, log = Users(database), AuditLog(database)
            for number in range(MOST_ROWS + 5):
                await users.create(f"{number}@example.org", by=OPERATOR)
            newest = await log.list()
            rest = await log.list(below=newest[-1].id)
            assert len(newest) == MOST_ROWS and len(rest) == 5
            assert [row.id for row in (*newest, *rest)] == sorted(
                (row.id for row in (*newest, *rest)), reverse=True
            )

    run(test)
