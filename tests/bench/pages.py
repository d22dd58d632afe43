"""What pages of a long ledger cost: each one's time, and what the calls feel while one reloads in a loop.

Each page is asked for by an admin, who sees all keys, and its time is what a client on the same machine sees.
Calls go to the demo model at a steady rate on connections of their own, once without and once with the
heaviest page reloaded without a pause, in turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from processes import Server, free_ports

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))
from tests.signed_in import sign_in_admins  # noqa: E402  (the checkout has to be found first)

MODEL = "demo-echo"
HEAVIEST = "/dashboard?range=30d"
TIMES = 7
MOST_ADMINS = 200
CONNECTIONS = 16
CALLS_A_SECOND = 300
SECONDS = 4.0
RUNS = 5

SETTINGS = """\
[server]
address = "127.0.0.1"
port = {port}
data_dir = "{data}"
[limits]
ip_rpm = 0
[ledger]
retention_days = 3650
retention_bytes = 1000000000000
"""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Milliseconds at the 99th of a hundred calls, without and with a page that reloads; one a run."""

    alone: list[float]
    beside: list[float]
    reloads: int

    @property
    def ratio(self) -> float:
        return statistics.median(self.beside) / statistics.median(self.alone)


def paths(request_id: str) -> dict[str, str]:
    """Every page, as it is dearest, by a name for the table."""
    words = {
        "overview, today": "/dashboard",
        "overview, 7 days": "/dashboard?range=7d",
        "overview, 30 days": HEAVIEST,
        "overview, 30 days, one key": f"{HEAVIEST}&key=5",
        "requests": "/dashboard/requests",
        "requests of a key": "/dashboard/requests?key=5",
        "requests of a model": "/dashboard/requests?model=model-2",
        "requests that failed": "/dashboard/requests?status=failed",
        "requests that timed out (none)": "/dashboard/requests?status=timeout",
        "requests of a key that timed out (none)": "/dashboard/requests?key=5&status=timeout",
        "requests not as reported": "/dashboard/requests?source=unreported",
        "requests by id": f"/dashboard/requests?{urlencode({'request_id': request_id})}",
        "models": "/dashboard/models",
        "keys": "/dashboard/keys",
        "all keys": "/dashboard/admin/keys",
        "a key": "/dashboard/keys/5",
        "playground": "/dashboard/playground",
        "accounts": "/dashboard/admin/users",
        "log of changes": "/dashboard/admin/audit",
        "providers": "/dashboard/admin/providers",
        "usage as JSON, 30 days": "/api/v1/usage?range=30d",
        "requests as JSON": "/api/v1/requests?limit=200",
    }
    return {f"page: {name}": path for name, path in words.items()}


class Site:
    """A gateway over a data directory that is filled."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self._folder = folder
        settings = folder / "pages.toml"
        settings.write_text(SETTINGS.format(port=self.port, data=folder))
        self._words = ("--config", str(settings), "--data-dir", str(folder))

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        command = [sys.executable, "rooya.py", "serve", *self._words]
        with Server("rooya", command, log=self._folder / "pages.log", cwd=CHECKOUT) as server:
            server.wait_until_ready(self.port, "/health")
            self._cookies = itertools.cycle(sign_in_admins(self._folder, MOST_ADMINS))
            self._usual = next(self._cookies)
            yield

    def make_key(self) -> str:
        limits = ("--tier", "enterprise", "--rpm", "100000000", "--tpd", "100000000000000")
        words = [
            sys.executable,
            "rooya.py",
            "keys",
            "create",
            "--name",
            "bench",
            *limits,
            "--json",
            *self._words,
        ]
        done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, check=True)
        key: str = json.loads(done.stdout)["key"]
        return key

    def get_by_another(self, path: str) -> float:
        """Seconds, as another account than before. Raises as `get`."""
        return self.get(path, next(self._cookies))[0]

    def get(self, path: str, cookie: str = "") -> tuple[float, bytes]:
        """Seconds, and the answer. Raises ValueError where it is no 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            started = time.perf_counter()
            connection.request("GET", path, headers={"Cookie": cookie or self._usual})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise ValueError(f"{path}: {answer.status} {body[:200]!r}")
            return time.perf_counter() - started, body


def page_seconds(site: Site, times: int = TIMES) -> dict[str, list[float]]:
    """Each page's, by its name; each asked for by another account, as one has to wait after some."""
    newest = json.loads(site.get("/api/v1/requests?limit=1")[1])["data"][0]["request_id"]
    return {name: [site.get_by_another(path) for _ in range(times)] for name, path in paths(newest).items()}


def crowd(site: Site, runs: int = RUNS, seconds: float = SECONDS) -> Crowd:
    """What calls feel of a page that reloads."""
    key = site.make_key()
    asyncio.run(_calls(site.port, key, seconds / 4))  # warms up
    alone, beside, reloads = [], [], 0
    for _ in range(runs):
        alone.append(_p99_ms(asyncio.run(_calls(site.port, key, seconds))))
        times, count = asyncio.run(_calls_beside(site, key, seconds))
        beside.append(_p99_ms(times))
        reloads += count
    return Crowd(alone, beside, reloads)


def _p99_ms(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)] * 1000


async def _calls_beside(site: Site, key: str, seconds: float) -> tuple[list[float], int]:
    end = time.monotonic() + seconds

    def reload() -> int:
        count = 0
        while time.monotonic() < end:
            site.get(HEAVIEST)
            count += 1
        return count

    reloading = asyncio.create_task(asyncio.to_thread(reload))
    times = await _calls(site.port, key, seconds)
    return times, await reloading


async def _calls(port: int, key: str, seconds: float) -> list[float]:
    """Seconds that each call took from when it was due, at a steady rate."""
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]})
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    pause = CONNECTIONS / CALLS_A_SECOND
    loop = asyncio.get_running_loop()
    start = loop.time() + 0.05

    async def one(number: int) -> list[float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        times = []
        due = start + pause * number / CONNECTIONS
        while due < start + seconds:
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = max(due, loop.time() - 0.001)  # the client's own lateness is not the gateway's
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise ValueError(head)
            length = next(
                int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
            )
            await reader.readexactly(length)
            times.append(loop.time() - due)
            due += pause
        writer.close()
        await writer.wait_closed()
        return times

    return [each for found in await asyncio.gather(*map(one, range(CONNECTIONS))) for each in found]
