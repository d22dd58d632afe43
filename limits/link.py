"""The way to Redis: a server, the master that Sentinels name, or a cluster's nodes, by one URL.

    redis://[USER:PASSWORD@]HOST:PORT[/DB]    rediss:// with TLS    unix:///PATH[?db=N]
    redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/SERVICE[/DB]    rediss+sentinel://…
    redis+cluster://[USER:PASSWORD@]HOST:PORT,HOST:PORT    rediss+cluster://…

Everything is asked for a tag: what stands in the braces of a key's name. On a cluster it tells the node.
"""

from __future__ import annotations

import asyncio
import ssl
from binascii import crc_hqx
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from limits.connection import Connection, Server, Word
from limits.errors import LimiterUnavailable

SCHEMES: Final = frozenset(
    ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
)
SLOTS: Final = 16384
PORT: Final = 6379
SENTINEL_PORT: Final = 26379
ANSWER_SECONDS: Final = 0.25


class Link:
    """To one server. `connect` before use, and again after a loss. lost: called with the reason of a loss."""

    is_cluster = False

    def __init__(self, servers: list[Server]) -> None:
        self._servers = servers
        self._connections: list[Connection] = []
        self.lost: Callable[[str], None] = _ignore

    async def connect(self) -> None:
        """Raises LimiterUnavailable."""
        self.close()
        self._connections = [await self._open(self._servers[0])]

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections = []

    def ask(self, tag: str, *words: Word) -> asyncio.Future[Any]:
        """The answer of the server that has the tag's keys; its future raises LimiterUnavailable."""
        return self._of(tag).ask(*words)

    async def everywhere(self, *words: Word) -> list[Any]:
        """The answers of all servers. Raises LimiterUnavailable."""
        return list(await asyncio.gather(*(each.ask(*words) for each in self._connections)))

    def servers(self) -> list[Connection]:
        """All there are."""
        return list(self._connections)

    def server_of(self, tag: str) -> Connection:
        """The one that has the tag's keys. Raises LimiterUnavailable."""
        return self._of(tag)

    async def run_id(self, tag: str) -> str:
        """Of this start of the server that has the tag's keys. Raises LimiterUnavailable."""
        for line in (await self.ask(tag, "INFO", "server")).decode().splitlines():
            if line.startswith("run_id:"):
                return str(line[7:])
        raise LimiterUnavailable("the server does not tell its run id")

    def _of(self, tag: str) -> Connection:
        if not self._connections:
            raise LimiterUnavailable("not connected")
        return self._connections[0]

    async def _open(self, server: Server) -> Connection:
        return await Connection.open(server, self._end)

    def _end(self, reason: str) -> None:
        self.close()
        self.lost(reason)


class SentinelLink(Link):
    """To the master of a service. servers: the Sentinels."""

    def __init__(self, sentinels: list[Server], service: str, master: Server) -> None:
        """master: how to speak to it, wherever it is."""
        super().__init__(sentinels)
        self._service = service
        self._master = master

    async def connect(self) -> None:
        self.close()
        reasons = []
        for sentinel in self._servers:
            try:
                self._connections = [await self._open_master(sentinel)]
                return
            except LimiterUnavailable as error:
                reasons.append(f"{sentinel.name}: {error}")
        raise LimiterUnavailable("; ".join(reasons))

    async def _open_master(self, sentinel: Server) -> Connection:
        """The one that this Sentinel names, if it agrees to be it."""
        connection = await Connection.open(sentinel, _ignore)
        try:
            found = await _answer(connection, "SENTINEL", "get-master-addr-by-name", self._service)
        finally:
            connection.close()
        if found is None:
            raise LimiterUnavailable(f"no service {self._service} is known here")
        connection = await self._open(replace(self._master, host=found[0].decode(), port=int(found[1])))
        try:
            role, *_ = await _answer(connection, "ROLE")
            if role != b"master":
                raise LimiterUnavailable(f"the master of {self._service} is none (any more)")
        except LimiterUnavailable:
            connection.close()
            raise
        return connection


class ClusterLink(Link):
    """To the nodes of a cluster that hold its slots. servers: nodes that may be asked which those are."""

    is_cluster = True

    def __init__(self, servers: list[Server]) -> None:
        super().__init__(servers)
        self._by_slot: list[Connection | None] = []

    async def connect(self) -> None:
        self.close()
        reasons = []
        for server in self._servers:
            try:
                connection = await Connection.open(server, _ignore)
                try:
                    ranges = await _answer(connection, "CLUSTER", "SLOTS")
                finally:
                    connection.close()
                await self._open_nodes(server, ranges)
                return
            except LimiterUnavailable as error:
                self.close()
                reasons.append(f"{server.name}: {error}")
        raise LimiterUnavailable("; ".join(reasons))

    async def _open_nodes(self, asked: Server, ranges: list[Any]) -> None:
        by_slot: list[Connection | None] = [None] * SLOTS
        opened: dict[tuple[str, int], Connection] = {}
        for first, last, master, *_ in ranges:
            place = ((master[0] or b"").decode() or asked.host, int(master[1]))  # empty: the one asked
            if place not in opened:
                opened[place] = await self._open(replace(asked, host=place[0], port=place[1]))
                self._connections.append(opened[place])
            by_slot[first : last + 1] = [opened[place]] * (last + 1 - first)
        self._by_slot = by_slot

    def _of(self, tag: str) -> Connection:
        connection = self._by_slot[crc_hqx(tag.encode(), 0) % SLOTS] if self._connections else None
        if connection is None:
            raise LimiterUnavailable("no node of the cluster has this slot")
        return connection


def link_from_url(url: str) -> Link:
    """Raises ValueError on what is no such URL; its words have nothing of a password."""
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    if parts.scheme not in SCHEMES:
        raise ValueError(f"no URL of Redis begins with {parts.scheme}:")
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    path = [unquote(each) for each in parts.path.split("/") if each]
    if scheme == "unix":
        server = Server(path=unquote(parts.path), database=_number(options.get("db", "0")))
        return Link([_with_user(server, parts.netloc)])
    service = path.pop(0) if kind == "sentinel" and path else ""
    database = _number(path[0] if path else options.get("db", "0"))
    if kind == "sentinel" and not service:
        raise ValueError("the URL of Redis does not name the Sentinels' service")
    if kind == "cluster" and database:
        raise ValueError("the URL of Redis names a database, and a cluster has none")
    tls = _tls(options) if scheme == "rediss" else None
    common = _with_user(Server(tls=tls, database=database), parts.netloc)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    servers = [_at(common, host, SENTINEL_PORT if kind == "sentinel" else PORT) for host in hosts]
    if kind == "sentinel":
        return SentinelLink(_with_and_without_password(servers), service, common)
    return ClusterLink(servers) if kind == "cluster" else Link(servers)


def _number(word: str) -> int:
    if not word.isdecimal():
        raise ValueError("in the URL of Redis the database is no number")
    return int(word)


def _with_and_without_password(sentinels: list[Server]) -> list[Server]:
    """A Sentinel may have the password that its masters have, or none."""
    common = [replace(each, database=0) for each in sentinels]
    without = [replace(each, username="", password="") for each in common]
    return without + [each for each in common if each.password]


def _with_user(server: Server, netloc: str) -> Server:
    name, _, password = netloc.rpartition("@")[0].partition(":")
    return replace(server, username=unquote(name), password=unquote(password))


def _at(server: Server, host: str, usual_port: int) -> Server:
    place = urlsplit(f"//{host}")
    try:
        port = place.port
    except ValueError:  # its words may show a part of a password
        raise ValueError("in the URL of Redis a port is no number (write / in a password as %2F)") from None
    return replace(server, host=place.hostname or server.host, port=port or usual_port)


def _tls(options: dict[str, str]) -> ssl.SSLContext:
    """By the names of redis-py: ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_cert_reqs = required | none."""
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if options.get("ssl_cert_reqs") == "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    except OSError as error:
        raise ValueError(f"certificates that the URL of Redis names cannot be used: {error}") from error
    return context


async def _answer(connection: Connection, *words: Word) -> Any:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await connection.ask(*words)
    except TimeoutError as error:
        raise LimiterUnavailable("no answer in time") from error


def _ignore(reason: str) -> None:
    """Nobody needs to know."""
