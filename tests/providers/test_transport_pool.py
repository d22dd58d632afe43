"""The transport's connections: which one is used again, who may have one, who waits for one."""

from __future__ import annotations

import asyncio
import random

import pytest

from providers import errors
from providers.connection import ACTIVE, LENT, Connection
from providers.errors import ProviderError
from providers.pool import Counts, Origin, PoolLimits
from providers.transport import Transport
from providers.types import Timeouts
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


async def asked(peer: Peer, gate: asyncio.Event) -> None:
    """Answer every request with the connection's number, once the gate is open."""
    while True:
        await peer.request()
        await gate.wait()
        await peer.send(ok(b"%d" % peer.number))


def gated(gate: asyncio.Event):  # type: ignore[no-untyped-def]
    return lambda peer: asked(peer, gate)


async def call(transport: Transport, vendor: Vendor, body: bytes = b"{}") -> bytes:
    return await (await send(transport, vendor, body)).read()


# Reuse


@both_loops
async def test_the_connection_used_last_is_used_next() -> None:
    gate = asyncio.Event()
    async with serving(gated(gate)) as (vendor, transport):
        calls = [asyncio.create_task(call(transport, vendor)) for _ in range(3)]
        await until(lambda: vendor.connections == 3)
        gate.set()
        await asyncio.gather(*calls)
        assert vendor.counts(transport) == Counts(3, 0, 0, 0)
        numbers = {await call(transport, vendor) for _ in range(5)}
        assert len(numbers) == 1
        assert vendor.connections == 3


@both_loops
async def test_an_idle_connection_that_the_vendor_closes_leaves_the_pool() -> None:
    async with serving(answering(ok(), is_last=True)) as (vendor, transport):
        assert await call(transport, vendor) == b"hello"
        await until(lambda: vendor.counts(transport) == Counts(0, 0, 0, 0))
        assert await call(transport, vendor) == b"hello"
        assert vendor.connections == 2


@both_loops
async def test_bytes_that_nobody_asked_for_close_an_idle_connection() -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"%d" % peer.number))
        await go_on.wait()
        await peer.send(ok(b"poison"))

    async with serving(script) as (vendor, transport):
        assert await call(transport, vendor) == b"0"
        go_on.set()
        await until(lambda: vendor.peers[0].is_gone)
        assert await call(transport, vendor) == b"1"


@both_loops
async def test_an_idle_connection_expires() -> None:
    async with serving(answering(ok()), keepalive_s=0.1) as (vendor, transport):
        await call(transport, vendor)
        assert vendor.counts(transport).idle == 1
        await until(lambda: vendor.peers[0].is_gone)
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)


# The one retry


def stale(dying: dict[int, int], how: str = "close"):  # type: ignore[no-untyped-def]
    """Connection n answers dying[n] requests (others all) and dies at the next, having read it."""

    async def script(peer: Peer) -> None:
        for _ in range(dying.get(peer.number, 1000)):
            await peer.request()
            await peer.send(ok(b"%d" % peer.number))
        await peer.request()
        if how == "a byte":
            await peer.send(b"H")
        peer.reset() if how == "reset" else peer.close()

    return script


@pytest.mark.parametrize("how", ["close", "reset"])
@both_loops
async def test_a_reused_connection_that_dies_unanswered_is_retried_once_on_a_new_one(how: str) -> None:
    async with serving(stale({0: 1}, how)) as (vendor, transport):
        assert await call(transport, vendor) == b"0"
        assert await call(transport, vendor) == b"1"
        assert vendor.connections == 2
        assert vendor.counts(transport) == Counts(1, 0, 0, 0)


@both_loops
async def test_the_retry_is_not_retried() -> None:
    async with serving(stale({0: 1, 1: 0})) as (vendor, transport):
        await call(transport, vendor)
        failure = await failure_of(call(transport, vendor))
        assert (failure.kind, failure.retryable, failure.dispatched) == (errors.FAILED, True, True)
        assert vendor.connections == 2


@both_loops
async def test_the_retry_takes_no_other_idle_connection_and_no_place_beyond_the_bound() -> None:
    gate = asyncio.Event()
    dying = 1

    async def script(peer: Peer) -> None:
        await peer.request()
        await gate.wait()
        await peer.send(ok(b"%d" % peer.number))
        await peer.request()
        if peer.number <= dying:
            return peer.close()
        await peer.send(ok(b"%d" % peer.number))

    async with serving(script, max_connections=2) as (vendor, transport):
        first = [asyncio.create_task(call(transport, vendor)) for _ in range(2)]
        await until(lambda: vendor.connections == 2)
        gate.set()
        await asyncio.gather(*first)
        assert await call(transport, vendor) == b"2"
        assert vendor.connections == 3
        assert vendor.counts(transport) == Counts(2, 0, 0, 0)


@pytest.mark.parametrize("how", ["close", "reset"])
@both_loops
async def test_a_new_connection_that_dies_is_not_retried(how: str) -> None:
    async with serving(stale({0: 0}, how)) as (vendor, transport):
        failure = await failure_of(call(transport, vendor))
        assert (failure.kind, failure.retryable, failure.dispatched) == (errors.FAILED, True, True)
        assert vendor.connections == 1


@both_loops
async def test_a_reused_connection_that_dies_after_a_byte_is_not_retried() -> None:
    async with serving(stale({0: 1}, "a byte")) as (vendor, transport):
        await call(transport, vendor)
        assert (await failure_of(call(transport, vendor))).kind == errors.FAILED
        assert vendor.connections == 1


# The queue


@both_loops
async def test_connections_are_bounded_and_those_who_wait_are_served_in_order() -> None:
    order = []

    async def one(number: int) -> None:
        await call(transport, vendor, b"%d" % number)
        order.append(number)

    gate = asyncio.Event()
    async with serving(gated(gate), max_connections=2) as (vendor, transport):
        calls = [asyncio.create_task(one(number)) for number in range(20)]
        await until(lambda: vendor.counts(transport) == Counts(0, 2, 0, 18))
        gate.set()
        await asyncio.gather(*calls)
        assert (
            order == sorted(order)
            or [abs(a - b) for a, b in zip(order, range(20), strict=True)].count(0) > 15
        )
        assert max(abs(a - b) for a, b in zip(order, range(20), strict=True)) <= 1  # two at a time
        assert vendor.connections == 2
        assert vendor.counts(transport) == Counts(2, 0, 0, 0)


@both_loops
async def test_a_full_queue_refuses_at_once() -> None:
    gate = asyncio.Event()
    async with serving(gated(gate), max_connections=1, max_queued=2) as (vendor, transport):
        calls = [asyncio.create_task(call(transport, vendor)) for _ in range(3)]
        await until(lambda: vendor.counts(transport) == Counts(0, 1, 0, 2))
        sending = transport.send(vendor.request(), NO_BOUNDS, soon())
        with pytest.raises(ProviderError) as caught:
            sending.send(None)  # without a turn of the event loop
        failure = caught.value
        assert (failure.kind, failure.retryable, failure.dispatched) == (errors.OVERLOADED, True, False)
        assert failure.retry_after_seconds == 1
        gate.set()
        await asyncio.gather(*calls)


@both_loops
async def test_the_deadline_bounds_the_wait_in_the_queue() -> None:
    gate = asyncio.Event()
    async with serving(gated(gate), max_connections=1) as (vendor, transport):
        first = asyncio.create_task(call(transport, vendor))
        await until(lambda: vendor.connections == 1)
        failure = await failure_of(transport.send(vendor.request(), NO_BOUNDS, soon(0.2)))
        assert (failure.kind, failure.retryable, failure.dispatched) == (errors.TIMEOUT, False, False)
        assert vendor.counts(transport) == Counts(0, 1, 0, 0)
        gate.set()
        await first


@both_loops
async def test_a_place_freed_by_a_closed_connection_goes_to_who_waits() -> None:
    async with serving(answering(ok(fields=b"Connection: close\r\n")), max_connections=1) as (
        vendor,
        transport,
    ):
        results = await asyncio.gather(*(call(transport, vendor) for _ in range(10)))
        assert results == [b"hello"] * 10
        assert vendor.connections == 10
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)


@both_loops
async def test_an_origin_that_hangs_does_not_hold_up_another() -> None:
    gate = asyncio.Event()
    async with serving(gated(gate), max_connections=2) as (hanging, transport):
        stuck = [asyncio.create_task(call(transport, hanging)) for _ in range(10)]
        await until(lambda: hanging.counts(transport) == Counts(0, 2, 0, 8))
        async with Vendor(answering(ok())).listening() as quick:
            for _ in range(10):
                assert await call(transport, quick) == b"hello"
        assert hanging.counts(transport) == Counts(0, 2, 0, 8)
        gate.set()
        await asyncio.gather(*stuck)


# Nothing leaks


@both_loops
async def test_a_connection_that_dies_while_it_is_handed_over_is_replaced() -> None:
    gate = asyncio.Event()
    async with serving(gated(gate), max_connections=1) as (vendor, transport):
        calls = [asyncio.create_task(call(transport, vendor)) for _ in range(2)]
        await until(lambda: vendor.counts(transport) == Counts(0, 1, 0, 1))
        (origin,) = transport._origins.values()
        (connection,) = origin.connections
        gate.set()
        while connection.state is not LENT:
            await asyncio.sleep(0)
        connection.eof_received()  # in the same turn, before its new holder runs
        assert await asyncio.gather(*calls) == [b"0", b"1"]
        assert vendor.counts(transport) == Counts(1, 0, 0, 0)
        assert origin._places_taken == 1


@pytest.mark.parametrize("what", ["connection", "dead connection", "place"])
@both_loops
async def test_what_a_cancelled_caller_was_just_handed_goes_to_the_next(what: str) -> None:
    origin = Origin("http", "example.invalid", 80, PoolLimits(max_connections=1))
    assert origin.take_place()
    connection = Connection(origin, asyncio.get_running_loop())
    connection.state = ACTIVE
    origin.connections.add(connection)
    waiting = [asyncio.create_task(origin.wait(soon())) for _ in range(2)]
    await until(lambda: origin.counts().queued == 2)
    if what == "place":
        origin.forget(connection)
        origin.free_place()
    else:
        origin.release(connection)
    waiting[0].cancel()
    if what == "dead connection":
        connection.discard()
    assert await waiting[1] is (connection if what == "connection" else None)
    assert waiting[0].cancelled()
    assert not origin.take_place()


@both_loops
async def test_calls_cancelled_at_any_moment_leak_no_connection_and_no_place() -> None:
    dice = random.Random(7)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await asyncio.sleep(dice.random() / 500)
            if dice.random() < 0.2:
                return peer.reset() if dice.random() < 0.5 else peer.close()
            await peer.send(CHUNKED + b"3\r\nabc\r\n")
            await asyncio.sleep(dice.random() / 500)
            await peer.send(b"3\r\ndef\r\n0\r\n\r\n")

    async def one() -> None:
        response = await transport.send(vendor.request(), Timeouts(connect_s=1), soon(3))
        if dice.random() < 0.3:
            assert await response.chunk()
            response.finish() if dice.random() < 0.5 else response.close()
        else:
            assert await response.read() == b"abcdef"

    async with serving(script, max_connections=4) as (vendor, transport):
        for _ in range(40):
            calls = [asyncio.create_task(one()) for _ in range(20)]
            for task in calls:
                if dice.random() < 0.5:
                    asyncio.get_running_loop().call_later(dice.random() / 50, task.cancel)
            for result in await asyncio.gather(*calls, return_exceptions=True):
                assert result is None or isinstance(result, ProviderError | asyncio.CancelledError), result
        await until(lambda: vendor.counts(transport).active == 0)
        idle, *rest = vendor.counts(transport)
        assert rest == [0, 0, 0]
        (origin,) = transport._origins.values()
        assert origin._places_taken == idle
        alive = [peer for peer in vendor.peers if not peer.is_gone]
        await until(lambda: sum(not peer.is_gone for peer in vendor.peers) == vendor.counts(transport).idle)
        assert len(alive) <= 4
