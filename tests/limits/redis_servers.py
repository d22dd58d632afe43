"""Real redis-server processes for the tests: alone on a unix socket, or three as a cluster."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self


class RedisServer:
    """`with RedisServer() as server:`; it may be killed, started again and asked by hand."""

    def __init__(self, *options: str, port: int = 0) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="redis", dir="/tmp"))
        self.socket = self.directory / "s"
        self.port = port
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        usual = ("--unixsocket", str(self.socket), "--save", "", "--dir", str(self.directory))
        command = ["redis-server", "--port", str(self.port), *usual, "--bind", "127.0.0.1", *self._options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                if self.ask("PING") == "PONG":
                    return
            assert time.monotonic() < end and self.process.poll() is None, "redis-server does not start"
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ask(self, *words: str) -> str:
        """By hand, in one line's answer (or the first of more)."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(str(self.socket))
            parts = b"".join(b"$%d\r\n%b\r\n" % (len(w.encode()), w.encode()) for w in words)
            sock.sendall(b"*%d\r\n%b" % (len(words), parts))
            answer = sock.recv(65536).decode()
            return answer.partition("\r\n")[0][1:]


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """Three nodes, and the URL by which to reach them."""
    with contextlib.ExitStack() as nodes:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        servers = [nodes.enter_context(RedisServer(*options, port=_free_port())) for _ in range(3)]
        bounds = (0, 5461, 10923, 16384)
        for number, server in enumerate(servers):
            slots = map(str, range(bounds[number], bounds[number + 1]))
            assert server.ask("CLUSTER", "ADDSLOTS", *slots) == "OK"
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for server in servers[1:]:
            servers[0].ask("CLUSTER", "MEET", "127.0.0.1", str(server.port))
        end = time.monotonic() + 20
        while not all(_is_whole(server) for server in servers):
            assert time.monotonic() < end, "the cluster does not come together"
            time.sleep(0.05)
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)


def _is_whole(server: RedisServer) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(server.socket))
        sock.sendall(b"CLUSTER INFO\r\n")
        text = sock.recv(65536).decode()
    return "cluster_state:ok" in text and "cluster_known_nodes:3" in text


def _free_port() -> int:
    """Free, and so is the one that a cluster's nodes use beside it."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            if port < 50_000:
                with contextlib.suppress(OSError):
                    other.bind(("127.0.0.1", port + 10_000))
                    return port
