"""Ledger records, and the books of a data directory, for the tests."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.database import prepare
from store.mover import Books, Mover
from store.types import NEVER, LedgerRecord, Place
from store.usage import VERIFY

PLACE = Place("gpt-4o", "openai", "gpt-4o-2024-08-06", "chat", "test 1", '{"input": 1}')
_numbers = itertools.count(1)


def place(model: str = "gpt-4o", price: str = '{"input": 1}') -> Place:
    return Place(model, "openai", model, "chat", "test 1" if price else "unpriced", price)


@dataclass
class Used:
    input_tokens: int = 10
    output_tokens: int = 5
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    source: str = "reported"


class Record:
    """A LedgerRecord."""

    ticket: int


def opened(where: Place = PLACE, key_id: int = 7, **fields: Any) -> LedgerRecord:
    """A call of the year 2026 that has not been written down yet."""
    number = next(_numbers)
    record: Any = Record()
    record.place = where
    record.key_id = key_id
    record.started_at_ms = fields.pop("started_at_ms", 1_790_000_000_000 + number)
    record.request_id = f"{record.started_at_ms:012x}{'ab' * 5}{number:08x}"
    record.attempt = record.window = 0
    record.is_stream = False
    record.worst_nanodollars = 999
    record.client_request_id = ""
    record.first_byte_ms = NEVER
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def ended(record: LedgerRecord, cost: int = 100, **fields: Any) -> LedgerRecord:
    """What came of it. fields: of the record, or of what was used."""
    record.status = fields.pop("status", "ok")
    record.cost_nanodollars = cost
    record.total_ms = fields.pop("total_ms", 12)
    record.details = fields.pop("details", "")
    record.used = Used(**fields)
    return record


def make_data_dir(directory: Path, **options: Any) -> Books:
    """A migrated database beside which books can be kept."""
    prepare(directory / "rooya.db")
    return Books(directory, **{"segment_bytes": 64 * 1024, **options})


@contextlib.contextmanager
def connected(books: Books) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(books.database, isolation_level=None, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def kept(books: Books) -> Iterator[Mover]:
    mover = Mover.start(books)
    try:
        yield mover
    finally:
        mover.stop()


def rows(books: Books, columns: str = "request_id, status, cost_nanodollars") -> list[tuple[Any, ...]]:
    with connected(books) as connection:
        return connection.execute(f"SELECT {columns} FROM ledger ORDER BY request_id, attempt").fetchall()


def differences(books: Books) -> list[tuple[Any, ...]]:
    """Keys of which the four sums are not the same."""
    with connected(books) as connection:
        found = connection.execute(VERIFY).fetchall()
    return [row for row in found if not row[1:3] == row[3:5] == row[5:7] == row[7:9]]
