"""Answers bent in many ways: none breaks the transport, and how the bytes are cut changes nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

from providers.connection import CLOSED, Connection, StaleConnection
from providers.pool import Origin, PoolLimits
from providers.transport import Response
from providers.types import Endpoint, Timeouts, UpstreamRequest
from tests.providers.test_transport import FRAMINGS

CASES = 5000
TOKENS = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b":", b" ", b"\0", b"\xff", b"0\r\n\r\n", b"HTTP/1.1 ", b"100 ",
    b"101 ", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
    b"Upgrade: x\r\n", b"Connection: upgrade\r\n",
)  # fmt: skip


class Wire(asyncio.Transport):
    """Takes everything, gives nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


def bent_answers(dice: random.Random) -> Iterator[bytes]:
    seeds = [answer for answer, *_ in FRAMINGS.values()]
    for _ in range(CASES):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.choice((0, 1, 1, 2, 3, 5))):
            at = dice.randrange(len(data) + 1)
            how = dice.random()
            if how < 0.3:
                data[at:at] = dice.choice(TOKENS)
            elif how < 0.5:
                del data[at : at + dice.randrange(1, 8)]
            elif how < 0.7:
                data[at : at + 1] = bytes([dice.randrange(256)])
            elif how < 0.9:
                data += dice.choice(seeds)
            else:
                data[at:at] = data[:at]
        yield bytes(data)


def outcome(answer: bytes, size: int, loop: asyncio.AbstractEventLoop) -> tuple[object, ...]:
    """What an answer comes to that arrives in pieces of a size and ends with its connection."""
    origin = Origin("http", "example.invalid", 80, PoolLimits(max_header_bytes=1000))
    assert origin.take_place()
    connection = Connection(origin, loop)
    connection.connection_made(Wire())
    origin.connections.add(connection)
    response = Response(connection)
    endpoint = Endpoint.from_url("POST", "http://example.invalid/", ())
    connection.begin(UpstreamRequest(endpoint, b"{}"), response, Timeouts(), 1e9)
    for at in range(0, len(answer), size):
        connection.data_received(answer[at : at + size])
    connection.eof_received()
    assert connection.state is CLOSED
    assert origin.take_place() or isinstance(response.failure, StaleConnection)
    assert response.has_begun or response.failure is not None
    headers = response.headers if response.has_begun else None
    message = response.failure.message if response.failure else None
    return (response.has_begun and response.status, headers, response._rest, message)


def test_no_bytes_break_the_transport_and_no_cut_changes_the_outcome() -> None:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        for answer in bent_answers(random.Random(11)):
            whole = outcome(answer, len(answer) or 1, loop)
            assert outcome(answer, 1, loop) == whole, answer
            assert outcome(answer, 7, loop) == whole, answer
