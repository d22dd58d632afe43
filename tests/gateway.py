"""The real gateway as a process: `rooya.py serve` on a free port, its keys made by the command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 20
# As `rooya.py`, but with every line that can be logged: none may hold a secret.
SERVE_AT_DEBUG = """
import logging, sys
sys.path.insert(0, sys.argv[1])
logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
import rooya
sys.exit(rooya.main(sys.argv[2:]))
"""
# What tests put into requests to recognise it by: it must not be found anywhere afterwards.
CONTENT = "canary-in-the-coal-mine"
VENDOR_SECRET = "fake-vendor-secret"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Gateway:
    """`with Gateway(directory, toml) as gateway:`; toml "" = no configuration at all."""

    def __init__(
        self,
        directory: Path,
        toml: str = "",
        *,
        environ: dict[str, str] | None = None,
        unix: Path | None = None,
        program: Sequence[str] = (sys.executable, "-c", SERVE_AT_DEBUG, str(ROOT)),
    ) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        self.port = free_port()
        self.log = directory / "gateway.log"
        self.unix = unix
        self._program = program
        self._config: list[str] = []
        if toml:
            (directory / "gateway.toml").write_text(toml)
            self._config = ["--config", str(directory / "gateway.toml")]
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(directory), **(environ or {})}
        self.key = ""  # of one's own, or made at the start
        self.secrets = {CONTENT, VENDOR_SECRET, *(environ or {}).values()}

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self._program, *self._words("serve", "--port", str(self.port))],
                cwd=self.directory,
                env=self._environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + 30
        while not self._is_up():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)
        if not self.key:
            generous = ("--tier", "enterprise", "--rpm", "1000000", "--tpd", "1000000000000")
            self.key = self.run("keys", "create", "--name", "test", *generous)["key"]
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.process.poll() is None:
                self.assert_no_secret_is_left()  # while the journal is still there
        finally:
            self.stop()
        text = self.log.read_text()
        assert "Traceback" not in text and "ERROR" not in text, text
        self.assert_no_secret_is_left()

    def stop(self) -> None:
        """Tell it to end, and see that it does so well."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                status = self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
            assert status == 0, self.log.read_text()

    def assert_no_secret_is_left(self) -> None:
        """Neither key nor provider secret nor content is in the log, the database, or any file beside it."""
        for path in (self.log, *(path for path in self.data_dir.rglob("*") if path.is_file())):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue  # a segment that has been moved meanwhile
            found = [secret for secret in self.secrets if secret and secret.encode() in content]
            assert not found, f"{found} in {path}"

    def run(self, *arguments: str) -> Any:
        """A verb of the command line; its JSON."""
        result = self.attempt(*arguments, "--json")
        assert result.returncode == 0, result.stderr
        document = json.loads(result.stdout)
        if isinstance(document, dict) and "key" in document:
            self.secrets.add(document["key"])
        return document

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """A verb as one would type it, whatever comes of it."""
        return subprocess.run(
            self._command(*arguments),
            cwd=self.directory,
            env=self._environ,
            capture_output=True,
            timeout=30,
        )

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def connect(self) -> socket.socket:
        """A raw connection."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def post(self, path: str, payload: Any) -> tuple[int, dict[str, str], bytes]:
        """A request by hand: status, headers in lower case, whole body."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, _lower(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _lower(error.headers), error.read()

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(ROOT / "rooya.py"), *self._words(*arguments)]

    def _words(self, *arguments: str) -> list[str]:
        verb = 2 if arguments[0] in ("keys", "users", "models") else 1
        common = [*self._config, "--data-dir", str(self.data_dir)]
        return [*arguments[:verb], *common, *arguments[verb:]]

    def _is_up(self) -> bool:
        if self.unix is not None:
            return self.unix.is_socket()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def toml(base_url: str, more: str = "") -> str:
    """A configuration with one provider, the fake one; unless `more` has its own words for it, no addresses
    are counted and no call is tried again."""
    if "[limits]" not in more:
        more += "\n[limits]\nip_rpm = 0\n"
    if "[retry]" not in more:
        more += "\n[retry]\nretries = 0\n"
    provider = f'[[providers]]\nname = "fake"\nkind = "openai_compatible"\nbase_url = "{base_url}"\n'
    return f'{more}\n{provider}api_keys = ["{VENDOR_SECRET}"]\n'
