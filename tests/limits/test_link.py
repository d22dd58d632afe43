"""Redis is reached by every kind of URL: on a socket, with TLS and a password, by Sentinels, on a cluster."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from limits import rebuild
from limits.errors import LimiterUnavailable
from limits.link import ClusterLink, Link, link_from_url
from tests.limits.redis_servers import RedisServer, free_port, sentinel
from tests.limits.shared_bench import NOTHING, NUMBER

AUTHORITY: Final = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")


async def filled(link: Link) -> None:
    """Everything that is asked of a link, once."""
    try:
        await link.connect()
        await rebuild.check(link)
        await rebuild.halt(link)
        assert not await rebuild.verify(link, NUMBER)
        await rebuild.rebuild(link, NUMBER, NOTHING)
        assert await rebuild.verify(link, NUMBER)
    finally:
        link.close()


async def why_not(link: Link) -> str:
    with pytest.raises(LimiterUnavailable) as caught:
        await link.connect()
    link.close()
    return str(caught.value)


def test_a_unix_socket(redis_server: RedisServer) -> None:
    redis_server.ask("FLUSHALL")
    asyncio.run(filled(link_from_url(f"unix://{redis_server.socket}?db=3")))
    assert redis_server.ask("EXISTS", "rooya:{0}:incarnation") == "0"


def test_a_port_a_database_and_a_password() -> None:
    with RedisServer("--requirepass", "sésame/!", port=free_port(), password="sésame/!") as server:
        link = link_from_url(f"redis://:s%C3%A9same%2F!@127.0.0.1:{server.port}/2")
        asyncio.run(filled(link))
        assert "NOAUTH" in asyncio.run(why_not(link_from_url(f"redis://127.0.0.1:{server.port}")))
        reason = asyncio.run(why_not(link_from_url(f"redis://:wrong@127.0.0.1:{server.port}")))
        assert "WRONGPASS" in reason and "wrong" not in reason


def test_a_user_of_redis(redis_server: RedisServer) -> None:
    redis_server.ask("ACL", "SETUSER", "rooya", "on", ">sesame", "~rooya:*", "+@all")
    asyncio.run(filled(link_from_url(f"unix://rooya:sesame@{redis_server.socket}")))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    files = ("-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *AUTHORITY]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return directory


@pytest.fixture(scope="module")
def tls_server(certificate: Path) -> Iterator[tuple[RedisServer, int]]:
    port = free_port()
    files = ("--tls-cert-file", str(certificate / "cert.pem"), "--tls-key-file", str(certificate / "key.pem"))
    with RedisServer("--tls-port", str(port), "--tls-auth-clients", "no", *files) as server:
        yield server, port


def test_tls_with_an_authority_of_ones_own(tls_server: tuple[RedisServer, int], certificate: Path) -> None:
    url = f"rediss://127.0.0.1:{tls_server[1]}/1"
    asyncio.run(filled(link_from_url(f"{url}?ssl_ca_certs={certificate / 'cert.pem'}")))
    asyncio.run(filled(link_from_url(f"{url}?ssl_cert_reqs=none")))
    assert "certificate" in asyncio.run(why_not(link_from_url(url)))


def test_nobody_listening_is_said_with_the_place() -> None:
    port = free_port()
    assert f"127.0.0.1:{port}" in asyncio.run(why_not(link_from_url(f"redis://127.0.0.1:{port}")))
    assert "/nowhere" in asyncio.run(why_not(link_from_url("unix:///nowhere")))


@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost", "redis+ring://localhost", "unix+cluster:///tmp/s", "localhost:6379"),
        *("redis://localhost/x", "redis://localhost:x", "redis+sentinel://localhost:26379"),
        *("redis+cluster://localhost:7000/1", "redis://localhost?db=x", "unix:///tmp/s?db=x"),
        *("redis://:sec/ret@localhost", "rediss://localhost?ssl_ca_certs=/nowhere/sec"),
    ],
)
def test_what_is_no_url_of_a_redis_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="Redis") as caught:
        link_from_url(url)
    assert "sec" not in str(caught.value)


# Sentinels


@pytest.fixture
def master() -> Iterator[RedisServer]:
    with RedisServer(port=free_port()) as server:
        yield server


def test_the_master_is_found_by_any_sentinel_that_answers(master: RedisServer) -> None:
    with sentinel(master) as guard:
        places = f"127.0.0.1:{free_port()},127.0.0.1:{guard.port}"
        asyncio.run(filled(link_from_url(f"redis+sentinel://{places}/limits/4")))
        assert master.ask("INFO", "keyspace") and master.ask("SELECT", "4") == "OK"
        reason = asyncio.run(why_not(link_from_url(f"redis+sentinel://{places}/other")))
        assert "no service other" in reason and "; " in reason


def test_a_master_that_says_it_is_none_is_not_used(master: RedisServer) -> None:
    with sentinel(master) as guard:
        master.ask("REPLICAOF", "127.0.0.1", "1")
        url = f"redis+sentinel://127.0.0.1:{guard.port}/limits"
        assert "the master of limits is none" in asyncio.run(why_not(link_from_url(url)))
        master.ask("REPLICAOF", "NO", "ONE")
        asyncio.run(filled(link_from_url(url)))


def test_master_and_sentinel_may_have_the_same_password() -> None:
    with (
        RedisServer("--requirepass", "sesame", port=free_port(), password="sesame") as master,
        sentinel(
            master, "requirepass sesame", "sentinel auth-pass limits sesame", password="sesame"
        ) as guard,
        sentinel(master, "sentinel auth-pass limits sesame") as open_guard,
    ):
        for each in (guard, open_guard):
            url = f"redis+sentinel://:sesame@127.0.0.1:{each.port}/limits"
            asyncio.run(filled(link_from_url(url)))


def test_a_loss_is_told_once_and_not_when_it_was_closed_here() -> None:
    async def run(server: RedisServer) -> list[str]:
        told: list[str] = []
        link = link_from_url(server.url)
        link.lost = told.append
        await link.connect()
        link.close()
        await link.connect()
        assert not told
        server.stop()
        with pytest.raises(LimiterUnavailable):
            await link.ask("", "PING")
        with pytest.raises(LimiterUnavailable):
            await link.ask("", "PING")
        return told

    with RedisServer() as server:
        assert len(asyncio.run(run(server))) == 1


def test_the_slots_of_a_cluster_are_those_that_redis_says(redis_server: RedisServer) -> None:
    class Told(ClusterLink):
        def slot_of(self, tag: str) -> int:
            connections: list[Any] = list(range(16384))
            self._by_slot, self._connections = connections, connections
            return self._of(tag)  # type: ignore[return-value]

    assert [Told([]).slot_of(tag) for tag in ("123456789", "foo", "1")] == [12739, 12182, 9842]
