"""Real redis-server processes for the tests: alone on a unix socket, three as a cluster, with a Sentinel."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self


class RedisServer:
    """`with RedisServer() as server:`; it may be killed, started again and asked by hand."""

    def __init__(
        self, *options: str, port: int = 0, password: str = "", settings: Path | None = None
    ) -> None:
        """password: to ask it by hand. settings: of a Sentinel."""
        self.directory = Path(tempfile.mkdtemp(prefix="redis", dir="/tmp"))
        self.socket = self.directory / "s"
        self.port = port
        self._options = options
        self._password = password
        self._settings = settings
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
        place = ("--unixsocket", str(self.socket), "--dir", str(self.directory), "--bind", "127.0.0.1")
        what = (str(self._settings), "--sentinel") if self._settings else ("--save", "")
        command = ["redis-server", *what, "--port", str(self.port), *place, *self._options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                if self.ask("PING") == "PONG":
                    return
            assert time.monotonic() < end and self.process.poll() is None, "redis-server does not start"
            time.sleep(0.02)

    def pause(self) -> None:
        """From here on it takes what it is sent, and does not answer."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was paused."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ask(self, *words: str) -> str:
        """By hand, for an answer of one value."""
        with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rwb") as file:
            sock.settimeout(5)
            sock.connect(str(self.socket))
            asked = ([("AUTH", self._password)] if self._password else []) + [words]
            for command in asked:
                parts = b"".join(b"$%d\r\n%b\r\n" % (len(w.encode()), w.encode()) for w in command)
                file.write(b"*%d\r\n%b" % (len(command), parts))
                file.flush()
                answer = file.readline()
                if answer.startswith(b"$") and answer != b"$-1\r\n":
                    answer = b"$" + file.read(int(answer[1:]))
            return answer[1:].decode().removesuffix("\r\n")


class Cluster:
    """Three nodes. url: by which to reach them."""

    def __init__(self) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        self.servers = [RedisServer(*options, port=free_port()) for _ in range(3)]
        places = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        self.url = f"redis+cluster://{places}"
        self._nodes = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as nodes:
            for server in self.servers:
                nodes.enter_context(server)
            self._join()
            self._nodes = nodes.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._nodes.close()

    def move(self, tag: str) -> None:
        """Give the tag's slot to another node; what its node had is lost."""
        slot = self.servers[0].ask("CLUSTER", "KEYSLOT", tag)
        owner, heir, _ = sorted(self.servers, key=lambda each: each.ask("GET", tag).startswith("MOVED"))
        owner.ask("FLUSHALL")
        assert heir.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", owner.ask("CLUSTER", "MYID")) == "OK"
        for server in (heir, owner):
            assert server.ask("CLUSTER", "SETSLOT", slot, "NODE", heir.ask("CLUSTER", "MYID")) == "OK"

    def _join(self) -> None:
        bounds = (0, 5461, 10923, 16384)
        for number, server in enumerate(self.servers):
            slots = map(str, range(bounds[number], bounds[number + 1]))
            assert server.ask("CLUSTER", "ADDSLOTS", *slots) == "OK"
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for server in self.servers[1:]:
            self.servers[0].ask("CLUSTER", "MEET", "127.0.0.1", str(server.port))
        end = time.monotonic() + 20
        while not all(_is_whole(server) for server in self.servers):
            assert time.monotonic() < end, "the cluster does not come together"
            time.sleep(0.05)


@contextlib.contextmanager
def sentinel(master: RedisServer, *settings: str, password: str = "") -> Iterator[RedisServer]:
    """A Sentinel that knows the master, which listens on a port, as the service `limits`."""
    with tempfile.TemporaryDirectory(prefix="sentinel", dir="/tmp") as directory:
        path = Path(directory) / "sentinel.conf"
        lines = (f"sentinel monitor limits 127.0.0.1 {master.port} 1", *settings)
        path.write_text("\n".join(lines) + "\n")
        with RedisServer(port=free_port(), password=password, settings=path) as server:
            yield server


def _is_whole(server: RedisServer) -> bool:
    text = server.ask("CLUSTER", "INFO")
    return "cluster_state:ok" in text and "cluster_known_nodes:3" in text


def free_port() -> int:
    """Free, and so is the one that a cluster's nodes use beside it."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            if port < 50_000:
                with contextlib.suppress(OSError):
                    other.bind(("127.0.0.1", port + 10_000))
                    return port
