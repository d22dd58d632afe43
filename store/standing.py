"""What is owed at one moment: what calls have cost, by the database and all journals, and what is under way.

Other processes go on appending to their journals and moving them into the database meanwhile. The database is
read in one transaction, with the positions of the journals; the journals are then read from there on. A
segment that was moved and deleted in between makes it begin again. Reads only.
"""

from __future__ import annotations

import sqlite3
import struct
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from store.errors import StoreUnavailable
from store.ledger import SLICE_MS
from store.past import LAST, SLICES
from store.records import Reader, bodies, claim_id
from store.segments import FIRST_POSITION, HEADER, is_segment, taken_slots

ATTEMPTS: Final = 100
RECORDS_A_SLICE: Final = 100  # decoded in one go: the loop's thread wants the interpreter in between
REST_SECONDS: Final = 0.0002
READ_BYTES: Final = 256 * 1024
DAY_S: Final = 86_400
LONGEST_PERIOD_S: Final = 31 * DAY_S

# Of windows that may hold now: of a total budget, of any period, and of those that a reset began.
SPENT: Final = """SELECT s.key_id, s.window, s.cost_nanodollars FROM key_spend s
    LEFT JOIN api_keys k ON k.id = s.key_id
    WHERE s.window = 0 OR s.window >= ? OR s.window = k.spend_reset_at"""
TOKENS: Final = "SELECT key_id, slice, tokens FROM key_tokens WHERE slice >= ?"
POSITIONS: Final = "SELECT slot, segment, position FROM journal_slots"
BUSY_SECONDS: Final = 0.25


class OpenCall(NamedTuple):
    """A call that was begun and not ended. claim_id: the request's, and which attempt if not the first."""

    slot: int
    start: int
    claim_id: str
    key_id: int
    window: int
    worst_nanodollars: int


@dataclass(slots=True)
class Standing:
    """spent: nano-dollars by key and window; correction: the last of the operator's that is in them.

    tokens: of the last day, by key and Unix ms of the ten minutes' beginning. reached: how far the journal of
    each slot was read: the segment, and the position in it.
    """

    spent: defaultdict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    correction: int = 0
    tokens: defaultdict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    open: list[OpenCall] = field(default_factory=list)
    reached: dict[int, tuple[int, int]] = field(default_factory=dict)


def read(database: Path, journal: Path, now: float) -> Standing:
    """Blocks for some milliseconds, or longer where much is in the journals. Raises StoreUnavailable."""
    try:
        return _read_whole(database, journal, now)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"the ledger cannot be read: {error}") from error


def _read_whole(database: Path, journal: Path, now: float) -> Standing:
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        for _ in range(ATTEMPTS):
            standing = Standing()
            with _snapshot(connection):
                before = _from_database(connection, standing, now)
            try:
                slots = taken_slots(journal)
                gone = [
                    slot
                    for slot in slots
                    if not _from_journal(standing, journal / str(slot), before.get(slot, (0, 0)))
                ]
            except FileNotFoundError:
                continue  # moved and deleted under our hands
            # A segment that is gone had been moved whole, if the database says the same of it as before.
            after = _positions(connection)
            if all(before.get(slot) == after.get(slot) for slot in gone):
                return standing
    raise OSError("the journals are moved faster than they can be read")


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _from_database(
    connection: sqlite3.Connection, standing: Standing, now: float
) -> dict[int, tuple[int, int]]:
    """How far each slot's journal is in the database: the segment, and the position in it."""
    for key_id, window, cost in connection.execute(SPENT, (int(now) - LONGEST_PERIOD_S,)):
        standing.spent[key_id, window] = cost
    first = int(now * 1000) // SLICE_MS - SLICES + 1
    for key_id, number, tokens in connection.execute(TOKENS, (first,)):
        standing.tokens[key_id, number * SLICE_MS] = tokens
    (standing.correction,) = connection.execute(LAST).fetchone()
    return _positions(connection)


def _positions(connection: sqlite3.Connection) -> dict[int, tuple[int, int]]:
    return {slot: (segment, position) for slot, segment, position in connection.execute(POSITIONS)}


def _from_journal(standing: Standing, slot: Path, moved: tuple[int, int]) -> bool:
    """Add what of a slot is not in the database; False if the segment that was moved last is gone.

    A segment repeats what was open when it was begun.
    """
    segment, position = reached = moved
    numbers = sorted(int(path.stem) for path in slot.glob("*.log") if path.stem.isdigit())
    numbers = [number for number in numbers if number >= segment]
    # The last may be what the one before it goes on in, while that is read: so it is read first.
    latest = {number: _read_segment(_path(slot, number)) for number in reversed(numbers[-2:])}
    reader, start = Reader(), 0
    for number in numbers:
        data = latest[number] if number in latest else _read_segment(_path(slot, number))
        if is_segment(data):
            _, _, start, _ = HEADER.unpack_from(data)
            begins_at = position if number == segment else FIRST_POSITION
            end = _from_segment(standing, reader, data, begins_at)
            if end > FIRST_POSITION:  # else it is not in use yet
                reached = number, end
    standing.reached[int(slot.name)] = max(moved, reached)
    standing.open += (
        OpenCall(int(slot.name), start, claim_id(request_id, attempt), key_id, window, worst)
        for request_id, attempt, key_id, window, worst in reader.open_calls()
    )
    return segment in numbers


def _from_segment(standing: Standing, reader: Reader, data: bytes, position: int) -> int:
    """Returns where its last record ends."""
    reached = FIRST_POSITION
    for count, (reached, body) in enumerate(bodies(data, FIRST_POSITION), 1):
        try:
            row = reader.feed(body) if body is not None else None
        except (ValueError, KeyError, IndexError, TypeError, struct.error):
            row = None
        if row is not None and reached > position:
            standing.spent[row.key_id, row.window] += row.cost_nanodollars
            at = row.started_at_ms // SLICE_MS * SLICE_MS
            standing.tokens[row.key_id, at] += row.input_tokens + row.output_tokens
        if not count % RECORDS_A_SLICE:
            time.sleep(REST_SECONDS)
    return reached


def _path(slot: Path, number: int) -> Path:
    return slot / f"{number:010d}.log"


def _read_segment(path: Path) -> bytes:
    """A segment up to where all is zeros: what comes later is not written yet. Raises FileNotFoundError."""
    data = bytearray()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            data += block
            if not any(block):
                break
    return bytes(data)
