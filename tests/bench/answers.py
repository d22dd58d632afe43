"""One exchange on a raw socket, and the parser that collects an answer.

Raw, because the number of bytes on the wire is wanted too: the load generator only counts bytes, so the
average size of its answers is held against that of one that was read and compared in full.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from typing import Any

import httptools


class WrongAnswer(Exception):
    """A subject did not answer what the upstream sent: its figures would be worth nothing."""


@dataclass(slots=True)
class Answer:
    """An answer as it came."""

    status: int = 0
    body: bytes = b""
    wire_bytes: int = 0
    is_whole: bool = False


@dataclass(slots=True)
class Reading:
    """Collects one answer after another from the bytes of a connection."""

    answer: Answer = field(default_factory=Answer)
    _parser: Any = None
    _pieces: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self.answer.wire_bytes += len(data)
        self._parser.feed_data(data)

    def restart(self) -> None:
        """Expect the next answer; the connection and its parser go on."""
        self.answer = Answer()
        self._pieces = []

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        self.answer.status = self._parser.get_status_code()
        self.answer.body = b"".join(self._pieces)
        self.answer.is_whole = True


def ask(port: int, request: bytes, timeout_s: float = 10) -> Answer:
    """Send one request to a loopback port and read its answer."""
    reading = Reading()
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(request)
        while not reading.answer.is_whole:
            data = connection.recv(65536)
            if not data:
                raise WrongAnswer(f"port {port} hung up after {reading.answer.wire_bytes} bytes")
            reading.feed(data)
    return reading.answer


@dataclass(frozen=True, slots=True)
class Aim:
    """Whom to ask what, and the only right answer: these bytes, or from one that rewrites them, this text."""

    name: str
    port: int
    request: bytes
    expected: bytes
    rewrites: bool = False

    def check(self, answer: Answer) -> None:
        """Raise WrongAnswer unless the answer is a 200 with the right body."""
        if answer.status != 200:
            raise WrongAnswer(f"{self.name} answered {answer.status}: {answer.body[:500]!r}")
        if answer.body == self.expected:
            return
        if not (self.rewrites and text_of(answer.body) == text_of(self.expected)):
            raise WrongAnswer(f"{self.name} changed the body: {answer.body[:300]!r} … {answer.body[-200:]!r}")


def text_of(body: bytes) -> str:
    """What the model said, out of a completion or a whole event stream."""
    if not body.startswith(b"data:"):
        return str(json.loads(body)["choices"][0]["message"]["content"])
    events = [line[5:] for line in body.splitlines() if line.startswith(b"data:") and b"[DONE]" not in line]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)
