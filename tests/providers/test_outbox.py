"""Writes of a turn of the loop are made at its end, each by its own connection."""

from __future__ import annotations

import asyncio

from providers.connection import CLOSED, Connection
from providers.outbox import Outbox
from providers.pool import Origin, PoolLimits
from providers.transport import Response
from providers.types import Endpoint, Timeouts, UpstreamRequest
from tests.providers.test_transport import both_loops, ok, soon


class Sender:
    """Notes when it was told to send."""

    def __init__(self, told: list[Sender], outbox: Outbox | None = None) -> None:
        self._told = told
        self._outbox = outbox

    def send_held(self) -> None:
        self._told.append(self)
        if self._outbox is not None:
            outbox, self._outbox = self._outbox, None
            outbox.add(self)


@both_loops
async def test_all_that_were_added_in_a_turn_are_told_in_their_order() -> None:
    told: list[Sender] = []
    outbox = Outbox()
    senders = [Sender(told) for _ in range(3)]
    for sender in senders:
        outbox.add(sender)
    assert not told
    await asyncio.sleep(0)
    assert told == senders


@both_loops
async def test_who_has_more_to_say_when_told_is_told_again() -> None:
    told: list[Sender] = []
    outbox = Outbox()
    outbox.add(sender := Sender(told, outbox))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert told == [sender, sender]


class Pipe(asyncio.Transport):
    """What was written to it, and whether it was cut."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_cut = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_cut = True

    def get_write_buffer_size(self) -> int:
        return 0


def begun(origin: Origin) -> tuple[Connection, Pipe, Response]:
    """A request on a connection of its own."""
    assert origin.take_place()
    connection, pipe = Connection(origin, asyncio.get_running_loop()), Pipe()
    connection.connection_made(pipe)
    origin.connections.add(connection)
    response = Response(connection)
    request = UpstreamRequest(Endpoint.from_url("POST", "http://example.invalid/", ()), b"{}")
    connection.begin(request, response, Timeouts(), soon())
    return connection, pipe, response


@both_loops
async def test_only_a_call_alone_is_sent_at_once() -> None:
    origin = Origin("http", "example.invalid", 80, PoolLimits())
    pipes = [begun(origin)[1] for _ in range(3)]
    assert [bool(pipe.written) for pipe in pipes] == [True, False, False]
    await asyncio.sleep(0)
    assert all(pipe.written.endswith(b"{}") for pipe in pipes)


@both_loops
async def test_an_answer_before_its_request_was_sent_ends_the_connection() -> None:
    origin = Origin("http", "example.invalid", 80, PoolLimits())
    begun(origin)
    connection, pipe, response = begun(origin)
    connection.data_received(ok())
    assert await response.read() == b"hello"
    assert connection.state is CLOSED
    assert pipe.is_cut
    await asyncio.sleep(0)
    assert not pipe.written


@both_loops
async def test_a_call_that_is_abandoned_before_it_was_sent_never_is() -> None:
    origin = Origin("http", "example.invalid", 80, PoolLimits())
    begun(origin)
    connection, pipe, response = begun(origin)
    response.close()
    assert connection.state is CLOSED
    await asyncio.sleep(0)
    assert not pipe.written
