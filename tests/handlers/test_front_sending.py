"""Answers of one turn of the loop leave together; that changes neither what a client gets, nor its order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from handlers.exchange import Exchange
from tests.handlers.fronting import PLAIN, Client, front, run, until

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n%b\r\n"


async def endpoint(exchange: Exchange) -> None:
    if exchange.head.path == "/stream":
        exchange.start(200, PLAIN)
        for _ in range(3):
            exchange.write_piece(b"piece")
        exchange.end()
    elif exchange.head.path == "/never":
        await asyncio.Event().wait()
    else:
        exchange.respond(200, exchange.head.path.encode(), PLAIN)


@contextlib.asynccontextmanager
async def beside_another() -> AsyncIterator[tuple[Client, int]]:
    """A client of a front that all the while has another request to answer."""
    async with front(endpoint) as (server, port):
        other, client = await Client.connect(port), await Client.connect(port)
        other.send(GET % (b"never", b""))
        other.send(GET % (b"never", b""))
        await until(lambda: len(server._running) == 1)
        yield client, port
        client.close()
        other.close()


@pytest.mark.parametrize("fields", [b"", b"Connection: close\r\n"])
def test_an_answer_arrives_whole_whether_its_connection_lives_on_or_not(fields: bytes) -> None:
    async def test() -> None:
        async with beside_another() as (client, _):
            client.send(GET % (b"a", fields))
            assert (await client.answer())[2] == b"/a"
            if fields:
                assert await client.rest() == b""

    run(test)


def test_a_refusal_of_what_follows_comes_after_the_answer_before_it() -> None:
    async def test() -> None:
        async with beside_another() as (client, _):
            client.send(GET % (b"a", b"") + b"no request at all\r\n\r\n")
            assert [(await client.answer())[0] for _ in range(2)] == [200, 400]
            assert await client.rest() == b""

    run(test)


def test_streams_and_answers_on_one_connection_keep_their_order() -> None:
    async def test() -> None:
        async with beside_another() as (client, _):
            paths = [b"a", b"stream", b"b", b"stream", b"stream", b"c"]
            client.send(b"".join(GET % (path, b"") for path in paths))
            expected = [b"/a", b"piece" * 3, b"/b", b"piece" * 3, b"piece" * 3, b"/c"]
            assert [(await client.answer())[2] for _ in paths] == expected

    run(test)


def test_what_a_turn_has_to_say_leaves_at_its_end_and_not_before() -> None:
    async def test() -> None:
        written: list[int] = []

        async def noting(exchange: Exchange) -> None:
            exchange.respond(200, b"", PLAIN)
            connection = exchange._connection
            written.append(len(connection._held))

        async with front(noting) as (_, port):
            clients = [await Client.connect(port) for _ in range(8)]
            for client in clients:
                client.send(GET % (b"a", b""))
            assert [(await client.answer())[0] for client in clients] == [200] * 8
            assert any(written), "eight that came at once were answered one by one"
            clients[0].send(GET % (b"a", b""))
            assert (await clients[0].answer())[0] == 200
            assert not written[-1], "nobody else was there to wait for"
            for client in clients:
                client.close()

    run(test)


def test_a_client_that_goes_before_its_answer_leaves_harms_nobody() -> None:
    async def test() -> None:
        async with beside_another() as (client, port):
            for _ in range(20):
                leaver = await Client.connect(port)
                leaver.send(GET % (b"a", b"") * 3)
                leaver.writer.transport.abort()
            client.send(GET % (b"a", b""))
            assert (await client.answer())[2] == b"/a"

    run(test)
