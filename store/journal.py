"""What a call begins with and what comes of it, on record before a byte of it moves: the serving side.

Appends are plain writes in the turn of the loop that asks for them, so whatever the caller does next comes
after its record. (Gathering the records of a turn into one write was considered: it saves a microsecond a
call under full load and costs two turns of the loop under light load.) Each call that began keeps room
for its end, so an end is never refused for want of room. The mover allocates segments and reads them.
"""

from __future__ import annotations

from collections import deque

from store.errors import LedgerFull
from store.records import MAX_SETTLE_BYTES, open_record, place_record, settle_record
from store.segments import Segment
from store.types import LedgerRecord, Place


class Journal:
    """The segments of one start of a slot, from the side that appends; it belongs to one thread.

    segment: the one to begin with. spare: the next one, from the mover; a full segment's `following` tells
    the mover where the records go on.
    """

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.spare: Segment | None = None
        self._opened: dict[int, tuple[Place, bytes]] = {}
        self._ticket = 0
        self._place_number = 0
        self._unwritten: deque[bytes] = deque()

    def __repr__(self) -> str:
        state = "full" if self.is_full else "ok"
        return f"<Journal segment {self.segment.number} at {self.segment.end}, {state}>"

    @property
    def is_full(self) -> bool:
        """Is another call to be refused?"""
        return bool(self._unwritten) or (self.spare is None and not self._has_room(MAX_SETTLE_BYTES))

    def begin(self, record: LedgerRecord) -> None:
        """Write down a call that is about to be sent. Raises LedgerFull: then do not send it."""
        if self._unwritten:
            self.retry()
        place = record.place
        if place.owner is not self:
            place.owner = self
            place.defined_in = 0
            self._place_number = place.number = self._place_number + 1
        self._ticket = record.ticket = self._ticket + 1
        data = open_record(record)
        is_defined = place.defined_in == self.segment.number
        needed = data if is_defined else place_record(place) + data
        if not self._has_room(len(needed)):
            self._turn_over()
            needed = place_record(place) + data
        try:
            self.segment.append(needed)
        except OSError as error:
            raise LedgerFull(f"the journal cannot be written: {error.strerror}") from error
        place.defined_in = self.segment.number
        self._opened[record.ticket] = (place, data)

    def settle(self, record: LedgerRecord) -> None:
        """Write down how a call ended. Raises LedgerFull: do not send the reply; it is written later."""
        data = settle_record(record)
        del self._opened[record.ticket]
        if self._unwritten:
            self.retry()
        try:
            if self._unwritten:
                raise OSError("behind others that could not be written")
            self.segment.append(data)
        except OSError as error:
            self._unwritten.append(data)
            raise LedgerFull(f"the journal cannot be written: {error.strerror}") from error

    def retry(self) -> None:
        """Write what waits, as far as the disk takes it."""
        while self._unwritten:
            try:
                self.segment.append(self._unwritten[0])
            except OSError:
                return
            self._unwritten.popleft()

    def _has_room(self, size: int) -> bool:
        ends = len(self._opened) + len(self._unwritten) + 1
        return self.segment.end + size + ends * MAX_SETTLE_BYTES <= self.segment.size

    def _turn_over(self) -> None:
        """Go on in the spare segment, which repeats what is open: the older ones can then be given up."""
        spare = self.spare
        if spare is None or self._unwritten:
            raise LedgerFull("there is no room for the journal")
        places = {place.number: place for place, _ in self._opened.values()}
        carried = b"".join(map(place_record, places.values())) + b"".join(
            data for _, data in self._opened.values()
        )
        if spare.end + len(carried) + 2 * len(self._opened) * MAX_SETTLE_BYTES > spare.size:
            raise LedgerFull("too many calls are open for the journal")
        try:
            spare.append(carried)
        except OSError as error:
            raise LedgerFull(f"the journal cannot be written: {error.strerror}") from error
        for place in places.values():
            place.defined_in = spare.number
        try:
            self.segment.sync()  # whoever waits for the disk waits for the new segment from here on
        except OSError as error:
            raise LedgerFull(f"the journal cannot be brought to the disk: {error.strerror}") from error
        self.segment.following = spare
        self.segment, self.spare = spare, None
