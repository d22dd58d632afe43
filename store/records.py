"""The journal's records as bytes: what a call begins with, what comes of it, and the place both refer to.

A record is its length, its CRC-32 and a body whose first byte tells its kind. A place (model, provider,
price) is written once a segment and meant by number from then on, so that the two records of a call are
little more than numbers. A kind never changes once released: what differs gets a new number.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Final
from zlib import crc32

from store.types import LedgerRecord, Place

PLACE: Final = 1
OPEN: Final = 2
SETTLE: Final = 3
KINDS: Final = (b"\x01", b"\x02", b"\x03")

FRAME: Final = struct.Struct("<II")  # length of the body, its CRC-32
PLACE_HEAD: Final = struct.Struct("<BI")
OPEN_HEAD: Final = struct.Struct("<BQI15sBBQqqq")
SETTLE_HEAD: Final = struct.Struct("<BQBBIIIIIIqII")
MAX_BODY_BYTES: Final = 65536  # no record is longer: a length beyond is that of a torn or foreign one
MAX_CLIENT_ID_BYTES: Final = 128
MAX_DETAIL_BYTES: Final = 400
MAX_SETTLE_BYTES: Final = FRAME.size + SETTLE_HEAD.size + MAX_DETAIL_BYTES
MOST: Final = 0xFFFFFFFF  # more of a token no provider can mean; as milliseconds it stands for "never"
MOST_MONEY: Final = 2**53 - 1  # nine million dollars; a Redis script counts no further

COUNTS: Final = (
    "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens",
    "audio_tokens", "first_byte_ms", "total_ms",
)  # fmt: skip
LOST_PLACE: Final = Place("unknown", "unknown", "unknown", "unknown", "lost", "")  # its record is damaged
STATUSES: Final = ("ok", "error", "timeout", "client_gone", "lost")
SOURCES: Final = ("reported", "estimated", "none", "lease", "corrected")
STATUS_NUMBERS: Final = {word: number for number, word in enumerate(STATUSES)}
SOURCE_NUMBERS: Final = {word: number for number, word in enumerate(SOURCES)}


def place_record(place: Place) -> bytes:
    """What the place's number stands for."""
    body = PLACE_HEAD.pack(PLACE, place.number) + json.dumps(place.words()).encode()
    return FRAME.pack(len(body), crc32(body)) + body


def open_record(record: LedgerRecord) -> bytes:
    """Before the first byte goes up: who calls, where, and what it may cost at the worst."""
    body = OPEN_HEAD.pack(
        OPEN,
        record.ticket,
        record.place.number,
        bytes.fromhex(record.request_id),
        record.attempt,
        record.is_stream,
        record.key_id,
        record.window,
        record.worst_nanodollars,
        record.started_at_ms,
    )
    if record.client_request_id:
        body += record.client_request_id.encode("utf-8", "replace")[:MAX_CLIENT_ID_BYTES]
    return FRAME.pack(len(body), crc32(body)) + body


def settle_record(record: LedgerRecord) -> bytes:
    """Before the last byte goes down: what was used and what it costs."""
    try:
        body = _settle_body(record)
    except struct.error:
        _bound(record)
        body = _settle_body(record)
    if record.details:
        body += record.details.encode()[:MAX_DETAIL_BYTES]
    return FRAME.pack(len(body), crc32(body)) + body


def _settle_body(record: LedgerRecord) -> bytes:
    return SETTLE_HEAD.pack(
        SETTLE,
        record.ticket,
        STATUS_NUMBERS[record.status],
        SOURCE_NUMBERS[record.usage_source],
        record.input_tokens,
        record.output_tokens,
        record.cached_tokens,
        record.cache_write_tokens,
        record.reasoning_tokens,
        record.audio_tokens,
        record.cost_nanodollars,
        record.first_byte_ms,
        record.total_ms,
    )


def _bound(record: LedgerRecord) -> None:
    """No provider means more than this, and more can be written nowhere."""
    for name in COUNTS:
        setattr(record, name, max(0, min(getattr(record, name), MOST)))
    record.cost_nanodollars = max(0, min(record.cost_nanodollars, MOST_MONEY))


def bodies(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes | None]]:
    """The records from `start`: where each ends, and its body; None stands for what cannot be read.

    Behind the last record are zeros in a segment that is being written, anything in a torn one. What
    cannot be read is passed over up to the next good record; without one in reach it ends there.
    """
    at = start
    while at + FRAME.size <= len(data):
        body = _body_at(data, at)
        if body is None:
            found = _next_good(data, at + 1)
            if found is None:
                return
            at = found
            yield at, None
        else:
            at += FRAME.size + len(body)
            yield at, body


def _body_at(data: bytes, at: int) -> bytes | None:
    length, checksum = FRAME.unpack_from(data, at)
    start = at + FRAME.size
    if not 0 < length <= MAX_BODY_BYTES or start + length > len(data):
        return None
    body = data[start : start + length]
    return body if crc32(body) == checksum else None


def _next_good(data: bytes, start: int) -> int | None:
    """Where a good record begins behind a bad one: within reach of the longest there is, if at all."""
    end = min(start + MAX_BODY_BYTES, len(data) - FRAME.size)
    if not any(data[start:end]):
        return None
    for at in range(start, end):
        if data[at + FRAME.size : at + FRAME.size + 1] in KINDS and _body_at(data, at) is not None:
            return at
    return None


class Reader:
    """Puts the records of one start of a slot together, in the order they were written.

    `feed` returns the finished record of a call where the body settles one. opened: calls that began and
    have not been settled so far, by ticket.
    """

    def __init__(self) -> None:
        self.opened: dict[int, LedgerRecord] = {}
        self._places: dict[int, Place] = {}

    def feed(self, body: bytes) -> LedgerRecord | None:
        """Raises ValueError, KeyError or struct.error on a body that no version of this file has written."""
        kind = body[0]
        if kind == OPEN:
            self._open(body)
        elif kind == SETTLE:
            return self._settle(body)
        elif kind == PLACE:
            _, number = PLACE_HEAD.unpack_from(body)
            self._places[number] = Place(*json.loads(body[PLACE_HEAD.size :]))
        else:
            raise ValueError(f"a record of kind {kind}")
        return None

    def _open(self, body: bytes) -> None:
        _, ticket, place, request_id, attempt, is_stream, *rest = OPEN_HEAD.unpack_from(body)
        key_id, window, worst, started = rest
        self.opened[ticket] = LedgerRecord(
            self._places.get(place, LOST_PLACE),
            request_id.hex(),
            attempt,
            bool(is_stream),
            key_id,
            window,
            worst,
            started,
            body[OPEN_HEAD.size :].decode("utf-8", "replace"),
            ticket,
        )

    def _settle(self, body: bytes) -> LedgerRecord | None:
        _, ticket, status, source, *numbers = SETTLE_HEAD.unpack_from(body)
        record = self.opened.pop(ticket, None)
        if record is None:
            return None  # written twice: an append that was tried again after a failure
        record.status = STATUSES[status]
        record.usage_source = SOURCES[source]
        (
            record.input_tokens,
            record.output_tokens,
            record.cached_tokens,
            record.cache_write_tokens,
            record.reasoning_tokens,
            record.audio_tokens,
            record.cost_nanodollars,
            record.first_byte_ms,
            record.total_ms,
        ) = numbers
        record.details = body[SETTLE_HEAD.size :].decode("utf-8", "replace")
        return record
