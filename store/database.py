"""The one SQLite file: opening, migrating, and transactions.

WAL, so that readers never wait for the writer. One connection writes, one transaction at a time; a
second reads, so that a look-up sees only what is committed and never waits for our own writer.
Every sqlite3 error is translated here: outside this room there is only StoreUnavailable.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

import aiosqlite

from store.errors import Invalid, SchemaError, StoreUnavailable

BUSY_SECONDS: Final = 5.0
UPGRADE_SECONDS: Final = 60.0  # how long a start waits for another process that is upgrading
Row = tuple[Any, ...]


class Transaction:
    """Statements that take effect together or not at all."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return the id of the row it inserted, or the number of rows it changed."""
        async with self._connection.execute(sql, parameters) as cursor:
            inserted = sql.lstrip()[:6].upper() == "INSERT"
            return (cursor.lastrowid or 0) if inserted else cursor.rowcount

    async def fetch_one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """One trip to the connection's thread, where a cursor would take three."""
        return [tuple(row) for row in await self._connection.execute_fetchall(sql, parameters)]


class Database:
    """An open, migrated database. Made by `open`."""

    def __init__(self, writer: aiosqlite.Connection, reader: aiosqlite.Connection) -> None:
        self._writer = writer
        self._reader = reader
        self._write_lock = asyncio.Lock()
        self._read_lock = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open, creating and migrating as needed. The file is 0600 in a directory made 0700.

        Raises StoreUnavailable (no access, locked, not a database) and SchemaError.
        """
        with translated():
            await asyncio.to_thread(prepare, path)
            writer = await _connect(path)
            try:
                reader = await _connect(path)
            except BaseException:
                await writer.close()
                raise
        return cls(writer, reader)

    async def close(self) -> None:
        try:
            await self._reader.close()
        finally:  # a connection left open is a thread that keeps the process from ending
            await self._writer.close()

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """`async with database.transaction() as t:` commits at the end, rolls back on any exception."""
        return self._scope(self._writer, self._write_lock, "BEGIN IMMEDIATE")

    def snapshot(self) -> AbstractAsyncContextManager[Transaction]:
        """As `transaction`, for reading: all statements see one state of the database."""
        return self._scope(self._reader, self._read_lock, "BEGIN")

    async def fetch_one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """As `fetch_all`, its first row."""
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """A single committed state, in a single trip. Raises StoreUnavailable."""
        async with self._read_lock:
            with translated():
                return await Transaction(self._reader).fetch_all(sql, parameters)

    @asynccontextmanager
    async def _scope(
        self, connection: aiosqlite.Connection, lock: asyncio.Lock, begin: str
    ) -> AsyncIterator[Transaction]:
        async with lock:
            with translated():
                try:
                    await connection.execute(begin)
                    yield Transaction(connection)
                    await connection.execute("COMMIT")
                except BaseException:
                    # The statement a cancelled caller left behind still runs on the connection's
                    # thread; the rollback queues up after it, and the lock is held until it is done.
                    await asyncio.shield(_roll_back(connection))
                    raise


async def _roll_back(connection: aiosqlite.Connection) -> None:
    # Not asked first whether there is a transaction: the BEGIN itself may still be in the thread's queue.
    with suppress(sqlite3.Error):
        await connection.execute("ROLLBACK")


async def _connect(path: Path) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
    try:
        await connection.execute("PRAGMA foreign_keys = ON")
        await connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        await connection.close()
        raise
    return connection


@contextmanager
def translated() -> Iterator[None]:
    """sqlite3's and the file system's refusals, in the room's own words."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a constraint: the room's own code knows what it means
    except (OverflowError, UnicodeEncodeError) as error:
        raise Invalid(f"a value cannot be stored: {error}") from error
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"the database cannot be used: {error}") from error


# Migrations


def migrations() -> list[tuple[int, str]]:
    """The numbered scripts, in order."""
    scripts = [item for item in files("store").joinpath("migrations").iterdir() if item.name.endswith(".sql")]
    return sorted((int(script.name.split("_")[0]), script.read_text(encoding="utf-8")) for script in scripts)


def prepare(path: Path) -> None:
    """Create the file and bring its schema up to date. Two processes doing so at once take turns."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, timeout=UPGRADE_SECONDS)
    try:
        _use_wal(connection)
        if _version(connection) != migrations()[-1][0]:
            _migrate(connection, path)
    finally:
        connection.close()


def _use_wal(connection: sqlite3.Connection) -> None:
    """SQLite's busy timeout does not cover the switch: of two that switch at once, one is refused."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > end:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise sqlite3.OperationalError("no WAL here: the data directory must be on a local disk")
        return


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Look, copy and change under one write lock: nobody else's upgrade comes between the three."""
    scripts = migrations()
    newest = scripts[-1][0]
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        if version > newest:
            raise SchemaError(
                f"{path} was made by a newer version (schema {version}, this one knows {newest}). "
                "Upgrade with 'git pull', or put back the copy that the upgrade made beside it."
            )
        if 0 < version < newest:
            _back_up(path, path.with_name(f"{path.name}.before-{newest:04d}"))
        for number, script in scripts:
            if number > version:
                _apply(connection, number, script)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()  # unlike ROLLBACK no error where SQLite has rolled back by itself
        raise


def _apply(connection: sqlite3.Connection, number: int, script: str) -> None:
    for statement in statements(script):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {number:d}")


def statements(script: str) -> Iterator[str]:
    """The statements of a script (sqlite3's own executescript would commit before it begins)."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        yield pending


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _back_up(path: Path, copy: Path) -> None:
    """What is committed, complete or not at all: the copy takes its name when it is whole."""
    draft = copy.with_name(f"{copy.name}.part")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    source, target = sqlite3.connect(path), sqlite3.connect(draft)
    try:
        source.backup(target)
    finally:
        target.close()
        source.close()
    os.replace(draft, copy)
