"""Moves what the dead owner of a slot left: every call it settled, and at its worst case each it had begun.

Whoever holds the slot's lock may do it, at a start or beside its own work. Repeating any step changes
nothing: the position in the database says what has been moved, and files go last. What cannot be read is
set aside and reported, and never keeps the rest from being moved.
"""

from __future__ import annotations

import logging
import sqlite3
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from store.ledger import LedgerWriter, transaction
from store.records import Reader, bodies, claim_id
from store.segments import FIRST_POSITION, HEADER, Slot, SlotTaken, is_segment
from store.types import LedgerRow

log = logging.getLogger("rooya.journal")

ROWS_A_BATCH: Final = 2000
RECORDS_A_SLICE: Final = 100  # decoded in one go: the loop's thread wants the interpreter in between
REST_SECONDS: Final = 0.0002
UNREADABLE: Final = (ValueError, KeyError, IndexError, TypeError, struct.error)


# Is given slot, start, and what each call has cost that the segments tell of: also those that had ended, as
# the limiter may not have heard of it. May take its time, and raise OSError: then the slot is recovered once
# more, later.
Tell = Callable[[int, int, dict[str, int]], None]


def recover_free_slots(
    connection: sqlite3.Connection, journal: Path, numbers: list[int], tell: Tell | None = None
) -> None:
    """Recover those of the slots that nobody owns now. Raises sqlite3.Error, OSError."""
    for number in numbers:
        try:
            slot = Slot.take(journal, number)
        except SlotTaken:
            continue
        try:
            Recovery(connection, slot, tell).run()
        finally:
            slot.release()


def register(connection: sqlite3.Connection, slot: Slot) -> tuple[int, int]:
    """Which start of the slot this is, and the number of its first segment."""
    with transaction(connection):
        _ensure_row(connection, slot)
        connection.execute("UPDATE journal_slots SET starts = starts + 1 WHERE slot = ?", (slot.number,))
        query = "SELECT starts, segment FROM journal_slots WHERE slot = ?"
        starts, segment = connection.execute(query, (slot.number,)).fetchone()
    return starts, segment


def _ensure_row(connection: sqlite3.Connection, slot: Slot) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO journal_slots (slot, starts, segment, position) VALUES (?, 0, 1, ?)",
        (slot.number, FIRST_POSITION),
    )


class Recovery:
    """One slot's. The slot must be held. tell: is told once the rows are in the database."""

    def __init__(self, connection: sqlite3.Connection, slot: Slot, tell: Tell | None = None) -> None:
        self._tell = tell
        self._start = 0
        self._reached = (0, 0)  # up to here the database has it: the segment, and the position in it
        self._connection = connection
        self._slot = slot
        self._writer = LedgerWriter(connection)
        self._reader = Reader()
        self._batch: list[LedgerRow] = []
        self._costs: dict[str, int] = {}
        self._moved = 0

    def run(self) -> int:
        """How many calls were moved; afterwards the slot has no segments. Raises sqlite3.Error, OSError."""
        slot = self._slot
        numbers = slot.segments()
        if not numbers:
            return 0
        _ensure_row(self._connection, slot)
        query = "SELECT starts, segment, position FROM journal_slots WHERE slot = ?"
        self._start, *reached = self._connection.execute(query, (slot.number,)).fetchone()
        self._reached = (reached[0], reached[1])
        for number in numbers:  # also those that are moved: who hears of it again has to hear the same
            self._move(number)
        after = numbers[-1] + 1
        lost = self._reader.lost()
        if (after, FIRST_POSITION) > self._reached:
            self._batch += lost
            self._write(after, FIRST_POSITION)
        if self._tell is not None:  # before the segments go: they are what a repetition needs
            self._note(lost)
            self._tell(slot.number, self._start, self._costs)
        for number in numbers:
            slot.remove(number)
        log.info("recovered %d calls of slot %d, %d of them unfinished", self._moved, slot.number, len(lost))
        return self._moved

    def _move(self, number: int) -> None:
        """Read a segment from its beginning, for what is open; take the rows that the database has not."""
        data = self._slot.read(number)
        end = FIRST_POSITION
        is_damaged = not is_segment(data)
        if not is_damaged:
            _, _, self._start, _ = HEADER.unpack_from(data)
        for count, (end, body) in enumerate(bodies(data, FIRST_POSITION), 1):
            try:
                row = self._reader.feed(body) if body is not None else None
            except UNREADABLE:
                body = row = None
            is_damaged = is_damaged or body is None
            if row is not None:
                self._note([row])
            if row is not None and (number, end) > self._reached:
                self._batch.append(row)
                if len(self._batch) >= ROWS_A_BATCH:
                    self._write(number, end)
            if not count % RECORDS_A_SLICE:
                time.sleep(REST_SECONDS)
        if (is_damaged or any(data[end:])) and number >= self._reached[0]:  # else that is done
            path = self._slot.set_aside(number, data)
            log.error("%s could not be read whole; what could be is in the ledger", path)

    def _note(self, rows: Iterable[LedgerRow]) -> None:
        for row in rows:
            self._costs[claim_id(row.request_id, row.attempt)] = row.cost_nanodollars

    def _write(self, segment: int, position: int) -> None:
        self._writer.write(self._batch, self._slot.number, segment, position)
        self._reader.keep()
        self._moved += len(self._batch)
        self._batch.clear()
