"""The front on good input: framing, order, time-outs, backpressure, hang-ups, drain."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path

import pytest

from handlers.exchange import Exchange
from handlers.server import Bounds, inherited_sockets
from tests.handlers.fronting import PLAIN, Client, front, run, until

FAST = Bounds(tick_s=0.02, head_s=0.2, body_s=0.2, idle_s=0.2, write_s=0.2, linger_s=0.2)


def post(body: bytes, path: bytes = b"/p", fields: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (path, fields, len(body), body)


def chunked(*pieces: bytes, trailer: bytes = b"") -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces)
    return (
        b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + framed
        + b"0\r\n"
        + trailer
        + b"\r\n"
    )


def test_requests_on_one_connection_are_answered_in_order() -> None:
    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            for number in range(20):
                client.send(post(b"%d" % number))
                status, headers, body = await client.answer()
                assert (status, body) == (200, b"POST /p %d" % number)
                assert "connection" not in headers
            assert len(server.connections) == 1
            client.close()

    run(test)


def test_every_answer_has_an_id_of_its_own_and_a_date() -> None:
    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            ids = []
            for _ in range(3):
                client.send(post(b"x", fields=b"X-Request-ID: mine\r\n"))
                headers = (await client.answer())[1]
                assert headers["date"].endswith("GMT")
                ids.append(headers["x-request-id"])
            assert "mine" not in ids
            assert ids == sorted(set(ids))
            assert abs(int(ids[0][:12], 16) / 1000 - time.time()) < 60
            client.close()

    run(test)


def test_pipelined_requests_are_answered_in_order_though_the_first_is_slow() -> None:
    async def test() -> None:
        gate = asyncio.Event()

        async def endpoint(exchange: Exchange) -> None:
            body = await exchange.read_body()
            if body == b"0":
                await gate.wait()
            exchange.respond(200, body, PLAIN)

        async with front(endpoint) as (server, port):
            client = await Client.connect(port)
            client.send(b"".join(post(b"%d" % n) if n % 2 == 0 else chunked(b"%d" % n) for n in range(50)))
            await asyncio.sleep(0.01)
            gate.set()
            assert [(await client.answer())[2] for _ in range(50)] == [b"%d" % n for n in range(50)]
            client.close()

    run(test)


@pytest.mark.parametrize(
    "raw", [post(b"hello body"), chunked(b"hello", b" ", b"body", trailer=b"X-T: 1\r\n")]
)
def test_a_request_may_be_cut_anywhere(raw: bytes) -> None:
    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(1, len(raw)):
                client.send(raw[:at])
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                client.send(raw[at:])
                assert (await client.answer())[2].endswith(b"hello body")
            for at in range(len(raw)):
                client.send(raw[at : at + 1])
                await asyncio.sleep(0)
            assert (await client.answer())[2].endswith(b"hello body")
            client.close()

    run(test)


def test_a_chunked_body_full_of_blank_lines_ends_where_it_ends() -> None:
    body = b"\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n" * 5

    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            client.send(chunked(body, body) + post(b"next"))
            assert (await client.answer())[2] == b"POST /c " + body + body
            assert (await client.answer())[2] == b"POST /p next"
            client.close()

    run(test)


def test_the_body_is_awaited_with_100_continue_only_when_somebody_wants_it() -> None:
    async def refuse(exchange: Exchange) -> None:
        exchange.respond(401, b"no", PLAIN)

    async def test() -> None:
        head = b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        async with front() as (server, port):
            client = await Client.connect(port)
            client.send(head)
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(b"body")
            assert (await client.answer())[2] == b"POST /x body"
            client.close()
        async with front(refuse) as (server, port):
            client = await Client.connect(port)
            client.send(head)
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (401, "close")
            client.close()

    run(test)


def test_an_answer_before_the_body_came_keeps_a_small_request_s_connection() -> None:
    async def refuse(exchange: Exchange) -> None:
        exchange.respond(401, b"no", PLAIN)

    async def test() -> None:
        async with front(refuse) as (server, port):
            client = await Client.connect(port)
            client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
            assert (await client.answer())[0] == 401
            client.send(b"body" + post(b""))
            assert (await client.answer())[0] == 401
            client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n")
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (401, "close")
            client.send(b"a" * 100_000)
            assert await client.rest() == b""
            client.close()

    run(test)


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 40000000\r\n\r\n" + b"a" * 100_000,
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"10000\r\n" + b"a" * 65536 + b"\r\n") * 4,
    ],
    ids=["by its length", "as it grows"],
)
def test_a_body_over_the_limit_is_413(raw: bytes) -> None:
    async def test() -> None:
        async with front(bounds=Bounds(body_bytes=100_000)) as (server, port):
            client = await Client.connect(port)
            client.send(raw)
            status, headers, body = await client.answer()
            assert (status, headers["connection"]) == (413, "close")
            assert json.loads(body)["error"]["type"] == "invalid_request_error"
            assert await client.rest() == b""
            client.close()

    run(test)


def test_a_40_mb_body_is_refused_by_the_usual_bounds() -> None:
    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 41943040\r\n\r\n" + b"a" * 1_000_000)
            assert (await client.answer())[0] == 413
            client.close()

    run(test)


def test_head_is_answered_without_a_body() -> None:
    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            client.send(b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert b"Content-Length: 8\r\n" in head
            client.send(post(b"after"))
            assert (await client.answer())[2] == b"POST /p after"
            client.close()

    run(test)


@pytest.mark.parametrize(
    ("request_head", "lives"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Foo, CLOSE\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_connections_live_as_long_as_the_client_says(request_head: bytes, lives: bool) -> None:
    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            client.send(request_head)
            assert (await client.answer())[0] == 200
            if lives:
                client.send(request_head)
                assert (await client.answer())[0] == 200
            else:
                assert await client.rest() == b""
            client.close()

    run(test)


@pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.0", b"websocket"])
def test_an_upgrade_is_ignored_and_the_body_still_read(upgrade: bytes) -> None:
    fields = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nupgrade: again\r\n" % upgrade

    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            client.send(post(b"upgraded?", fields=fields) + post(b"next"))
            assert (await client.answer())[2] == b"POST /p upgraded?"
            assert (await client.answer())[2] == b"POST /p next"
            client.close()

    run(test)


def test_an_absolute_target_is_its_path() -> None:
    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            client.send(b"GET http://other.example/v1/x?q=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.answer())[2] == b"GET /v1/x "
            client.close()

    run(test)


def test_a_slow_head_is_answered_408_and_closed() -> None:
    async def test() -> None:
        async with front(bounds=FAST) as (server, port):
            client = await Client.connect(port)
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-")
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (408, "close")
            assert await client.rest() == b""
            client.close()

    run(test)


def test_slowloris_with_a_byte_now_and_then_does_not_last() -> None:
    async def test() -> None:
        async with front(bounds=FAST) as (server, port):
            client = await Client.connect(port)
            client.send(b"GET / HTTP/1.1\r\n")
            answer = asyncio.ensure_future(client.answer())
            while not answer.done():
                client.send(b"X: a\r\n")
                await asyncio.sleep(0.02)
            assert (await answer)[0] == 408
            client.close()

    run(test)


def test_a_body_that_stalls_is_408() -> None:
    async def test() -> None:
        async with front(bounds=FAST) as (server, port):
            client = await Client.connect(port)
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
            assert (await client.answer())[0] == 408
            assert await client.rest() == b""
            client.close()

    run(test)


def test_idle_connections_are_closed() -> None:
    async def test() -> None:
        async with front(bounds=FAST) as (server, port):
            silent = await Client.connect(port)
            used = await Client.connect(port)
            used.send(post(b""))
            await used.answer()
            assert await used.rest() == b""
            await silent.rest()
            await until(lambda: not server.connections)
            silent.close()
            used.close()

    run(test)


def test_a_running_request_has_no_reading_time_out() -> None:
    async def endpoint(exchange: Exchange) -> None:
        await asyncio.sleep(0.5)
        exchange.respond(200, b"late", PLAIN)

    async def test() -> None:
        async with front(endpoint, bounds=FAST) as (server, port):
            client = await Client.connect(port)
            client.send(post(b""))
            assert (await client.answer())[2] == b"late"
            client.close()

    run(test)


def test_a_client_that_does_not_read_holds_no_more_than_the_high_water_mark() -> None:
    sent = 0

    async def endpoint(exchange: Exchange) -> None:
        nonlocal sent
        exchange.start(200, PLAIN)
        for _ in range(5000):
            exchange.write_piece(b"a" * 65536)
            sent += 65536
            if exchange.is_clogged:
                await exchange.drain()
        exchange.end()

    async def test() -> None:
        bounds = Bounds(tick_s=0.02, write_s=0.3)
        async with front(endpoint, bounds=bounds) as (server, port):
            client = await Client.connect(port)
            client.send(post(b""))
            await until(lambda: sent > 0)
            await until(lambda: not server.connections)  # cut by its write time-out
            assert sent < 20_000_000
            client.close()

    run(test)


def test_a_slow_reader_that_reads_is_not_cut() -> None:
    async def endpoint(exchange: Exchange) -> None:
        exchange.start(200, PLAIN)
        for _ in range(100):
            exchange.write_piece(b"a" * 65536)
            if exchange.is_clogged:
                await exchange.drain()
        exchange.end()

    async def test() -> None:
        async with front(endpoint, bounds=Bounds(tick_s=0.02, write_s=0.5)) as (server, port):
            client = await Client.connect(port)
            client.send(post(b""))
            await asyncio.sleep(0.2)
            assert len((await client.answer())[2]) == 6_553_600
            client.close()

    run(test)


def test_a_hang_up_cancels_what_runs() -> None:
    ended = []

    async def endpoint(exchange: Exchange) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(asyncio.get_running_loop().time())
            raise

    async def test() -> None:
        async with front(endpoint) as (server, port):
            client = await Client.connect(port)
            client.send(post(b""))
            await until(lambda: len(server.connections) == 1)
            await asyncio.sleep(0.01)
            gone = asyncio.get_running_loop().time()
            client.close()
            await until(lambda: bool(ended))
            assert ended[0] - gone < 0.1

    run(test)


@pytest.mark.expects_log("failed")
def test_a_failing_endpoint_is_500_in_the_envelope_and_tells_nothing() -> None:
    async def endpoint(exchange: Exchange) -> None:
        raise RuntimeError("secret detail")

    async def test() -> None:
        async with front(endpoint) as (server, port):
            client = await Client.connect(port)
            client.send(post(b""))
            status, _, body = await client.answer()
            assert status == 500
            assert b"secret" not in body
            assert json.loads(body)["error"]["type"] == "server_error"
            client.send(post(b""))
            assert (await client.answer())[0] == 500
            client.close()

    run(test)


def test_a_streamed_body_comes_in_pieces_and_slows_its_sender() -> None:
    most = 0

    async def endpoint(exchange: Exchange) -> None:
        nonlocal most
        total = 0
        async for piece in exchange.stream_body():
            most = max(most, len(piece))
            total += len(piece)
            await asyncio.sleep(0)
        exchange.respond(200, b"%d" % total, PLAIN)

    async def test() -> None:
        async with front(endpoint, bounds=Bounds(body_bytes=1000)) as (server, port):
            client = await Client.connect(port)
            client.send(post(b"a" * 20_000_000))
            assert (await client.answer())[2] == b"20000000"
            assert most < 2_000_000
            client.close()

    run(test)


def test_a_drain_finishes_what_runs_and_closes_the_rest() -> None:
    async def test() -> None:
        gate = asyncio.Event()

        async def endpoint(exchange: Exchange) -> None:
            await gate.wait()
            exchange.respond(200, b"done", PLAIN)

        async with front(endpoint) as (server, port):
            idle = await Client.connect(port)
            busy = await Client.connect(port)
            busy.send(post(b""))
            await until(lambda: any(not c.is_idle for c in server.connections))
            drain = asyncio.ensure_future(server.drain(5))
            await idle.rest()
            with pytest.raises(OSError):
                await Client.connect(port)
            assert not drain.done()
            gate.set()
            _, headers, body = await busy.answer()
            assert (body, headers["connection"]) == (b"done", "close")
            assert await drain is True
            busy.close()
            idle.close()

    run(test)


def test_a_unix_socket_serves_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()

    async def test() -> None:
        async with front() as (server, _):
            await server.listen_unix(path)
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(post(b"over unix"))
            assert (await Client(reader, writer).answer())[2] == b"POST /p over unix"
            writer.close()
            with pytest.raises(OSError, match="in use"):
                await server.listen_unix(path)
        assert not path.exists()

    run(test)


def test_inherited_sockets_are_served() -> None:
    async def test() -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        async with front() as (server, _):
            await server.listen_inherited([sock])
            client = await Client.connect(sock.getsockname()[1])
            client.send(post(b"inherited"))
            assert (await client.answer())[2] == b"POST /p inherited"
            client.close()

    run(test)


def test_sockets_of_another_process_are_not_ours() -> None:
    assert inherited_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "3"}) == []
    assert inherited_sockets({}) == []


def test_the_client_s_address_reaches_the_endpoint() -> None:
    async def endpoint(exchange: Exchange) -> None:
        exchange.respond(200, exchange.client_address.encode(), PLAIN)

    async def test() -> None:
        async with front(endpoint) as (server, port):
            client = await Client.connect(port)
            client.send(post(b"", fields=b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.9\r\n"))
            assert (await client.answer())[2] == b"203.0.113.9"
            client.close()

    run(test)


def test_a_large_answer_leaves_the_connection_with_an_idle_time_out() -> None:
    async def endpoint(exchange: Exchange) -> None:
        exchange.respond(200, b"a" * 8_000_000, PLAIN)

    async def test() -> None:
        async with front(endpoint, bounds=Bounds(tick_s=0.02, idle_s=0.3, write_s=5)) as (server, port):
            client = await Client.connect(port)
            client.send(post(b""))
            assert len((await client.answer())[2]) == 8_000_000
            await until(lambda: not server.connections)
            client.close()

    run(test)


def test_a_client_that_is_gone_before_its_request_was_begun_leaves_nothing_to_drain() -> None:
    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            await until(lambda: len(server.connections) == 1)
            (connection,) = server.connections
            connection.data_received(post(b"never begun"))
            connection.connection_lost(None)  # in the same turn of the loop
            client.close()
            assert await server.drain(2) is True

    run(test)
