"""Server-sent events: bytes as they arrive -> blocks of whole events. Incremental, tolerant, pure.

A relay needs to know where events end, not what is in them: what a vendor flushed together stays
together, and nobody splits it who need not look inside. Lines end with LF, CR or CRLF, also mixed
(WHATWG HTML, section 9.2.5). Nothing is decoded here, so a cut inside a UTF-8 character is no
matter. A byte order mark before the first event is removed; every other byte is handed on.
"""

from __future__ import annotations

import re
from typing import Final

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_USUAL_ENDS: Final = (b"\n\n", b"\r\n\r\n")
# One line end each, never the two halves of a CRLF (hence atomic); at least two in a row end an event.
_EVENT_END: Final = re.compile(rb"(?>\r\n|\n|\r){2,}")


class EventTooLarge(Exception):
    """One event passed the bound; whoever sends such a thing is not streaming."""


class Splitter:
    """Finds the last end of an event in what has arrived; what follows it waits for more.

    Every byte is searched once and copied at most twice, however small the pieces.
    """

    __slots__ = ("_buffer", "_is_at_start", "_last", "_max_event_bytes")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._buffer = bytearray()  # the beginning of an event
        self._last = b"\n"  # the byte before what comes next; an event begins after a line end
        self._is_at_start = True
        self._max_event_bytes = max_event_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The whole events that are complete now as one block, an empty list while there are none."""
        if self._is_at_start:
            data = self._without_mark(data)
        if not self._buffer and data.endswith(_USUAL_ENDS):
            return [data]
        seen = self._last + data
        # A blank line is any of these pairs; CR LF is no pair but one line end. At the end of a
        # read a CR is believed: should its LF follow, it is a blank line more, which means nothing.
        end = max(seen.rfind(b"\n\n"), seen.rfind(b"\n\r"), seen.rfind(b"\r\r")) + 1
        if not end:
            return self._hold(data)
        if data[end - 1] == 13 and data[end : end + 1] == b"\n":
            end += 1
        self._buffer += data[:end]
        block = bytes(self._buffer)
        self._buffer = bytearray()
        self._last = b"\n"
        self._hold(data[end:])
        return [block]

    def rest(self) -> bytes:
        """What has arrived of an event that never ended."""
        return bytes(self._buffer)

    def _hold(self, data: bytes) -> list[bytes]:
        if data:
            self._buffer += data
            self._last = data[-1:]
            if len(self._buffer) > self._max_event_bytes:
                raise EventTooLarge
        return []

    def _without_mark(self, data: bytes) -> bytes:
        """The mark may itself come in pieces: hold back what may be one."""
        opening = bytes(self._buffer) + data
        if len(opening) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(opening):
            self._buffer = bytearray(opening)
            return b""
        self._buffer = bytearray()
        self._is_at_start = False
        return opening.removeprefix(_BYTE_ORDER_MARK)


def split(block: bytes) -> list[bytes]:
    """A block -> its events one by one, each with the line ends that close it."""
    if b"\r" not in block:  # as nearly everywhere, and then twenty times as fast
        *whole, rest = block.split(b"\n\n")
        return [event + b"\n\n" for event in whole] + ([rest] if rest else [])
    events = []
    start = 0
    for match in _EVENT_END.finditer(block):
        events.append(block[start : match.end()])
        start = match.end()
    if start < len(block):
        events.append(block[start:])
    return events


def events(block: bytes) -> list[bytes]:
    """The data of each event of a block; lines of data are joined with LF, all else is left out."""
    found: list[bytes] = []
    lines: list[bytes] = []
    for line in block.splitlines():
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            lines.append(b"")
        elif not line and lines:
            found.append(b"\n".join(lines))
            lines = []
    if lines:
        found.append(b"\n".join(lines))
    return found


def name(event: bytes) -> bytes:
    """The `event:` field of a single event, b"" where it has none."""
    found = b""
    for line in event.splitlines():
        if line.startswith(b"event:"):
            found = line[6:].strip()
    return found
