"""Redis fails under real gateways, in every way that it can, while calls come and go (P1, P2, P7).

Alone, a process goes on with rates and money. Where several share the limits, keys with a budget wait for
Redis, and all others go on. Afterwards every counter equals the ledger, and no budget was ever overspent.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import pytest

from tests.fakes.vendor import Vendor
from tests.gateway import ROOT, Gateway, free_port, toml
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
LONGEST_SECONDS: Final = 1.0  # of a call that waited for Redis, on a busy machine
UNAVAILABLE: Final = (503, "limiter_unavailable")
LOST, BACK = "Redis is lost", "Redis is back"


@dataclass
class Site:
    """Gateways on one data directory and one Redis, which they reach by a proxy."""

    vendor: Vendor
    redis: RedisServer
    proxy: FaultProxy
    gateways: list[Gateway] = field(default_factory=list)

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
        ledger = self.gateways[-1]

        def cost() -> int:
            rows = ledger.run("usage", "--by", "key", "--since", "all")["rows"]
            return sum(row["cost_nanodollars"] for row in rows if row["key_id"] == made["id"])

        eventually(lambda: cost() == spent, f"the ledger does not say {spent}")
        assert ledger.run("usage", "verify")["is_equal"] is True
        return spent


@contextmanager
def site(directory: Path, processes: int, more: str = "") -> Iterator[Site]:
    with ExitStack() as stack:
        vendor = stack.enter_context(Vendor())
        redis = stack.enter_context(RedisServer())
        place = Site(vendor, redis, stack.enter_context(FaultProxy(redis)))
        vendor.answers["even"] = answered(TOKENS)
        limits = f"[server]\nprocesses = {processes}\n[limits]\nip_rpm = 1000000\n"
        limits += f'redis_url = "{place.proxy.url}"\n'
        for number in range(processes):
            gateway = Gateway(directory, toml(vendor.base_url, limits + more) + models(vendor))
            gateway.log = directory / f"gateway-{number}.log"
            gateway.key = place.gateways[0].key if place.gateways else ""
            place.gateways.append(stack.enter_context(gateway))
        yield place


# Ways to fail, and to be well again


class Trouble(NamedTuple):
    begin: Callable[[Site], object]
    end: Callable[[Site], object]


def by_proxy(fault: Fault) -> Trouble:
    return Trouble(lambda site: site.proxy.break_(fault), lambda site: site.proxy.mend())


def by_command(begin: tuple[str, ...], end: tuple[str, ...]) -> Trouble:
    return Trouble(lambda site: site.redis.ask(*begin), lambda site: site.redis.ask(*end))


def resume(site: Site) -> None:
    assert site.redis.process is not None
    site.redis.process.send_signal(signal.SIGCONT)


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
    "is stopped": Trouble(lambda site: site.redis.pause(), resume),
    "comes back empty": Trouble(lambda site: site.redis.stop(), lambda site: site.redis.start()),
    "comes back stale": Trouble(die_with_an_old_dump, lambda site: site.redis.start()),
}
PASSING: Final = {
    "is emptied": lambda site: site.redis.ask("FLUSHALL"),
    "is reset in mid-script": lambda site: site.proxy.break_(Fault(scripts_to_reset=1)),
}


class Load:
    """Calls one after another on every gateway and key, from `with` to its end, and what came of them."""

    def __init__(self, site: Site, keys: list[str]) -> None:
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
def calls_under_way(site: Site, key: str) -> Iterator[tuple[list[Future[Reply]], threading.Event]]:
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


@pytest.mark.parametrize("name", LASTING)
def test_alone_a_process_goes_on_with_rates_and_money(tmp_path: Path, name: str) -> None:
    begin, end = LASTING[name]
    with site(tmp_path, 1) as place:
        rich, poor, free = place.key("--budget", "1"), place.key("--budget", "0.005"), place.key()
        few = place.key("--rpm", "10")["key"]
        with (
            calls_under_way(place, rich["key"]) as (late, release_late),
            calls_under_way(place, rich["key"]) as (early, release_early),
            Load(place, [rich["key"], poor["key"], free["key"]]) as load,
        ):
            load.go_on(5)
            begin(place)
            place.await_health("degraded")
            release_early.set()
            load.go_on(5)
            rates = Counter(ask(place.gateways[0], few).status for _ in range(12))
            end(place)
            place.await_health("ok")
            release_late.set()
            load.go_on(5)
        assert {call.result().status for call in (*early, *late)} == {200}
        assert rates == {200: 10, 429: 2}
        assert set(load.outcomes[rich["key"]]) == set(load.outcomes[free["key"]]) == {(200, None)}, (
            load.outcomes
        )
        assert set(load.outcomes[poor["key"]]) <= {(200, None), (402, "budget_exceeded")}, load.outcomes
        assert load.slowest_seconds < LONGEST_SECONDS
        assert place.lines(LOST) == place.lines(BACK) == [1]
        place.assert_booked(rich)
        while ask(place.gateways[0], poor["key"], max_tokens=TOKENS).status == 200:
            pass
        assert place.assert_booked(poor) == 50 * COST


@pytest.mark.parametrize("name", LASTING)
def test_several_processes_keep_budgets_closed_until_redis_is_back(tmp_path: Path, name: str) -> None:
    begin, end = LASTING[name]
    with site(tmp_path, 2) as place:
        rich, free = place.key("--budget", "1"), place.key()
        few = place.key("--rpm", "10")["key"]
        with (
            calls_under_way(place, rich["key"]) as (late, release_late),
            calls_under_way(place, rich["key"]) as (early, release_early),
            Load(place, [rich["key"], free["key"]]) as load,
        ):
            load.go_on(10)
            begin(place)
            place.await_health("degraded")
            release_early.set()
            refused = [ask(each, rich["key"], max_tokens=TOKENS).outcome for each in place.gateways]
            load.go_on(10)
            rates = [Counter(ask(each, few).status for _ in range(7)) for each in place.gateways]
            end(place)
            place.await_health("ok")
            release_late.set()
            load.go_on(10)
            well = [ask(each, rich["key"], max_tokens=TOKENS).status for each in place.gateways]
        assert {call.result().status for call in (*early, *late)} == {200}
        assert refused == [UNAVAILABLE] * 2 and load.hints == {"1"}
        assert rates == [{200: 5, 429: 2}] * 2
        assert well == [200, 200]
        assert set(load.outcomes[free["key"]]) == {(200, None)}, load.outcomes
        assert set(load.outcomes[rich["key"]]) == {(200, None), UNAVAILABLE}, load.outcomes
        assert load.slowest_seconds < LONGEST_SECONDS
        assert place.lines(LOST) == place.lines(BACK) == [1, 1]
        place.assert_booked(rich)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("name", PASSING)
def test_what_passes_at_once_is_hardly_seen(tmp_path: Path, name: str, processes: int) -> None:
    with site(tmp_path, processes) as place:
        rich, poor, free = place.key("--budget", "1"), place.key("--budget", "0.02"), place.key()
        keys = [each["key"] for each in (rich, poor, free)]
        with calls_under_way(place, rich["key"]) as (calls, release), Load(place, keys) as load:
            for _ in range(3):
                load.go_on(5 * processes)
                PASSING[name](place)
            load.go_on(5 * processes)
            place.await_health("ok")
            release.set()
            load.go_on(5)
        assert {call.result().status for call in calls} == {200}
        assert set(load.outcomes[free["key"]]) == {(200, None)}, load.outcomes
        unusual = {UNAVAILABLE} if processes > 1 and "reset" in name else set()
        assert set(load.outcomes[rich["key"]]) <= {(200, None), *unusual}, load.outcomes
        assert load.slowest_seconds < LONGEST_SECONDS
        assert place.lines(LOST) == place.lines(BACK)
        place.assert_booked(rich)
        assert place.assert_booked(poor) <= 200 * COST


@pytest.mark.parametrize("processes", [1, 2])
def test_no_budget_is_overspent_whatever_fails_one_after_another(tmp_path: Path, processes: int) -> None:
    with site(tmp_path, processes) as place:
        poor = place.key("--budget", "0.04")
        with calls_under_way(place, poor["key"]) as (calls, release), Load(place, [poor["key"]] * 3) as load:
            for name in ("refuses", "comes back stale", "is slow", "comes back empty", "is full"):
                begin, end = LASTING[name]
                load.go_on(5)
                begin(place)
                place.await_health("degraded")
                load.go_on(5)
                end(place)
                place.await_health("ok")
                place.redis.ask("FLUSHALL")
            release.set()
            eventually(lambda: (402, "budget_exceeded") in load.outcomes[poor["key"]], "never spent")
        assert {call.result().status for call in calls} == {200}
        while ask(place.gateways[0], poor["key"], max_tokens=TOKENS).status == 200:
            pass
        assert place.assert_booked(poor) == 400 * COST


def test_redis_that_stops_for_two_seconds_is_lost_and_found(tmp_path: Path) -> None:
    with site(tmp_path, 2) as place:
        rich, free = place.key("--budget", "1"), place.key()
        with Load(place, [rich["key"], free["key"]]) as load:
            load.go_on(10)
            place.redis.pause()
            time.sleep(2)  # the outage itself, not a wait for its end
            resume(place)
            place.await_health("ok")
            load.go_on(10)
        assert set(load.outcomes[free["key"]]) == {(200, None)}, load.outcomes
        assert load.slowest_seconds < LONGEST_SECONDS
        assert place.lines(LOST) == place.lines(BACK) == [1, 1]
        place.assert_booked(rich)


def test_a_process_that_stops_for_seconds_keeps_its_calls(tmp_path: Path) -> None:
    with site(tmp_path, 2) as place:
        rich = place.key("--budget", "1")["key"]
        stopped, other = place.gateways
        with calls_under_way(place, rich) as (calls, release):
            before = place.budget(rich)
            stopped.process.send_signal(signal.SIGSTOP)
            end = time.monotonic() + 3  # the others look for what is left behind once a second
            while time.monotonic() < end:
                assert ask(other, rich, max_tokens=TOKENS).status == 200
            spent, reserved = place.budget(rich)
            release.set()
            stopped.process.send_signal(signal.SIGCONT)
        assert reserved == before[1]
        assert {call.result().status for call in calls} == {200}
        eventually(lambda: place.budget(rich) == (spent + 2 * COST, 0), "they are not settled")
        assert place.lines("recovered") == [0, 0]


# At the start


def refused_start(directory: Path, url: str) -> subprocess.CompletedProcess[str]:
    (directory / "rooya.toml").write_text(f'[limits]\nredis_url = "{url}"\n')
    command = [sys.executable, str(ROOT / "rooya.py"), "serve", "--port", str(free_port())]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=directory)


@pytest.mark.parametrize("name", ["refuses", "is silent", "is slow", "is cut off", "is full", "is a replica"])
def test_without_a_redis_that_works_it_does_not_start(tmp_path: Path, name: str) -> None:
    with site(tmp_path, 0) as place:
        LASTING[name].begin(place)
        result = refused_start(tmp_path, place.proxy.url)
        LASTING[name].end(place)
    assert result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("rooya: ") and result.stdout == ""


def test_a_redis_that_may_evict_counters_is_warned_of(tmp_path: Path) -> None:
    with site(tmp_path, 1) as place:
        gateway = place.gateways[0]
        assert place.lines("maxmemory-policy") == [0]
        gateway.stop()
        place.redis.ask("CONFIG", "SET", "maxmemory", "100mb")
        place.redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        with gateway:
            assert place.lines("maxmemory-policy allkeys-lru") == [1]
