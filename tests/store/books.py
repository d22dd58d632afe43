"""Ledger records, and the books of a data directory, for the tests."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from store.database import prepare
from store.mover import Books, Mover
from store.types import LedgerRecord, Place
from store.usage import VERIFY

PLACE = Place("gpt-4o", "openai", "gpt-4o-2024-08-06", "chat", "test 1", '{"input": 1}')
_numbers = itertools.count(1)


def place(model: str = "gpt-4o", price: str = '{"input": 1}') -> Place:
    return Place(model, "openai", model, "chat", "test 1" if price else "unpriced", price)


def opened(where: Place = PLACE, key_id: int = 7, **fields: Any) -> LedgerRecord:
    """A call of the year 2026 that has not been written down yet."""
    number = next(_numbers)
    started = fields.pop("started_at_ms", 1_790_000_000_000 + number)
    request_id = fields.pop("request_id", f"{started:012x}{'ab' * 5}{number:08x}")
    return LedgerRecord(where, request_id, 0, False, key_id, 0, 999, started, fields.pop("client_id", ""))


def ended(record: LedgerRecord, cost: int = 100, **fields: Any) -> LedgerRecord:
    """What came of it."""
    record.status = fields.pop("status", "ok")
    record.usage_source = fields.pop("usage_source", "reported")
    record.input_tokens, record.output_tokens, record.cost_nanodollars = 10, 5, cost
    record.cached_tokens = record.cache_write_tokens = record.reasoning_tokens = record.audio_tokens = 0
    record.total_ms = 12
    record.details = ""
    for name, value in fields.items():
        setattr(record, name, value)
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
