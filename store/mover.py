"""The thread beside the loop that keeps the books: the serving side never waits for it.

It moves the journal into the database, allocates segments ahead, brings appends to the disk, recovers the
slots of processes that died, and deletes what retention no longer keeps. What fails is tried again: a
database that is locked for an hour only makes the journal longer.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

from store.errors import DataDirectoryTaken, StoreUnavailable
from store.journal import Journal
from store.moving import Moving
from store.recovery import Recovery, Tell, recover_free_slots, register
from store.retention import Keep, Retention
from store.segments import SEGMENT_BYTES, Segment, Slot, SlotTaken, taken_slots

log = logging.getLogger("rooya.journal")

PAUSE_SECONDS: Final = 0.25
HOUSEKEEPING_SECONDS: Final = 1.0
RETENTION_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 5.0  # of failing before it is worth a line in the log
BUSY_SECONDS: Final = 0.25  # a wait for the database would hold up all else here
START_BUSY_SECONDS: Final = 5.0
NICE: Final = 5  # of this thread: who waits for an answer goes first
MOST_SLOTS: Final = 4096


@dataclass(frozen=True, slots=True)
class Books:
    """Where the books are kept and how. is_alone: no other process may serve this data directory.

    is_always_synced: callers wait for the disk (see `syncing.py`).
    """

    data_dir: Path
    is_alone: bool = True
    keep: Keep = Keep()
    segment_bytes: int = SEGMENT_BYTES
    is_always_synced: bool = False

    @property
    def journal(self) -> Path:
        return self.data_dir / "journal"

    @property
    def database(self) -> Path:
        return self.data_dir / "rooya.db"


class Mover:
    """Owns a slot and the thread. Made by `start`; `stop` moves the rest and gives the slot back.

    tell: is told of each slot that is recovered (see `recovery.py`); it may be replaced at any time.
    """

    def __init__(self, books: Books, slot: Slot, start: int, journal: Journal) -> None:
        self.tell: Tell | None = None
        self.journal = journal
        self.slot = slot
        self.start_number = start
        self._books = books
        self._wake = threading.Event()
        self._is_stopping = False
        self._has_moved_all = True
        self._failing_since: dict[str, float] = {}
        self._reported: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="rooya-mover", daemon=True)

    @classmethod
    def start(cls, books: Books, tell: Tell | None = None) -> Self:
        """Take a slot, recover what it and other free ones hold, and begin. The database must be migrated.

        Raises DataDirectoryTaken, StoreUnavailable: also where `tell` cannot be told.
        """
        try:
            slot = _take_slot(books)
            try:
                connection = _connect(books, START_BUSY_SECONDS)
                try:
                    Recovery(connection, slot, tell).run()
                    recover_free_slots(connection, books.journal, _others(books, slot), tell)
                    start, number = register(connection, slot)
                finally:
                    connection.close()
                segment = Segment.create(slot, start, number, books.segment_bytes)
                journal = Journal(segment, is_always_synced=books.is_always_synced)
            except BaseException:
                slot.release()
                raise
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"the journal cannot be kept: {error}") from error
        mover = cls(books, slot, start, journal)
        mover.tell = tell
        mover._thread.start()
        return mover

    def stop(self) -> None:
        """Blocks until all is moved, or cannot be; the next start then does it."""
        self._is_stopping = True
        self._wake.set()
        self._thread.join()
        self.slot.release()

    @property
    def is_behind(self) -> bool:
        """Does the database not take what is to be moved, or the disk not give room?"""
        return self.journal.is_full or any(
            time.monotonic() - since > PATIENCE_SECONDS for since in list(self._failing_since.values())
        )

    @property
    def has_moved_all(self) -> bool:
        """Is every call that has ended in the database?"""
        return self._has_moved_all

    def others(self) -> int:
        """How many other processes keep books in the same place now."""
        return sum(_is_owned(self._books.journal, number) for number in _others(self._books, self.slot))

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        connection = _connect(self._books, BUSY_SECONDS)
        try:
            moving = Moving(connection, self.slot, self.start_number, self.journal)
            retention = Retention(connection, self._books.keep)
            housekeeping_at = retention_at = 0.0
            while not self._is_stopping:
                self._try("allocate", moving.supply)
                if not self._try("move", moving.step) or not moving.has_a_batch:
                    self._has_moved_all = moving.is_done
                    self._wake.wait(PAUSE_SECONDS)
                now = time.monotonic()
                if now >= housekeeping_at:
                    housekeeping_at = now + HOUSEKEEPING_SECONDS
                    self._try("sync", moving.sync)
                    self._try("recover", partial(self._recover_others, connection))
                if now >= retention_at and not self._try("delete", retention.delete_some):
                    has_failed = "delete" in self._failing_since
                    retention_at = now + (HOUSEKEEPING_SECONDS if has_failed else RETENTION_SECONDS)
            while self._try("move", moving.step):
                pass
            self._try("finish", moving.finish)
        finally:
            connection.close()

    def _recover_others(self, connection: sqlite3.Connection) -> None:
        others = _others(self._books, self.slot)
        recover_free_slots(connection, self._books.journal, others, self.tell)

    def _try(self, name: str, step: Callable[[], bool | None]) -> bool:
        """Is there more of it to do? What fails is repeated at the next turn, and reported when it lasts."""
        try:
            more = step()
        except Exception as error:
            if not isinstance(error, sqlite3.Error | OSError):
                log.exception("the journal: cannot %s", name)  # our own fault; the thread lives on
            since = self._failing_since.setdefault(name, time.monotonic())
            if time.monotonic() - since > PATIENCE_SECONDS and name not in self._reported:
                self._reported.add(name)
                log.error("the journal: cannot %s: %s; trying on", name, error)
            return False
        self._failing_since.pop(name, None)
        if name in self._reported:
            self._reported.discard(name)
            log.warning("the journal: can %s again", name)
        return bool(more)


def _connect(books: Books, busy_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(books.database, isolation_level=None, timeout=busy_seconds)
    try:
        # A segment of the journal goes once its calls are here: here must mean on the disk.
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _take_slot(books: Books) -> Slot:
    """The first free one; the only one, where no other process may be there. Raises DataDirectoryTaken."""
    if books.is_alone:
        taken = [number for number in taken_slots(books.journal) if _is_owned(books.journal, number)]
        if taken:
            raise DataDirectoryTaken(books.data_dir)
    for number in range(MOST_SLOTS):
        try:
            return Slot.take(books.journal, number)
        except SlotTaken:
            continue
    raise DataDirectoryTaken(books.data_dir)


def _is_owned(journal: Path, number: int) -> bool:
    try:
        Slot.take(journal, number).release()
    except SlotTaken:
        return True
    return False


def _others(books: Books, slot: Slot) -> list[int]:
    return [number for number in taken_slots(books.journal) if number != slot.number]
