"""The database: migrations, transactions, and what happens when it cannot be used."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from store import database as module
from store.database import Database, migrations, prepare, statements
from store.errors import Invalid, SchemaError, StoreUnavailable
from tests.store.stores import opened, run


def test_the_file_is_private_and_in_wal_mode(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path / "data") as (database, _):
            async with database.snapshot() as snapshot:
                assert await snapshot.fetch_one("PRAGMA journal_mode") == ("wal",)
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "data" / "rooya.db").stat().st_mode & 0o777 == 0o600

    run(test)


def test_migrations_are_applied_once_and_numbered_without_a_gap(tmp_path: Path) -> None:
    numbers = [number for number, _ in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
    prepare(tmp_path / "rooya.db")
    prepare(tmp_path / "rooya.db")
    connection = sqlite3.connect(tmp_path / "rooya.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (numbers[-1],)
    connection.close()


def test_two_processes_may_migrate_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "rooya.db")
    code = f"from pathlib import Path; from store.database import prepare; prepare(Path({path!r}))"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait(30) for process in processes] == [0, 0, 0, 0]


def test_a_first_start_waits_for_another_that_is_under_way(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "rooya.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # SQLite refuses the switch to WAL now, whatever the busy timeout
    ending = threading.Timer(0.2, other.execute, ["COMMIT"])
    ending.start()
    prepare(tmp_path / "rooya.db")
    ending.join()
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


def test_a_database_of_a_newer_version_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "rooya.db"
    prepare(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    with pytest.raises(SchemaError, match="git pull"):
        prepare(path)


def test_a_copy_is_kept_before_an_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rooya.db"
    prepare(path)
    newest = migrations()[-1][0]
    monkeypatch.setattr(
        module, "migrations", lambda: [*migrations(), (newest + 1, "CREATE TABLE later (id INTEGER);")]
    )
    prepare(path)
    copy = tmp_path / f"rooya.db.before-{newest + 1:04d}"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert version_of(copy) == newest
    assert not list(tmp_path.glob("*.part"))


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(version)


def test_the_copy_is_of_before_though_another_process_upgrades_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rooya.db"
    prepare(path)
    scripts = [*migrations(), (9000, "CREATE TABLE later (id INTEGER);")]
    monkeypatch.setattr(module, "migrations", lambda: scripts)
    ask, asked = module._version, []

    def version(connection: sqlite3.Connection) -> int:
        found = ask(connection)
        if not asked:
            asked.append(found)
            prepare(path)  # the other one is faster: it upgrades between our question and our next step
        return found

    monkeypatch.setattr(module, "_version", version)
    prepare(path)
    assert version_of(tmp_path / "rooya.db.before-9000") == asked[0]
    assert version_of(path) == 9000


def test_an_upgrade_of_several_steps_happens_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rooya.db"
    prepare(path)
    before = version_of(path)
    scripts = [*migrations(), (9000, "CREATE TABLE later (id INTEGER);"), (9001, "DROP TABLE nothing;")]
    monkeypatch.setattr(module, "migrations", lambda: scripts)
    with pytest.raises(sqlite3.OperationalError, match="nothing"):
        prepare(path)
    assert version_of(path) == before
    connection = sqlite3.connect(path)
    assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'later'").fetchall()
    connection.close()


def test_a_failing_migration_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rooya.db"
    monkeypatch.setattr(
        module, "migrations", lambda: [(1, "CREATE TABLE a (id INTEGER);\nCREATE TABLE a (id);")]
    )
    with pytest.raises(sqlite3.OperationalError):
        prepare(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


def test_statements_are_cut_behind_whole_triggers() -> None:
    script = "CREATE TABLE t (a);\nCREATE TRIGGER x AFTER INSERT ON t\nBEGIN UPDATE t SET a = 1; END;\n"
    assert len(list(statements(script))) == 2


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            with pytest.raises(RuntimeError):
                async with database.transaction() as transaction:
                    await transaction.execute("INSERT INTO users (email, created_at) VALUES ('a@b', 1)")
                    raise RuntimeError
            async with database.snapshot() as snapshot:
                assert await snapshot.fetch_all("SELECT * FROM users") == []

    run(test)


def test_a_cancelled_caller_leaves_neither_a_transaction_nor_the_lock(tmp_path: Path) -> None:
    async def write(database: Database, number: int) -> None:
        async with database.transaction() as transaction:
            await transaction.execute("INSERT INTO users (email, created_at) VALUES (?, 1)", (f"{number}@x",))
            await transaction.execute("UPDATE users SET created_at = 2 WHERE email = ?", (f"{number}@x",))

    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            for turns in range(40):
                task = asyncio.create_task(write(database, turns))
                for _ in range(turns % 12):
                    await asyncio.sleep(0)
                if turns > 20:
                    await asyncio.sleep(turns / 20_000)
                task.cancel()
                await asyncio.wait([task])
                await write(database, 1000 + turns)
            async with database.snapshot() as snapshot:
                rows = await snapshot.fetch_all("SELECT created_at FROM users WHERE email LIKE '1___@x'")
            assert rows == [(2,)] * 40

    run(test)


def test_a_locked_database_is_unavailable_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)

    async def test() -> None:
        async with opened(tmp_path) as (database, keys):
            other = sqlite3.connect(tmp_path / "rooya.db", isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreUnavailable):
                async with database.transaction() as transaction:
                    await transaction.execute("DELETE FROM users")
            assert await keys.list() == []  # WAL: who only reads goes on
            other.execute("ROLLBACK")
            other.close()
            async with database.transaction() as transaction:
                await transaction.execute("DELETE FROM users")

    run(test)


@pytest.mark.parametrize("value", [2**63, "\udcff"])
def test_a_value_that_sqlite_cannot_hold_is_invalid_and_nothing_else_breaks(
    tmp_path: Path, value: object
) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            with pytest.raises(Invalid):
                async with database.transaction() as transaction:
                    await transaction.execute("INSERT INTO users (email, created_at) VALUES (?, 1)", (value,))
            async with database.transaction() as transaction:
                await transaction.execute("INSERT INTO users (email, created_at) VALUES ('a@b', 1)")

    run(test)


def test_what_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "rooya.db").write_bytes(b"not a database at all, but long enough to be looked at" * 100)

    async def test() -> None:
        with pytest.raises(StoreUnavailable):
            await Database.open(tmp_path / "rooya.db")

    run(test)
