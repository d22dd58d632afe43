"""API keys at rest: what is stored, what is not, and what changes do."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path

import pytest

from store.errors import Invalid, NotFound, StoreUnavailable
from store.keys import ApiKeys, NewKey
from store.users import Users
from tests.store.stores import TIERS, opened, run


def test_the_plaintext_is_returned_once_and_nowhere_on_disk(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (_, keys):
            key, plaintext = await keys.create(NewKey(name="first"))
            assert re.fullmatch(r"sk-[A-Za-z0-9]{48}", plaintext)
            assert key.digest == hashlib.sha256(plaintext.encode()).digest()
            assert (key.prefix, key.last4) == (plaintext[:7], plaintext[-4:])
            assert plaintext not in repr(key)
            assert repr(key.digest) not in repr(key)
        for file in tmp_path.iterdir():
            assert plaintext.encode() not in file.read_bytes()

    run(test)


def test_limits_are_the_key_s_own_else_its_tier_s(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, keys):
            free, _ = await keys.create(NewKey(name="free"))
            own, _ = await keys.create(NewKey(name="own", tier="pro", rpm=5))
            assert (free.rpm, free.tpd) == (60, 100_000)
            assert (own.rpm, own.tpd) == (5, 1_000_000)
            raised = ApiKeys(database, {**TIERS, "free": TIERS["pro"]})
            assert (await raised.find(free.id)).rpm == 300

    run(test)


def test_how_many_calls_run_at_once_is_unbounded_until_it_is_set(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (_, keys):
            key, _ = await keys.create(NewKey(name="any"))
            bounded, _ = await keys.create(NewKey(name="bounded", max_parallel=3))
            assert (key.max_parallel, bounded.max_parallel) == (None, 3)
            before = await keys.version()
            assert (await keys.update(key.id, {"max_parallel": 2})).max_parallel == 2
            assert await keys.version() > before
            assert (await keys.look_up(key.digest))[0] == await keys.find(key.id)
            assert (await keys.update(key.id, {"max_parallel": None})).max_parallel is None
            with pytest.raises(Invalid):
                await keys.update(key.id, {"max_parallel": 0})

    run(test)


@pytest.mark.parametrize(
    "new",
    [
        NewKey(name=""),
        NewKey(name=" "),
        NewKey(name="a\nb"),
        NewKey(name="\x1b[2J"),
        NewKey(name="\udcff"),
        NewKey(name="x", tier="gold"),
        NewKey(name="x", rpm=0),
        NewKey(name="x", tpd=0),
        NewKey(name="x", rpm=2**53),
        NewKey(name="x", max_parallel=0),
        NewKey(name="x", max_parallel=2**53),
        NewKey(name="x", user_id=99),
        NewKey(name="x", budget_nanodollars=2**53),
        NewKey(name="x", budget_nanodollars=-1),
        NewKey(name="x", budget_period="year"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, new: NewKey) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (_, keys):
            with pytest.raises(Invalid):
                await keys.create(new)
            assert await keys.list() == []

    run(test)


def test_every_change_moves_the_version(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, keys):
            users = Users(database)
            user = await users.create("a@example.org")
            seen = [await keys.version()]

            async def moved() -> None:
                seen.append(await keys.version())
                assert seen[-1] > seen[-2]

            key, _ = await keys.create(NewKey(name="k", user_id=user.id))
            await moved()
            await keys.deactivate(key.id)
            await moved()
            await keys.activate(key.id)
            await moved()
            await keys.update(key.id, {"rpm": 7, "models": frozenset({"b", "a"})})
            await moved()
            await keys.rotate(key.id, 60)
            await moved()
            async with database.transaction() as transaction:
                await transaction.execute("UPDATE users SET disabled_at = 1")
            await moved()

    run(test)


def test_a_rotation_keeps_everything_but_the_secret(tmp_path: Path) -> None:
    now = 1000.0

    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            keys = ApiKeys(database, TIERS, clock=lambda: now)
            new = NewKey(name="k", budget_nanodollars=5, budget_period="day", models=frozenset({"m"}))
            old, _ = await keys.create(new)
            graced, _ = await keys.rotate(old.id, 60)
            assert (graced.id, graced.budget_nanodollars, graced.models) == (old.id, 5, frozenset({"m"}))
            assert graced.digest != old.digest
            assert graced.expires_at is None
            found, _ = await keys.look_up(old.digest)
            assert found is not None
            assert (found.id, found.expires_at) == (old.id, 1060)
            await keys.rotate(old.id, 3600)
            found, _ = await keys.look_up(old.digest)
            assert found is not None
            assert found.expires_at == 1060  # a later grace does not prolong an earlier one
            last, _ = await keys.rotate(old.id, 0)
            assert (await keys.look_up(old.digest))[0] is None
            assert (await keys.look_up(graced.digest))[0] is None
            assert len(await keys.list()) == 1
            assert (await keys.find(old.id)).digest == last.digest

    run(test)


def test_a_key_of_a_disabled_owner_is_disabled(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, keys):
            user = await Users(database).create("A@Example.org")
            key, _ = await keys.create(NewKey(name="k", user_id=user.id))
            async with database.transaction() as transaction:
                await transaction.execute("UPDATE users SET disabled_at = 99")
            found, _ = await keys.look_up(key.digest)
            assert found is not None
            assert found.disabled_at == 99

    run(test)


def test_models_that_nobody_can_read_allow_none(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, keys):
            key, _ = await keys.create(NewKey(name="k", models=frozenset({"a"})))
            for text in ("gpt-4o", '"gpt-4o"', "[1]", "{}", "", "null"):
                async with database.transaction() as transaction:
                    await transaction.execute("UPDATE api_keys SET models = ?", (text,))
                found, _ = await keys.look_up(key.digest)
                assert found is not None
                assert found.models == frozenset()
                assert [row.models for row in await keys.list()] == [frozenset()]

    run(test)


def test_a_rotated_key_shows_its_current_secret_though_the_clock_went_back(tmp_path: Path) -> None:
    times = [3000.0]

    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            keys = ApiKeys(database, TIERS, clock=lambda: times[0])
            old, _ = await keys.create(NewKey(name="k"))
            times[0] = 1000.0
            new, _ = await keys.rotate(old.id, 60)
            assert new.digest != old.digest
            assert (await keys.find(old.id)).digest == new.digest

    run(test)


def test_a_put_back_copy_counts_on_with_versions_never_seen_before(tmp_path: Path) -> None:
    async def versions(keys: ApiKeys) -> set[int]:
        found = set()
        for rpm in range(1, 9):
            await keys.update(1, {"rpm": rpm})
            found.add(await keys.version())
        return found

    async def test() -> None:
        (tmp_path / "put back").mkdir()
        async with opened(tmp_path) as (_, keys):
            await keys.create(NewKey(name="k"))
        (tmp_path / "put back" / "rooya.db").write_bytes((tmp_path / "rooya.db").read_bytes())
        async with opened(tmp_path) as (_, first), opened(tmp_path / "put back") as (_, second):
            assert not await versions(first) & await versions(second)

    run(test)


def test_without_its_version_row_the_database_is_unavailable(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, keys):
            async with database.transaction() as transaction:
                await transaction.execute("DELETE FROM versions")
            for attempt in (keys.version(), keys.look_up(b"x" * 32)):
                with pytest.raises(StoreUnavailable, match="versions"):
                    await attempt

    run(test)


def test_an_unknown_id_is_not_found(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (_, keys):
            for attempt in (keys.find(9), keys.deactivate(9), keys.update(9, {"rpm": 1}), keys.rotate(9, 0)):
                with pytest.raises(NotFound):
                    await attempt

    run(test)


def test_only_known_columns_can_be_changed(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (_, keys):
            key, _ = await keys.create(NewKey(name="k"))
            for changes in ({"id = 1; --": 1}, {}):
                with pytest.raises(Invalid):
                    await keys.update(key.id, changes)

    run(test)


def test_an_account_has_no_more_keys_than_it_may_however_many_are_made_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, keys):
            user = await Users(database).create("ada@example.org")
            made = await asyncio.gather(
                *(keys.create(NewKey(name="k", user_id=user.id), most=5) for _ in range(12)),
                return_exceptions=True,
            )
            assert sum(isinstance(one, Invalid) for one in made) == 7
            assert len(await keys.list_of(user.id)) == 5

    run(test)
