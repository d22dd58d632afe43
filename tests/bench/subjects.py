"""Whom the benchmark measures: the upstream itself, nginx, Rooya and, on request, other gateways.

Each is one process on the same core with the same three upstreams behind it. All stay up for the whole run
so that they can take turns; an idle one costs the core next to nothing. Rooya is measured with all limits on,
of addresses, rates and money, none of which the load could reach: once with its own counters, once with those
of a Redis, which has its place beside the load.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import litellm_peer
import nginx
import traffic
from answers import Aim
from machine import Cores
from processes import Server, ServerFailed, free_ports

HERE = Path(__file__).resolve().parent
HEALTH = "/health"
KEY_OPTIONS = (
    *("--name", "bench", "--rpm", "1000000000", "--tpd", "1000000000000"),
    *("--budget", "1000000", "--budget-period", "month"),
)
ROOYA_SETTINGS = """\
[server]
address = "127.0.0.1"
port = {port}
data_dir = "{data}"
[limits]
ip_rpm = 1000000000
redis_url = "{redis}"
"""
ROOYA_ROUTE = """
[[providers]]
name = "{route}"
kind = "openai_compatible"
base_url = "http://127.0.0.1:{upstream}/v1"
api_keys = ["upstream-secret"]
[[models]]
id = "{model}"
targets = [{{ provider = "{route}", model = "{model}" }}]
price = {{ input = 2.5, output = 10.0 }}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run happens: its temporary folder, the cores, Rooya's checkout, the pace of paced chunks."""

    folder: Path
    cores: Cores
    checkout: Path
    interval_ms: int


@dataclass(slots=True)
class Subject:
    """One that answers. `server` is None for the upstream, whose own cost is of no interest."""

    name: str
    ports: dict[str, int]
    server: Server | None
    headers: dict[str, str] = field(default_factory=dict)
    idle_rss_bytes: int = 0
    rewrites: bool = False  # parses answers and writes them anew, so that only the text can be compared

    def request(self, route: str) -> bytes:
        return traffic.request(route, self.ports[route], self.headers)

    def aim(self, route: str) -> Aim:
        request, expected = self.request(route), traffic.ANSWERS[route]
        return Aim(self.name, self.ports[route], request, expected, self.rewrites)

    def cpu_ns(self) -> int:
        return self.server.cpu_ns() if self.server else 0

    def rss_bytes(self) -> int:
        return self.server.rss_bytes() if self.server else 0


@contextmanager
def all_running(place: Place, peers: list[str]) -> Iterator[dict[str, Subject]]:
    """Start the upstreams and everybody, in the order of the report; end them all on the way out."""
    with ExitStack() as stack:
        upstreams = dict(zip(traffic.ROUTES, free_ports(3), strict=True))
        stack.enter_context(nginx.start_upstream(place.folder, upstreams, place.cores.others))
        stack.enter_context(_paced_upstream(place, upstreams["paced"]))
        subjects = {"direct": Subject("direct", upstreams, None)}
        ports = dict(zip(traffic.ROUTES, free_ports(3), strict=True))
        floor = stack.enter_context(nginx.start_floor(place.folder, ports, upstreams, place.cores.subject))
        subjects["nginx"] = Subject("nginx", ports, floor, idle_rss_bytes=floor.rss_bytes())
        rooya = Rooya(place, upstreams)
        subjects["rooya"] = rooya.subject("rooya", stack.enter_context(rooya.start()))
        shared = Rooya(place, upstreams, stack.enter_context(_redis(place)))
        subjects["rooya+redis"] = shared.subject("rooya+redis", stack.enter_context(shared.start()))
        if "litellm" in peers:
            subjects["litellm"] = stack.enter_context(_litellm(place, upstreams))
        yield subjects


class Rooya:
    """The gateway of a checkout, with a data directory and a key of its own."""

    def __init__(self, place: Place, upstreams: dict[str, int], redis: str = "") -> None:
        """redis: a URL, or empty for counters in the process."""
        self._place = place
        self._port = free_ports(1)[0]
        self._name = "rooya-redis" if redis else "rooya"
        data = place.folder / f"{self._name}-data"
        self._settings = place.folder / f"{self._name}.toml"
        text = ROOYA_SETTINGS.format(port=self._port, data=data, redis=redis)
        for route in traffic.ROUTES:
            text += ROOYA_ROUTE.format(route=route, upstream=upstreams[route], model=traffic.model_of(route))
        self._settings.write_text(text)
        self._data = data
        self.ready_s = 0.0
        self._key = self._create_key()

    def start(self) -> Server:
        """Serve; returns when /health answers, having noted how long that took."""
        server = Server(
            "rooya",
            self._command("serve"),
            log=self._place.folder / f"{self._name}.log",
            core=self._place.cores.subject,
            cwd=self._place.checkout,
        )
        try:
            self.ready_s = server.wait_until_ready(self._port, HEALTH)
        except BaseException:
            server.stop()
            raise
        return server

    def subject(self, name: str, server: Server) -> Subject:
        return Subject(
            name,
            dict.fromkeys(traffic.ROUTES, self._port),
            server,
            {"Authorization": f"Bearer {self._key}"},
            server.rss_bytes(),
        )

    def _command(self, *verb: str) -> list[str]:
        options = ["--config", str(self._settings), "--data-dir", str(self._data)]
        return [sys.executable, "rooya.py", *verb, *options]

    def _create_key(self) -> str:
        done = subprocess.run(
            self._command("keys", "create", *KEY_OPTIONS, "--json"),
            cwd=self._place.checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerFailed(f"rooya.py keys create: {done.stderr[-2000:]}")
        return str(json.loads(done.stdout)["key"])


def start_rooya_alone(place: Place, folder: Path) -> Rooya:
    """A Rooya that is only started, for its start-up time: its upstreams are nobody."""
    folder.mkdir()
    return Rooya(Place(folder, place.cores, place.checkout, 0), dict.fromkeys(traffic.ROUTES, 9))


@contextmanager
def _redis(place: Place) -> Iterator[str]:
    """A Redis on a unix socket, on the core of the others; its URL."""
    path = place.folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(place.folder)]
    log = place.folder / "redis.log"
    with Server("redis", ["redis-server", *options], log=log, core=place.cores.others) as server:
        server.wait_for_path(path)
        yield f"unix://{path}"


def _paced_upstream(place: Place, port: int) -> Server:
    command = [sys.executable, str(HERE / "paced_upstream.py"), str(port), str(place.interval_ms)]
    server = Server("paced upstream", command, log=place.folder / "paced.log", core=place.cores.others)
    try:
        server.wait_until_ready(port, HEALTH)
    except BaseException:
        server.stop()
        raise
    return server


@contextmanager
def _litellm(place: Place, upstreams: dict[str, int]) -> Iterator[Subject]:
    port = free_ports(1)[0]
    with litellm_peer.start(place.folder, port, upstreams, place.cores.subject) as server:
        ports = dict.fromkeys(traffic.ROUTES, port)
        yield Subject("litellm", ports, server, litellm_peer.HEADERS, server.rss_bytes(), True)
