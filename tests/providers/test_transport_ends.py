"""How calls end before their answer does: cancelled, abandoned, finished, shut down."""

from __future__ import annotations

import asyncio

import pytest

from providers import errors
from providers.connection import DRAIN_BYTES, Connection
from providers.pool import Counts, Origin, PoolLimits
from providers.transport import Transport
from tests.providers.test_transport import (
    CHUNKED,
    NO_BOUNDS,
    Peer,
    Vendor,
    answering,
    both_loops,
    failure_of,
    ok,
    send,
    serving,
    soon,
    until,
)  # fmt: skip

AT_ONCE = 0.1  # seconds within which a hang-up reaches the vendor


async def silent(peer: Peer) -> None:
    """Reads everything, says nothing."""
    await peer.gone()


async def cancelled_then_gone(task: asyncio.Task[object], vendor: Vendor) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: vendor.peers[0].is_gone, AT_ONCE)


@both_loops
async def test_cancelled_before_the_head() -> None:
    async with serving(silent) as (vendor, transport):
        task = asyncio.create_task(send(transport, vendor))
        await until(lambda: vendor.connections == 1 and vendor.counts(transport).active == 1)
        await cancelled_then_gone(task, vendor)
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)


@pytest.mark.parametrize("how", ["chunk", "read"])
@both_loops
async def test_cancelled_in_the_body(how: str) -> None:
    async with serving(answering(CHUNKED + b"2\r\nhe\r\n")) as (vendor, transport):
        response = await send(transport, vendor)
        assert await response.chunk() == b"he"
        task = asyncio.create_task(response.chunk() if how == "chunk" else response.read())
        await asyncio.sleep(0)
        await cancelled_then_gone(task, vendor)
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)


@both_loops
async def test_cancelled_while_connecting() -> None:
    async with serving(silent) as (vendor, transport):
        vendor.scheme = "https"  # the vendor never says its part of the handshake
        task = asyncio.create_task(send(transport, vendor))
        await until(lambda: vendor.connections == 1)
        assert vendor.counts(transport) == Counts(0, 0, 1, 0)
        await cancelled_then_gone(task, vendor)
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)


@both_loops
async def test_cancelled_in_the_queue() -> None:
    async with serving(silent, max_connections=1) as (vendor, transport):
        first = asyncio.create_task(send(transport, vendor))
        await until(lambda: vendor.connections == 1)
        waiting = [asyncio.create_task(send(transport, vendor)) for _ in range(2)]
        await until(lambda: vendor.counts(transport).queued == 2)
        waiting[0].cancel()
        await until(lambda: vendor.counts(transport) == Counts(0, 1, 0, 1))
        await cancelled_then_gone(first, vendor)
        await until(lambda: vendor.connections == 2)  # the next in the queue has the place
        waiting[1].cancel()
        await until(lambda: vendor.counts(transport) == Counts(0, 0, 0, 0))


@both_loops
async def test_cancelled_while_retrying() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.send(ok())
            await peer.request()
            peer.close()

    async with serving(script) as (vendor, transport):
        await (await send(transport, vendor)).read()
        task = asyncio.create_task(send(transport, vendor))
        await until(lambda: vendor.connections == 2 and vendor.counts(transport).active == 1)
        task.cancel()
        await until(lambda: vendor.peers[1].is_gone, AT_ONCE)
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)


@both_loops
async def test_a_connection_made_for_nobody_is_closed() -> None:
    class Fake(asyncio.Transport):
        is_aborted = False

        def abort(self) -> None:
            self.is_aborted = True

    origin = Origin("http", "example.invalid", 80, PoolLimits())
    connection = Connection(origin, asyncio.get_running_loop())
    connection.discard()
    fake = Fake()
    connection.connection_made(fake)
    assert fake.is_aborted


@both_loops
async def test_cancelled_when_the_answer_is_already_whole_keeps_the_connection() -> None:
    async with serving(answering(ok())) as (vendor, transport):
        await (await send(transport, vendor)).read()
        task = asyncio.create_task(send(transport, vendor))
        while not vendor.counts(transport).active:
            await asyncio.sleep(0)
        while vendor.counts(transport).active:  # until the answer arrives; its reader has not run then
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert vendor.counts(transport) == Counts(1, 0, 0, 0)
        assert await (await send(transport, vendor)).read() == b"hello"
        assert vendor.connections == 1


@both_loops
async def test_close_of_an_open_answer_hangs_up_and_is_idempotent() -> None:
    async with serving(answering(CHUNKED + b"2\r\nhe\r\n")) as (vendor, transport):
        response = await send(transport, vendor)
        response.close()
        response.close()
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)
        await until(lambda: vendor.peers[0].is_gone, AT_ONCE)


@both_loops
async def test_close_of_a_whole_answer_leaves_the_connection_alone() -> None:
    async with serving(answering(ok())) as (vendor, transport):
        for _ in range(3):
            (await send(transport, vendor)).close()
        assert vendor.connections == 1
        late = await send(transport, vendor)
        next_one = asyncio.create_task(send(transport, vendor))  # on the same connection
        await asyncio.sleep(0)
        late.close()
        assert (await next_one).status == 200
        assert vendor.connections == 1


@pytest.mark.parametrize(
    ("rest", "is_kept"),
    [
        (b"0\r\n\r\n", True),
        (b"3\r\nabc\r\n0\r\nTrailer: t\r\n\r\n", True),
        (b"0\r\n\r\n" + ok(), False),
        (b"garbage", False),
        (b"4000\r\n" + b"x" * 0x4000 + b"\r\n", False),  # no end within the time
        (b"%x\r\n" % (DRAIN_BYTES * 2) + b"x" * DRAIN_BYTES * 2 + b"\r\n0\r\n\r\n", False),  # too much
    ],
    ids=["end", "a bit more", "an answer behind", "garbage", "no end", "too much"],
)
@both_loops
async def test_finish_keeps_the_connection_if_the_body_ends_soon(rest: bytes, is_kept: bool) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(CHUNKED + b"e\r\ndata: [DONE]\n\n\r\n")
            await go_on.wait()
            await peer.send(rest)

    async with serving(script) as (vendor, transport):
        response = await send(transport, vendor)
        assert await response.chunk() == b"data: [DONE]\n\n"
        response.finish()
        response.close()  # as a `finally` would
        assert vendor.counts(transport) == Counts(0, 1, 0, 0)
        assert await response.chunk() == b""
        go_on.set()
        if is_kept:
            await until(lambda: vendor.counts(transport) == Counts(1, 0, 0, 0))
            again = await send(transport, vendor)
            assert (await again.chunk()).startswith(b"data: [DONE]\n\n")
            assert vendor.connections == 1
        else:
            await until(lambda: vendor.peers[0].is_gone)
            assert vendor.counts(transport) == Counts(0, 0, 0, 0)


@both_loops
async def test_finish_of_a_whole_answer_does_nothing() -> None:
    async with serving(answering(ok())) as (vendor, transport):
        response = await send(transport, vendor)
        response.finish()
        assert vendor.counts(transport) == Counts(1, 0, 0, 0)
        assert await response.read() == b"hello"


@both_loops
async def test_shutdown_fails_every_call_whatever_it_waits_for() -> None:
    async with serving(silent, max_connections=2) as (vendor, transport):
        head = asyncio.create_task(send(transport, vendor))
        await until(lambda: vendor.connections == 1)
        async with Vendor(answering(CHUNKED + b"2\r\nhe\r\n")).listening() as talking:
            body = await send(transport, talking)
            await body.chunk()
            reading = asyncio.create_task(body.read())
            secure = Vendor(silent)
            secure.scheme, secure.port = "https", vendor.port
            handshake = asyncio.create_task(send(transport, secure))
            await until(lambda: vendor.connections == 2)
            second = asyncio.create_task(send(transport, vendor))
            await until(lambda: vendor.counts(transport).active == 2)
            queued = asyncio.create_task(send(transport, vendor))
            await until(lambda: vendor.counts(transport).queued == 1)
            await transport.close()
            for task in (head, second, queued, handshake, reading):
                failure = await failure_of(asyncio.wait_for(task, 1))
                assert failure.message == "the gateway is shutting down"
            for counts in transport.counts().values():
                assert counts == Counts(0, 0, 0, 0)
            for peer in (*vendor.peers, *talking.peers):
                await until(lambda peer=peer: peer.is_gone)  # type: ignore[misc]
            late = await failure_of(transport.send(vendor.request(), NO_BOUNDS, soon()))
            assert (late.kind, late.dispatched) == (errors.FAILED, False)


@both_loops
async def test_closing_an_unused_transport_is_nothing() -> None:
    transport = Transport()
    await transport.close()
    await transport.close()
    assert transport.counts() == {}
