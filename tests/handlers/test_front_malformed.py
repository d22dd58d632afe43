"""P10: no input crashes the process or hangs it; what is malformed gets the documented error and a close."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from tests.handlers.fronting import Client, front, run

HOST = b"Host: a\r\n"
GOOD = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"

REFUSED = {
    "http 0.9": b"GET /\r\n",
    "http 0.9 with more": b"GET /\r\n\r\n",
    "http 2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http 1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "http 2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "http 3": b"GET / HTTP/3\r\n" + HOST + b"\r\n",
    "lower-case version": b"GET / http/1.1\r\n" + HOST + b"\r\n",
    "not http": b"GET / ICE/1.1\r\n" + HOST + b"\r\n",
    "tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40,
    "nul bytes": b"\x00\x00\x00\x00",
    "binary": bytes(range(128, 256)),
    "no version": b"GET /\r\nHost: a\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "tab in the request line": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "space behind the version": b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
    "nul in the target": b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "control character in the target": b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n",
    "raw utf-8 in the target": "GET /ü HTTP/1.1\r\n".encode() + HOST + b"\r\n",
    "target without a slash": b"GET x HTTP/1.1\r\n" + HOST + b"\r\n",
    "foreign scheme": b"GET ftp://a/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "javascript scheme": b"GET javascript://x HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown method": b"FROB / HTTP/1.1\r\n" + HOST + b"\r\n",
    "lower-case method": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two equal hosts": b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
    "length and coding": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "two equal lengths": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "length list": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "signed length": POST + b"Content-Length: +3\r\n\r\nabc",
    "negative length": POST + b"Content-Length: -3\r\n\r\nabc",
    "hex length": POST + b"Content-Length: 0x3\r\n\r\nabc",
    "empty length": POST + b"Content-Length: \r\n\r\n",
    "length with a space": POST + b"Content-Length: 1 1\r\n\r\nabc",
    "length of 40 digits": POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
    "superscript length": POST + "Content-Length: ³\r\n\r\n".encode("latin-1"),
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked, gzip": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "identity coding": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding with a vertical tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked on 1.0": b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "obs-fold": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
    "obs-fold with a tab": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\tc\r\n\r\n",
    "leading space in the first field": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF after the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF between fields": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "bare CR in a field": b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "nul in a field": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "field without a colon": b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
    "empty field name": b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
    "colon in quotes as a name": b'GET / HTTP/1.1\r\nHost: a\r\n"x": y\r\n\r\n',
    "utf-8 field name": "GET / HTTP/1.1\r\nHost: a\r\nü: y\r\n\r\n".encode(),
    "chunk size not hex": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "chunk size empty": POST + b"Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
    "chunk size signed": POST + b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
    "chunk size 0x": POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "chunk size overflow": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n",
    "chunk longer than said": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "chunk ended by LF": POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "chunk with a space before its end": POST + b"Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_malformed_bytes_get_400_and_a_close_and_the_next_request_is_served(raw: bytes) -> None:
    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            client.send(raw)
            status, headers, body = await client.answer()
            assert status == 400
            assert headers["connection"] == "close"
            assert headers["x-request-id"]
            error = json.loads(body)["error"]
            assert error["type"] == "invalid_request_error"
            assert error["message"]
            assert await client.rest() == b""
            client.close()
            other = await Client.connect(port)
            other.send(GOOD)
            assert (await other.answer())[0] == 200
            other.close()

    run(test)


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_malformed_bytes_behind_a_good_request_never_reach_an_endpoint(raw: bytes) -> None:
    """Request smuggling: the good one is answered, the rest refused, nothing else is dispatched."""
    seen: list[str] = []

    async def endpoint(exchange: object) -> None:
        seen.append(exchange.head.path)  # type: ignore[attr-defined]
        await exchange.read_body()  # type: ignore[attr-defined]
        exchange.respond(200, b"")  # type: ignore[attr-defined]

    async def test() -> None:
        async with front(endpoint) as (server, port):
            client = await Client.connect(port)
            client.send(GOOD + raw + GOOD)
            assert (await client.answer())[0] == 200
            assert (await client.answer())[0] == 400
            assert await client.rest() == b""
            client.close()
        assert seen in (["/next"], ["/next", "/x"])

    run(test)


TOO_LARGE = {
    "one 64 KB field": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 65536 + b"\r\n\r\n",
    "a 64 KB target": b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "64 KB of fields": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: aaaaaaaa\r\n" * 6000 + b"\r\n",
    "200 fields": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 200 + b"\r\n",
    "64 KB without an end": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 65536,
}


@pytest.mark.parametrize("raw", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_large_heads_get_431_and_a_close(raw: bytes) -> None:
    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            client.send(raw)
            status, headers, body = await client.answer()
            assert status == 431
            assert json.loads(body)["error"]["code"] == "request_header_fields_too_large"
            assert await client.rest() == b""
            client.close()

    run(test)


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_malformed_bytes_are_refused_byte_by_byte_too(raw: bytes) -> None:
    async def test() -> None:
        async with front() as (server, port):
            client = await Client.connect(port)
            client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(len(raw)):
                client.send(raw[at : at + 1])
                await asyncio.sleep(0)
            assert (await client.answer())[0] == 400
            assert await client.rest() == b""
            client.close()

    run(test)
