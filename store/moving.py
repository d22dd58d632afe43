"""This process's own journal into the database, as it grows; for the mover's thread.

A batch's rows, sums and position are one transaction, and a segment is deleted only after it: each call
is moved exactly once, however often a step fails and is repeated.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

from store.journal import Journal
from store.ledger import LedgerWriter
from store.records import Reader, bodies
from store.segments import FIRST_POSITION, Segment, Slot
from store.types import LedgerRow

# Some 500 calls: the loop's thread waits for none of it longer than for a part. No record is so long.
BATCH_BYTES: Final = 64 * 1024
RECORDS_A_SLICE: Final = 100  # decoded in one go
REST_SECONDS: Final = 0.0002  # in between; a sleep of 0 gives neither the interpreter nor the core away


class Moving:
    """How far this process's own journal has been moved."""

    def __init__(self, connection: sqlite3.Connection, slot: Slot, start: int, journal: Journal) -> None:
        self._writer = LedgerWriter(connection)
        self._slot = slot
        self._start = start
        self._journal = journal
        self._segment = journal.segment
        self._position = FIRST_POSITION
        self._reader = Reader()
        self._number = journal.segment.number

    def step(self) -> bool:
        """Move a batch, give up a segment that is moved; True if there was anything to do.

        Raises sqlite3.Error, OSError.
        """
        segment = self._segment
        following = segment.following  # asked before `end`: a full segment's end is final
        end = min(segment.end, self._position + BATCH_BYTES)
        before = self._position
        if end > before:
            self._move(segment, end)
            return self._position > before
        if following is None:
            return False
        self._slot.remove(segment.number)  # may fail, and is then tried again
        segment.close()
        self._segment, self._position = following, FIRST_POSITION
        return True

    @property
    def is_done(self) -> bool:
        """Is all that was appended so far in the database?"""
        return self._segment.following is None and self._position == self._segment.end

    @property
    def has_a_batch(self) -> bool:
        """Is there so much to move that it should not wait?"""
        return self._segment.end - self._position >= BATCH_BYTES or self._segment.following is not None

    def supply(self) -> None:
        """Have the next segment ready. Raises OSError where the disk has no room for it."""
        if self._journal.spare is None:
            spare = Segment.create(self._slot, self._start, self._number + 1, self._segment.size)
            self._number += 1
            self._journal.spare = spare

    def sync(self) -> None:
        """Bring what is appended to the disk; what was in the segments before this is in the database."""
        segment: Segment | None = self._segment
        while segment is not None:
            segment.sync()
            segment = segment.following

    def finish(self) -> None:
        """After the last step. Where a call is still open the segments stay, for a recovery."""
        if self._reader.has_open or self._position < self._segment.end:
            return
        self._writer.write([], self._slot.number, self._number + 1, FIRST_POSITION)
        for segment in (self._segment, self._journal.spare):
            if segment is not None:
                self._slot.remove(segment.number)
                segment.close()

    def _move(self, segment: Segment, end: int) -> None:
        """Whole records up to the end: the last one may be cut off there, and is for the next time."""
        data = segment.read(self._position, end)
        settled: list[LedgerRow] = []
        reached = 0
        for count, (place, body) in enumerate(bodies(data), 1):
            if body is None and reached:
                break  # cut off by the end, or damaged: what begins the next batch will tell
            reached = place
            row = self._reader.feed(body) if body is not None else None
            if row is not None:
                settled.append(row)
            if not count % RECORDS_A_SLICE:
                time.sleep(REST_SECONDS)
        position = self._position + reached
        if settled:
            try:
                self._writer.write(settled, self._slot.number, segment.number, position)
            except BaseException:
                self._reader.put_back()
                raise
        self._reader.keep()
        self._position = position
