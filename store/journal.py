"""What a call begins with and what comes of it, on record before a byte of it moves: the serving side.

An append is a copy into mapped memory, in the turn of the loop that asks for it, so whatever the caller does
next comes after its record. (Measured: gathering a turn's records into one write costs more than it
saves, as the bytes that wait for it have to be gathered too.) Each call that began keeps room for its end,
so an end is never refused. The mover allocates segments ahead and reads them.
"""

from __future__ import annotations

from collections import Counter

from store.errors import LedgerFull
from store.records import MAX_SETTLE_BYTES, key_of, open_record, place_record, settle_record
from store.segments import Segment
from store.types import LedgerRecord, Place


class Journal:
    """The segments of one start of a slot, from the side that appends; it belongs to one thread.

    segment: the one to begin with. spare: the next one, from the mover; a full segment's `following` tells
    the mover where the records go on. is_always_synced: appends are waited for until they are on the disk.
    """

    def __init__(self, segment: Segment, *, is_always_synced: bool = False) -> None:
        self.segment = segment
        self.spare: Segment | None = None
        self._is_always_synced = is_always_synced
        self._opened: dict[int, tuple[Place, bytes]] = {}
        self._reserved = MAX_SETTLE_BYTES  # for the ends of what is open, and of one call more
        self._ticket = 0
        self._place_number = 0

    def __repr__(self) -> str:
        state = "full" if self.is_full else "ok"
        return f"<Journal segment {self.segment.number} at {self.segment.end}, {state}>"

    @property
    def is_full(self) -> bool:
        """Is there no room for another call?"""
        needed = self.segment.end + self._reserved + MAX_SETTLE_BYTES
        return self.spare is None and needed > self.segment.size

    def open_keys(self) -> Counter[int]:
        """How many calls of each key are under way."""
        return Counter(key_of(data) for _, data in self._opened.values())

    def begin(self, record: LedgerRecord) -> None:
        """Write down a call that is about to be sent. Raises LedgerFull: then do not send it."""
        place = record.place
        if place.owner is not self:
            place.owner = self
            place.defined_in = 0
            self._place_number = place.number = self._place_number + 1
        self._ticket = record.ticket = self._ticket + 1
        data = open_record(record)
        segment = self.segment
        needed = data if place.defined_in == segment.number else place_record(place) + data
        if segment.end + len(needed) + self._reserved > segment.size:
            segment = self._turn_over()
            needed = place_record(place) + data
        segment.append(needed)
        place.defined_in = segment.number
        self._opened[record.ticket] = (place, data)
        self._reserved += MAX_SETTLE_BYTES

    def settle(self, record: LedgerRecord) -> None:
        """Write down how a call ended."""
        self.segment.append(settle_record(record))
        del self._opened[record.ticket]
        self._reserved -= MAX_SETTLE_BYTES

    def _turn_over(self) -> Segment:
        """Go on in the spare segment, which repeats what is open: the older ones can then be given up."""
        spare = self.spare
        if spare is None:
            raise LedgerFull("there is no room for the journal")
        places = {place.number: place for place, _ in self._opened.values()}
        carried = b"".join(map(place_record, places.values())) + b"".join(
            data for _, data in self._opened.values()
        )
        if spare.end + len(carried) + 2 * self._reserved > spare.size:
            raise LedgerFull("too many calls are open for the journal")
        if self._is_always_synced:
            self._sync()  # who waits for the disk waits for the new segment from here on
        spare.append(carried)
        for place in places.values():
            place.defined_in = spare.number
        self.segment.following = spare
        self.segment, self.spare = spare, None
        return spare

    def _sync(self) -> None:
        try:
            self.segment.sync()
        except OSError as error:
            raise LedgerFull(f"the journal cannot be brought to the disk: {error.strerror}") from error
