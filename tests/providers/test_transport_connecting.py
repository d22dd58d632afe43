"""How the transport connects: names, addresses, and what it says when there is no way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from providers import errors
from providers.pool import Counts, Origin
from providers.transport import Transport
from providers.types import Timeouts
from tests.providers.test_transport import (
    Peer,
    Vendor,
    answering,
    both_loops,
    failure_of,
    ok,
    send,
    serving,
    soon,
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "a" * 70 + ".invalid"])
@both_loops
async def test_no_connection_is_a_failure_another_target_may_make_good(host: str) -> None:
    vendor = Vendor(answering(ok()))
    vendor.host, vendor.port = host, free_port()
    transport = Transport()
    failure = await failure_of(send(transport, vendor))
    assert failure.message.startswith("could not connect")
    assert (failure.kind, failure.retryable, failure.dispatched) == (errors.FAILED, True, False)
    assert vendor.counts(transport) == Counts(0, 0, 0, 0)
    await transport.close()


@both_loops
async def test_an_address_that_hangs_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async def addresses(origin: Origin) -> list[str]:
        return ["127.0.0.3", "127.0.0.2", "127.0.0.1"]

    async with serving(answering(ok())) as (vendor, transport):
        monkeypatch.setattr(transport, "_addresses", addresses)
        with full_listener("127.0.0.2", vendor.port):  # and on 127.0.0.3 nobody listens
            response = await transport.send(vendor.request(), Timeouts(connect_s=1), soon())
        assert await response.read() == b"hello"
        assert vendor.connections == 1
        assert vendor.counts(transport) == Counts(1, 0, 0, 0)


@contextlib.contextmanager
def full_listener(host: str, port: int) -> Iterator[None]:
    """A listening socket with a full queue: who connects hears nothing."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect((host, port))
        yield


@both_loops
async def test_those_who_connect_at_once_share_a_lookup_that_none_of_them_can_spoil() -> None:
    async with serving(answering(ok())) as (vendor, transport):
        vendor.host = "localhost"
        calls = [asyncio.create_task(send(transport, vendor)) for _ in range(5)]
        await asyncio.sleep(0)
        (origin,) = transport._origins.values()
        lookup = origin.lookup
        assert lookup is not None
        assert origin.counts() == Counts(0, 0, 5, 0)
        calls[0].cancel()
        await asyncio.gather(*calls[1:])
        assert origin.lookup is lookup
        assert lookup.done()
        assert not lookup.cancelled()
        assert vendor.connections == 4


@both_loops
async def test_a_retry_that_cannot_connect_says_that_the_request_was_dispatched() -> None:
    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        await peer.request()
        peer.close()

    async with serving(once) as (vendor, transport):
        await (await send(transport, vendor)).read()
        (origin,) = transport._origins.values()
        origin.port = free_port()  # as if the vendor had gone
        failure = await failure_of(send(transport, vendor))
        assert (failure.kind, failure.retryable, failure.dispatched) == (errors.FAILED, True, True)
        assert origin.counts() == Counts(0, 0, 0, 0)
