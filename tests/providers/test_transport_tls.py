"""The transport over TLS: certificates are checked, and all else is as without."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from providers import errors
from providers.pool import Counts, PoolLimits
from providers.transport import Transport
from tests.providers.test_transport import (
    CHUNKED,
    Peer,
    Vendor,
    answering,
    both_loops,
    failure_of,
    ok,
    send,
    until,
)  # fmt: skip


class Certificates(NamedTuple):
    """A certificate authority of the test's own, and two vendors it vouches for."""

    authority: Path
    here: ssl.SSLContext  # for localhost and 127.0.0.1
    elsewhere: ssl.SSLContext


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def server_context(folder: Path, name: str, subject: str) -> ssl.SSLContext:
    key, request, certificate = (folder / f"{name}.{suffix}" for suffix in ("key", "csr", "pem"))
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName = {subject}\nextendedKeyUsage = serverAuth\n")
    openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", key, "-out", request, "-subj", f"/CN={name}",
    )  # fmt: skip
    openssl(
        "x509", "-req", "-in", request, "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
        "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", certificate,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("tls")
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-subj", "/CN=test authority",
        "-addext", "keyUsage = critical, keyCertSign",
    )  # fmt: skip
    here = server_context(folder, "here", "DNS:localhost, IP:127.0.0.1")
    elsewhere = server_context(folder, "elsewhere", "DNS:elsewhere.example")
    return Certificates(folder / "ca.pem", here, elsewhere)


def secure(vendor: Vendor, host: str = "localhost") -> Vendor:
    vendor.scheme = "https"
    vendor.host = host
    return vendor


def trusting(certificates: Certificates) -> Transport:
    return Transport(ssl_context=ssl.create_default_context(cafile=certificates.authority))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@both_loops
async def test_a_certified_vendor_is_spoken_to_and_the_connection_kept(
    certificates: Certificates, host: str
) -> None:
    body = b"hello" * 100_000
    async with secure(Vendor(answering(ok(body))), host).listening(certificates.here) as vendor:
        transport = trusting(certificates)
        for _ in range(3):
            assert await (await send(transport, vendor, b"x" * 300_000)).read() == body
        assert vendor.connections == 1
        assert vendor.counts(transport) == Counts(1, 0, 0, 0)
        await transport.close()
        await until(lambda: vendor.peers[0].is_gone)


@pytest.mark.parametrize("why", ["unknown authority", "another name"])
@both_loops
async def test_a_certificate_that_does_not_prove_the_name_is_refused(
    certificates: Certificates, why: str
) -> None:
    is_known = why == "another name"
    context = certificates.elsewhere if is_known else certificates.here
    async with secure(Vendor(answering(ok()))).listening(context) as vendor:
        transport = trusting(certificates) if is_known else Transport(limits=PoolLimits())
        failure = await failure_of(send(transport, vendor))
        assert failure.message == "TLS certificate of localhost was not accepted"
        assert (failure.kind, failure.retryable, failure.dispatched) == (errors.FAILED, True, False)
        assert vendor.counts(transport) == Counts(0, 0, 0, 0)
        await transport.close()


@both_loops
async def test_a_vendor_without_tls_is_no_tls_vendor() -> None:
    async def plain(peer: Peer) -> None:
        await peer.send(ok())

    async with secure(Vendor(plain)).listening() as vendor:
        transport = Transport()
        failure = await failure_of(send(transport, vendor))
        assert failure.message == "could not connect: no TLS session with localhost"
        assert (failure.kind, failure.retryable, failure.dispatched) == (errors.FAILED, True, False)
        await transport.close()


@both_loops
async def test_an_abandoned_stream_hangs_up(certificates: Certificates) -> None:
    async with secure(Vendor(answering(CHUNKED + b"2\r\nhe\r\n"))).listening(certificates.here) as vendor:
        transport = trusting(certificates)
        response = await send(transport, vendor)
        assert await response.chunk() == b"he"
        response.close()
        await until(lambda: vendor.peers[0].is_gone, 0.1)
        await transport.close()


@both_loops
async def test_a_slow_reader_stops_a_vendor_behind_tls(certificates: Certificates) -> None:
    piece = b"x" * 65536

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * 800))
        for _ in range(800):
            await peer.send(piece)

    async with secure(Vendor(script)).listening(certificates.here) as vendor:
        transport = trusting(certificates)
        response = await send(transport, vendor)
        seen = len(await response.chunk())
        (peer,) = vendor.peers
        before = -1
        while before != peer.sent:
            before = peer.sent
            await asyncio.sleep(0.2)
        assert peer.sent < len(piece) * 400  # what the kernel's buffers take, and little more
        while data := await response.chunk():
            seen += len(data)
        assert seen == len(piece) * 800
        await transport.close()
