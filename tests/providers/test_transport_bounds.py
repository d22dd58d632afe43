"""The transport's bounds of time and of memory. Figures are small; outcomes are asserted, not exact times."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from providers import errors
from providers.pool import Counts
from providers.types import Timeouts
from tests.providers.test_transport import (
    CHUNKED,
    NO_BOUNDS,
    Peer,
    answering,
    both_loops,
    failure_of,
    ok,
    send,
    serving,
    soon,
    until,
)  # fmt: skip

SHORT = 0.2
MIB = 1024 * 1024


async def silent(peer: Peer) -> None:
    await peer.request_head()


async def dripping(peer: Peer) -> None:
    """A byte of the body every now and then, without end."""
    await peer.request()
    await peer.send(CHUNKED)
    while True:
        await peer.send(b"1\r\nx\r\n")
        await asyncio.sleep(0.02)


# Time


@both_loops
async def test_the_deadline_bounds_the_wait_for_the_head() -> None:
    async with serving(silent) as (vendor, transport):
        failure = await failure_of(transport.send(vendor.request(), NO_BOUNDS, soon(SHORT)))
        assert (failure.kind, failure.retryable, failure.dispatched) == (errors.TIMEOUT, False, True)
        await until(lambda: vendor.peers[0].is_gone)
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)


@pytest.mark.parametrize("how", ["chunk", "read"])
@both_loops
async def test_the_deadline_bounds_the_body_also_while_bytes_come(how: str) -> None:
    async with serving(dripping) as (vendor, transport):
        response = await transport.send(vendor.request(), NO_BOUNDS, soon(SHORT))

        async def drink() -> None:
            if how == "read":
                await response.read()
            while await response.chunk():
                pass

        failure = await failure_of(drink())
        assert (failure.kind, failure.retryable, failure.dispatched) == (errors.TIMEOUT, False, True)
        await until(lambda: vendor.peers[0].is_gone)


@both_loops
async def test_the_first_byte_has_a_bound_of_its_own() -> None:
    async with serving(silent) as (vendor, transport):
        failure = await failure_of(transport.send(vendor.request(), Timeouts(first_byte_s=SHORT), soon()))
        assert (failure.kind, failure.retryable) == (errors.TIMEOUT, False)
        assert "begin" in failure.message


@both_loops
async def test_the_bound_of_the_first_byte_ends_with_it() -> None:
    async with serving(dripping) as (vendor, transport):
        response = await transport.send(vendor.request(), Timeouts(first_byte_s=SHORT), soon(4 * SHORT))
        seen = b""
        while len(seen) < 25:  # half a second or so
            seen += await response.chunk()
        response.close()


@pytest.mark.parametrize("how", ["chunk", "read"])
@pytest.mark.parametrize("sent", [CHUNKED, CHUNKED + b"2\r\nhe\r\n"], ids=["head", "some body"])
@both_loops
async def test_a_vendor_that_stops_within_its_answer_is_cut_off(sent: bytes, how: str) -> None:
    async with serving(answering(sent)) as (vendor, transport):
        response = await transport.send(vendor.request(), Timeouts(idle_s=SHORT), soon())
        if how == "chunk" and sent.endswith(b"he\r\n"):
            assert await response.chunk() == b"he"
        failure = await failure_of(response.chunk() if how == "chunk" else response.read())
        assert (failure.kind, failure.retryable) == (errors.TIMEOUT, False)
        assert "stopped" in failure.message


@both_loops
async def test_a_slow_reader_is_not_taken_for_an_idle_vendor() -> None:
    async with serving(answering(ok(b"x" * MIB))) as (vendor, transport):
        response = await transport.send(vendor.request(), Timeouts(idle_s=SHORT), soon())
        await asyncio.sleep(4 * SHORT)
        assert await response.read() == b"x" * MIB


@both_loops
async def test_bytes_that_keep_coming_are_no_idle_vendor() -> None:
    async with serving(dripping) as (vendor, transport):
        response = await transport.send(vendor.request(), Timeouts(idle_s=SHORT), soon())
        seen = b""
        while len(seen) < 30:
            seen += await response.chunk()
        response.close()


@both_loops
async def test_connecting_has_a_bound_of_its_own_and_is_retryable() -> None:
    async with serving(silent) as (vendor, transport):
        vendor.scheme = "https"  # which the vendor never answers
        failure = await failure_of(transport.send(vendor.request(), Timeouts(connect_s=SHORT), soon()))
        assert (failure.kind, failure.retryable, failure.dispatched) == (errors.FAILED, True, False)
        assert failure.message.startswith("could not connect")
        await until(lambda: vendor.peers[0].is_gone)
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)


@both_loops
async def test_the_deadline_bounds_connecting_and_is_not_retryable() -> None:
    async with serving(silent) as (vendor, transport):
        vendor.scheme = "https"
        for timeouts in (Timeouts(), Timeouts(connect_s=0)):
            failure = await failure_of(transport.send(vendor.request(), timeouts, soon(SHORT)))
            assert (failure.kind, failure.retryable, failure.dispatched) == (errors.TIMEOUT, False, False)
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)


@both_loops
async def test_idle_connections_keep_no_busy_sweep_running() -> None:
    async with serving(answering(ok())) as (vendor, transport):
        await (await send(transport, vendor)).read()
        await until(lambda: transport._is_resting)
        response = await send(transport, vendor)
        assert not transport._is_resting
        await response.read()


# Memory


@pytest.mark.parametrize("framing", ["content-length", "chunked", "close-delimited"])
@both_loops
async def test_a_reader_that_does_not_read_stops_the_vendor(framing: str) -> None:
    piece = b"x" * 16384
    pieces = 50 * MIB // len(piece)

    async def script(peer: Peer) -> None:
        await peer.request()
        if framing == "chunked":
            await peer.send(CHUNKED)
        elif framing == "content-length":
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (50 * MIB))
        else:
            await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        peer.sent = 0
        for _ in range(pieces):
            await peer.send(b"4000\r\n" + piece + b"\r\n" if framing == "chunked" else piece)
        if framing == "chunked":
            await peer.send(b"0\r\n\r\n")
        peer.close()

    async with serving(script) as (vendor, transport):
        response = await send(transport, vendor)
        seen = len(await response.chunk())
        (peer,) = vendor.peers
        before = -1
        while peer.sent != before:
            before = peer.sent
            await asyncio.sleep(0.2)
        assert peer.sent < 25 * MIB  # what the kernel's buffers take, and little more
        largest = 0
        rss = rss_bytes()
        while data := await response.chunk():
            seen += len(data)
            largest = max(largest, len(data))
        assert seen == 50 * MIB
        assert largest <= 65536 + 2 * 262144  # the bound, and what one read of the event loop may bring
        assert rss_bytes() - rss < 16 * MIB


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@both_loops
async def test_a_body_read_whole_is_bounded() -> None:
    async with serving(answering(ok(b"x" * MIB)), max_body_bytes=MIB // 2) as (vendor, transport):
        response = await send(transport, vendor)
        failure = await failure_of(response.read())
        assert (failure.kind, failure.retryable) == (errors.FAILED, False)
        await until(lambda: vendor.peers[0].is_gone)
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)


@both_loops
async def test_a_large_body_is_read_whole() -> None:
    body = bytes(range(256)) * 4096 * 8
    async with serving(answering(ok(body))) as (vendor, transport):
        for _ in range(2):
            assert await (await send(transport, vendor)).read() == body
        streamed = await send(transport, vendor)
        pieces = [await streamed.chunk()]
        assert b"".join(pieces) + await streamed.read() == body
        assert vendor.connections == 1


@both_loops
async def test_an_open_answer_keeps_no_more_than_its_head() -> None:
    async with serving(answering(CHUNKED + b"8000\r\n" + b"x" * 32768 + b"\r\n")) as (vendor, transport):
        response = await send(transport, vendor)
        assert await response.chunk()
        assert len(response._head) == len(CHUNKED)
        response.close()


@both_loops
async def test_an_answer_read_whole_does_not_hold_back_the_next_on_its_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"2\r\nhe\r\n")
        await is_reading.wait()
        await peer.send(b"3\r\nllo\r\n0\r\n\r\n")
        await peer.request()
        await peer.send(CHUNKED)
        await has_head.wait()
        await peer.send(b"2\r\nhe\r\n")

    is_reading, has_head = asyncio.Event(), asyncio.Event()
    async with serving(script) as (vendor, transport):
        response = await send(transport, vendor)
        asyncio.get_running_loop().call_soon(is_reading.set)
        assert await response.read() == b"hello"
        response = await send(transport, vendor)
        has_head.set()
        async with asyncio.timeout(5):
            assert await response.chunk() == b"he"
        response.close()
        assert vendor.connections == 1


# The request


@both_loops
async def test_an_answer_before_the_request_is_sent_is_delivered_and_the_connection_not_reused() -> None:
    async def script(peer: Peer) -> None:
        await peer.request_head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
        await stop.wait()

    stop = asyncio.Event()
    async with serving(script) as (vendor, transport):
        response = await send(transport, vendor, b"x" * 64 * MIB)
        assert response.status == 413
        assert await response.read() == b"large"
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)
        stop.set()
        await until(lambda: vendor.peers[0].is_gone)
        assert vendor.peers[0].received < 32 * MIB  # the rest of the request was not sent


@both_loops
async def test_a_large_request_arrives_whole() -> None:
    body = bytes(range(256)) * 4096 * 16
    sizes = []

    async def script(peer: Peer) -> None:
        while True:
            sizes.append(len(await peer.request()))
            await peer.send(ok())

    async with serving(script) as (vendor, transport):
        for _ in range(2):
            assert await (await send(transport, vendor, body)).read() == b"hello"
        assert sizes[0] > len(body)
        assert sizes[0] == sizes[1]
        assert vendor.connections == 1
