"""Threads with connections of their own for queries that may take long, so that no look-up waits for them.

They read only, from one committed state each, after whoever else wants the core, and no longer than the
bound. A query is a function of the connection. Refuses what would wait behind too many others.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from store.errors import Overloaded, StoreUnavailable, TookTooLong

T = TypeVar("T")

THREADS: Final = 2
MOST_WAITING: Final = 64
SECONDS: Final = 2.0
STEPS: Final = 100_000  # of SQLite's machine between two looks at the clock: some milliseconds
NICE: Final = 5  # as the mover's: who waits for an answer of a model goes first
CACHE_KIB: Final = 8192
BUSY_SECONDS: Final = 1.0


class Deadline:
    """Until when a query may run. `is_given_up`: nobody waits for it any more."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.is_given_up = False

    def is_over(self) -> bool:
        return self.is_given_up or time.monotonic() > self._end


class Readers:
    """`run` from the loop's thread; `close` once nobody does any more."""

    def __init__(self, path: Path, seconds: float = SECONDS) -> None:
        self._path = path
        self._seconds = seconds
        self._turns = asyncio.Semaphore(THREADS)
        self._waiting = 0
        self._idle: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(THREADS, "rooya-reader", _give_way)

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Raises StoreUnavailable, TookTooLong, Overloaded."""
        if self._waiting >= MOST_WAITING:
            raise Overloaded("too many reports are being made at once")
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        deadline = Deadline(self._seconds)
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._read, query, deadline)
        future.add_done_callback(self._end_turn)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            deadline.is_given_up = True  # the thread ends by itself, and then the turn
            raise

    async def close(self) -> None:
        """Wait for what still runs, which is bounded."""
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._idle:
            connection.close()

    def _end_turn(self, future: asyncio.Future[T]) -> None:
        self._turns.release()
        if not future.cancelled():
            future.exception()  # told to whoever waits; else to nobody

    def _read(self, query: Callable[[sqlite3.Connection], T], deadline: Deadline) -> T:
        try:
            connection = self._idle.pop() if self._idle else _connect(self._path)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the database cannot be used: {error}") from error
        try:
            connection.set_progress_handler(deadline.is_over, STEPS)
            connection.execute("BEGIN")
            try:
                return query(connection)
            finally:
                connection.set_progress_handler(None, 0)
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            if deadline.is_over():
                raise TookTooLong("this took too long") from error
            raise StoreUnavailable(f"the database cannot be used: {error}") from error
        finally:
            self._idle.append(connection)


def _give_way() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _connect(path: Path) -> sqlite3.Connection:
    """It may be used by one thread after the other."""
    where = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(
        where, uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection
