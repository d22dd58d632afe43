"""Servers as child processes: started pinned, watched, and ended by their process id whatever happens."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import time
from pathlib import Path

import machine

READY_S = 60.0
POLL_S = 0.001
STOP_S = 5.0


class ServerFailed(Exception):
    """A server did not start, or died."""


class Server:
    """One server process with a log of its own. A context manager: leaving it ends the process."""

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        log: Path,
        core: int | None = None,
        cwd: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self._log = log
        self.started_ns = time.monotonic_ns()
        with log.open("ab") as output:
            # A session of its own keeps Ctrl-C for the harness, which then ends everything in order.
            self._process = subprocess.Popen(
                machine.pinned(command, core),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def wait_for_path(self, path: Path) -> None:
        """Return when there is such a file. Raises ServerFailed."""
        end = time.monotonic() + READY_S
        while not path.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                raise ServerFailed(f"{self.name} does not start: see {self._log}")
            time.sleep(POLL_S)

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_ns(self) -> int:
        self.check_alive()
        return machine.cpu_ns(self.pid)

    def rss_bytes(self) -> int:
        self.check_alive()
        return machine.rss_bytes(self.pid)

    def check_alive(self) -> None:
        if self._process.poll() is not None:
            tail = self._log.read_text(errors="replace")[-2000:]
            raise ServerFailed(f"{self.name} ended with status {self._process.returncode}:\n{tail}")

    def wait_until_ready(self, port: int, path: str) -> float:
        """Seconds from the start of the process to the first 200."""
        deadline = time.monotonic() + READY_S
        while not is_ready(port, path):
            self.check_alive()
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} was not ready within {READY_S:.0f} s")
            time.sleep(POLL_S)
        return (time.monotonic_ns() - self.started_ns) / 1e9

    def stop(self) -> None:
        """Ask it to end, then insist."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def is_ready(port: int, path: str) -> bool:
    """Whether a GET on a loopback port is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
