"""The journal's records as bytes: what a call begins with, what comes of it, and the place both refer to.

A record is its length, its CRC-32 and a body whose first byte tells its kind. A place (model, provider,
price) is written once a segment and meant by number from then on, so that the two records of a call are
little more than numbers. A kind never changes once released: what differs gets a new number.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, Final
from zlib import crc32

from store.types import NEVER, LedgerRecord, LedgerRow, Place

PLACE: Final = 1
OPEN: Final = 2
SETTLE: Final = 3
KINDS: Final = (b"\x01", b"\x02", b"\x03")

FRAME: Final = struct.Struct("<II")  # length of the body, its CRC-32
PLACE_HEAD: Final = struct.Struct("<BI")
OPEN_HEAD: Final = struct.Struct("<BQI15sBBQqqq")
SETTLE_HEAD: Final = struct.Struct("<BQBBIIIIIIqII")
pack_frame, pack_open, pack_settle = FRAME.pack, OPEN_HEAD.pack, SETTLE_HEAD.pack
MAX_BODY_BYTES: Final = 65536  # no record is longer: a length beyond is that of a torn or foreign one
MAX_CLIENT_ID_BYTES: Final = 128
MAX_DETAIL_BYTES: Final = 200
MAX_SETTLE_BYTES: Final = FRAME.size + SETTLE_HEAD.size + MAX_DETAIL_BYTES
MOST: Final = 0xFFFFFFFF  # more of a token no provider can mean; as milliseconds it stands for "never"
MOST_MONEY: Final = 2**53 - 1  # nine million dollars; a Redis script counts no further

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
    body = pack_open(
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
    return pack_frame(len(body), crc32(body)) + body


def settle_record(record: LedgerRecord) -> bytes:
    """Before the last byte goes down: what was used and what it costs."""
    used = record.used
    try:
        body = pack_settle(
            SETTLE,
            record.ticket,
            STATUS_NUMBERS[record.status],
            SOURCE_NUMBERS[used.source],
            used.input_tokens,
            used.output_tokens,
            used.cached_tokens,
            used.cache_write_tokens,
            used.reasoning_tokens,
            used.audio_input_tokens + used.audio_output_tokens,
            record.cost_nanodollars,
            record.first_byte_ms,
            record.total_ms,
        )
    except struct.error:
        return _bounded_settle_record(record)
    if record.details:
        details = record.details.encode()
        body += details if len(details) <= MAX_DETAIL_BYTES else b""
    return pack_frame(len(body), crc32(body)) + body


def _bounded_settle_record(record: LedgerRecord) -> bytes:
    """No provider means more than this, and more can be written nowhere."""
    used = record.used
    counts = (
        used.input_tokens,
        used.output_tokens,
        used.cached_tokens,
        used.cache_write_tokens,
        used.reasoning_tokens,
        used.audio_input_tokens + used.audio_output_tokens,
    )
    body = SETTLE_HEAD.pack(
        SETTLE,
        record.ticket,
        STATUS_NUMBERS[record.status],
        SOURCE_NUMBERS[used.source],
        *(max(0, min(count, MOST)) for count in counts),
        max(0, min(record.cost_nanodollars, MOST_MONEY)),
        max(0, min(record.first_byte_ms, MOST)),
        max(0, min(record.total_ms, MOST)),
    )
    return FRAME.pack(len(body), crc32(body)) + body


def bodies(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes | None]]:
    """The records from `start`: where each ends, and its body; None stands for what cannot be read.

    Behind the last record are zeros in a segment that is being written, anything in a torn one. What
    cannot be read is passed over up to the next good record; without one in reach it ends there.
    """
    at, size = start, len(data)
    while at + FRAME.size <= size:
        length, checksum = FRAME.unpack_from(data, at)
        begin = at + FRAME.size
        body = data[begin : begin + length] if 0 < length <= MAX_BODY_BYTES else b""
        if body and len(body) == length and crc32(body) == checksum:
            at = begin + length
            yield at, body
        else:
            found = _next_good(data, at + 1)
            if found is None:
                return
            at = found
            yield at, None


def _next_good(data: bytes, start: int) -> int | None:
    """Where a good record begins behind a bad one: within reach of the longest there is, if at all."""
    end = min(start + MAX_BODY_BYTES, len(data) - FRAME.size)
    if not any(data[start:end]):
        return None
    for at in range(start, end):
        begin = at + FRAME.size
        if data[begin : begin + 1] in KINDS:
            length, checksum = FRAME.unpack_from(data, at)
            # A length of 0 is never one of ours, and zeros would be its checksum.
            if 0 < length <= MAX_BODY_BYTES and crc32(data[begin : begin + length]) == checksum:
                return at
    return None


def key_of(record: bytes) -> int:
    """Whose call an open record begins."""
    return int(OPEN_HEAD.unpack_from(record, FRAME.size)[6])


def claim_id(request_id: str, attempt: int) -> str:
    """What a limiter knows an attempt by."""
    return f"{request_id}/{attempt}" if attempt else request_id


class Reader:
    """Puts the records of one start of a slot together, in the order they were written.

    `feed` returns the row of a call where the body settles one.
    """

    def __init__(self) -> None:
        self._opened: dict[int, tuple[tuple[Any, ...], bytes]] = {}
        self._places: dict[int, Place] = {}
        self._settled: dict[int, tuple[tuple[Any, ...], bytes]] = {}

    @property
    def has_open(self) -> bool:
        """Has any call begun that has not been settled so far?"""
        return bool(self._opened)

    def feed(self, body: bytes) -> LedgerRow | None:
        """Raises ValueError, KeyError or struct.error on a body that no version of this file has written."""
        kind = body[0]
        if kind == OPEN:
            head = OPEN_HEAD.unpack_from(body)
            self._opened[head[1]] = (head, body[OPEN_HEAD.size :])
        elif kind == SETTLE:
            return self._settle(body)
        elif kind == PLACE:
            _, number = PLACE_HEAD.unpack_from(body)
            self._places[number] = Place(*json.loads(body[PLACE_HEAD.size :]))
        else:
            raise ValueError(f"a record of kind {kind}")
        return None

    def keep(self) -> None:
        """What was settled up to here is in the database."""
        self._settled.clear()

    def put_back(self) -> None:
        """It is not: the records since the last `keep` will be fed again."""
        self._opened.update(self._settled)
        self._settled.clear()

    def open_calls(self) -> list[tuple[str, int, int, int, int]]:
        """Of each call that has begun: request id, attempt, key, window, worst case in nano-dollars."""
        return [(head[3].hex(), head[4], head[6], head[7], head[8]) for head, _ in self._opened.values()]

    def lost(self) -> list[LedgerRow]:
        """The calls whose end nobody wrote down: charged at the worst that they may have cost."""
        status, source = STATUS_NUMBERS["lost"], SOURCE_NUMBERS["lease"]
        return [
            self._row(head, client_id, (SETTLE, ticket, status, source, *[0] * 6, head[8], NEVER, 0), b"")
            for ticket, (head, client_id) in self._opened.items()
        ]

    def _settle(self, body: bytes) -> LedgerRow | None:
        end = SETTLE_HEAD.unpack_from(body)
        ticket = end[1]
        opened = self._opened.pop(ticket, None)
        if opened is None:
            return None  # its open record is damaged
        self._settled[ticket] = opened
        return self._row(*opened, end, body[SETTLE_HEAD.size :])

    def _row(
        self, head: tuple[Any, ...], client_id: bytes, end: tuple[Any, ...], details: bytes
    ) -> LedgerRow:
        _, _, number, request_id, attempt, is_stream, key_id, window, _, started_at_ms = head
        place = self._places.get(number, LOST_PLACE)
        if client_id:
            details = _with_client_id(details, client_id)
        row = (
            request_id.hex(),
            attempt,
            key_id,
            window,
            place.model,
            place.provider,
            place.upstream_model,
            place.endpoint,
            is_stream,
            STATUSES[end[2]],
            end[4],
            end[5],
            end[6],
            end[7],
            end[8],
            end[9],
            end[10],
            SOURCES[end[3]],
            place,
            started_at_ms,
            None if end[11] == NEVER else end[11],
            end[12],
            details.decode("utf-8", "replace") if details else None,
        )
        return LedgerRow._make(row)  # a third of the constructor's time


def _with_client_id(details: bytes, client_id: bytes) -> bytes:
    fields = json.loads(details) if details else {}
    return json.dumps({**fields, "client_request_id": client_id.decode("utf-8", "replace")}).encode()
