"""Gateways that share a Redis which fails on demand, and calls that go on meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from tests.fakes.vendor import Vendor
from tests.gateway import Gateway, toml
from tests.limits.fault_proxy import Fault, FaultProxy
from tests.limits.redis_servers import RedisServer
from tests.sdk.limited import (
    OUTPUT,
    Reply,
    Sender,
    about,
    answered,
    ask,
    create,
    eventually,
    held,
    models,
    send,
)
from tests.sdk.test_ledger import used

TOKENS: Final = 10  # that a call may have, and has
COST: Final = TOKENS * OUTPUT  # nano-dollars
USD: Final = 10**9
LONGEST_SECONDS: Final = 1.9  # of a call, on a busy machine: less than what a slow Redis takes here
UNAVAILABLE: Final = (503, "limiter_unavailable")
LOST, BACK = "Redis is lost", "Redis is back"


@dataclass
class Fleet:
    """Gateways on one data directory, and the vendor behind them."""

    vendor: Vendor
    gateways: list[Gateway]

    @property
    def health(self) -> set[str]:
        return {send(each, Sender(), path="/health").json["status"] for each in self.gateways}

    def await_health(self, wanted: str) -> None:
        eventually(lambda: self.health == {wanted}, f"not {wanted}")

    def lines(self, words: str) -> list[int]:
        """How many lines of each log have them."""
        return [sum(words in line for line in each.log.read_text().splitlines()) for each in self.gateways]

    def key(self, *options: str) -> dict[str, Any]:
        return create(self.gateways[0], *options)

    def budget(self, key: str) -> tuple[int, int]:
        """Spent and reserved, nano-dollars, as the last gateway has it."""
        told = about(self.gateways[-1], key)["budget"]
        return round(told["spent_usd"] * USD), round(told["reserved_usd"] * USD)

    def assert_booked(self, made: dict[str, Any]) -> int:
        """What a key has spent, which every gateway and the ledger agree on once nothing is under way."""
        eventually(lambda: self.budget(made["key"])[1] == 0, "something is reserved for good")
        spent = self.budget(made["key"])[0]
        for gateway in self.gateways:
            assert round(about(gateway, made["key"])["budget"]["spent_usd"] * USD) == spent
        eventually(lambda: self.ledger(made) == spent, f"the ledger does not say {spent}")
        assert self.gateways[-1].run("usage", "verify")["is_equal"] is True
        return spent

    def ledger(self, made: dict[str, Any]) -> int:
        """What a key has cost, by the ledger."""
        rows = self.gateways[-1].run("usage", "--by", "key", "--since", "all")["rows"]
        return sum(row["cost_nanodollars"] for row in rows if row["key_id"] == made["id"])


@dataclass
class Site(Fleet):
    """Those, and one Redis, which they reach by a proxy."""

    redis: RedisServer
    proxy: FaultProxy


@contextmanager
def fleet(directory: Path, processes: int, redis_url: str, more: str = "") -> Iterator[Fleet]:
    with ExitStack() as stack:
        vendor = stack.enter_context(Vendor())
        vendor.answers["even"] = answered(TOKENS)
        limits = f"[server]\nprocesses = {processes}\n[limits]\nip_rpm = 1000000\n"
        limits += f'redis_url = "{redis_url}"\n'
        gateways: list[Gateway] = []
        for number in range(processes):
            gateway = Gateway(directory, toml(vendor.base_url, limits + more) + models(vendor))
            gateway.log = directory / f"gateway-{number}.log"
            gateway.key = gateways[0].key if gateways else ""
            gateways.append(stack.enter_context(gateway))
        yield Fleet(vendor, gateways)


@contextmanager
def site(directory: Path, processes: int, more: str = "") -> Iterator[Site]:
    with (
        RedisServer() as redis,
        FaultProxy(redis) as proxy,
        fleet(directory, processes, proxy.url, more) as all_,
    ):
        yield Site(all_.vendor, all_.gateways, redis, proxy)


# Ways to fail, and to be well again


class Trouble(NamedTuple):
    begin: Callable[[Site], object]
    end: Callable[[Site], object]


def by_proxy(fault: Fault) -> Trouble:
    return Trouble(lambda site: site.proxy.break_(fault), lambda site: site.proxy.mend())


def by_command(begin: tuple[str, ...], end: tuple[str, ...]) -> Trouble:
    return Trouble(lambda site: site.redis.ask(*begin), lambda site: site.redis.ask(*end))


def die_with_an_old_dump(site: Site) -> None:
    """The load goes on between the two."""
    asked = site.vendor.requests
    assert site.redis.ask("SAVE") == "OK"
    before = len(asked)
    eventually(lambda: len(asked) > before + 20, "no load")
    site.redis.stop()


LASTING: Final = {
    "refuses": by_proxy(Fault(is_refusing=True)),
    "is silent": by_proxy(Fault(is_silent=True)),
    "is slow": by_proxy(Fault(delay_seconds=2)),
    "is cut off": by_proxy(Fault(most_bytes=100)),
    "is full": by_command(("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    "is a replica": by_command(("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    "is stopped": Trouble(lambda site: site.redis.pause(), lambda site: site.redis.resume()),
    "comes back empty": Trouble(lambda site: site.redis.stop(), lambda site: site.redis.start()),
    "comes back stale": Trouble(die_with_an_old_dump, lambda site: site.redis.start()),
}
PASSING: Final = {
    "is emptied": lambda site: site.redis.ask("FLUSHALL"),
    "is reset in mid-script": lambda site: site.proxy.break_(Fault(scripts_to_reset=1)),
}


class Load:
    """Calls one after another on every gateway and key, from `with` to its end, and what came of them."""

    def __init__(self, site: Fleet, keys: list[str]) -> None:
        self._calls = [(gateway, key) for gateway in site.gateways for key in keys]
        self._is_over = threading.Event()
        self._pool = ThreadPoolExecutor(len(self._calls))
        self._workers: list[Future[None]] = []
        self._lock = threading.Lock()
        self.outcomes: dict[str, Counter[tuple[int, str | None]]] = {key: Counter() for key in keys}
        self.slowest_seconds = 0.0
        self.hints: set[str | None] = set()  # Retry-After of what was refused with 503

    def __enter__(self) -> Self:
        self._workers = [self._pool.submit(self._work, *call) for call in self._calls]
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._pool.shutdown()
        for worker in self._workers:
            worker.result()

    def served(self, made: dict[str, Any]) -> int:
        """How many calls of a key were answered."""
        return self.outcomes[made["key"]][200, None]

    def go_on(self, count: int) -> None:
        """So many more calls of each key."""
        before = {key: each.total() for key, each in self.outcomes.items()}
        eventually(
            lambda: all(self.outcomes[key].total() >= before[key] + count for key in before), "no calls"
        )

    def _work(self, gateway: Gateway, key: str) -> None:
        while not self._is_over.wait(0.02):
            began = time.monotonic()
            answer = ask(gateway, key, max_tokens=TOKENS)
            with self._lock:
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
                self.outcomes[key][answer.outcome] += 1
                if answer.status == 503:
                    self.hints.add(answer.headers.get("retry-after"))


@contextmanager
def calls_under_way(site: Fleet, key: str) -> Iterator[tuple[list[Future[Reply]], threading.Event]]:
    """One on each gateway that has reached the vendor and is answered when the event is set."""
    release = threading.Event()
    site.vendor.answers["old"] = held(release, used(0, TOKENS), False)

    def waiting() -> int:
        return sum(request.json["model"] == "old" for request in list(site.vendor.requests))

    before = waiting()
    with ThreadPoolExecutor(len(site.gateways)) as pool:
        try:
            calls = [pool.submit(ask, each, key, model="old", max_tokens=TOKENS) for each in site.gateways]
            eventually(lambda: waiting() == before + len(calls), "they have not reached the vendor")
            yield calls, release
        finally:
            release.set()
