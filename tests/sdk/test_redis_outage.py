"""Redis lost, slow, full, demoted, emptied or set back: nobody waits, and no budget is overspent."""

from __future__ import annotations

import fcntl
import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.vendor import Vendor, reply
from tests.gateway import Gateway, toml
from tests.limits.redis_servers import RedisServer

PATIENCE_SECONDS: Final = 1.0  # 250 ms for Redis, the rest for a busy machine
COST_USD: Final = 1.3e-5
ANSWER: Final = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
}
MODEL: Final = """
[[models]]
id = "m"
targets = [{ provider = "fake", model = "m" }]
price = { input = 1, output = 2 }
max_output_tokens = 100
"""


class Fleet:
    """Gateways on one data directory and one Redis. free, paid: keys, the second has a budget."""

    def __init__(self, gateways: list[Gateway], redis: RedisServer) -> None:
        self.gateways = gateways
        self.redis = redis
        self.free = gateways[0].key
        made = gateways[0].run("keys", "create", "--name", "b", "--budget", "1", "--tier", "enterprise")
        self.paid, self.paid_id = made["key"], made["id"]
        self.spent = 0

    def call(self, gateway: Gateway, key: str) -> tuple[int, str | None]:
        """Status and error code; within the time that a request may wait for Redis."""
        gateway.key, started = key, time.monotonic()
        payload = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        status, headers, body = gateway.post("/v1/chat/completions", payload)
        assert time.monotonic() - started < PATIENCE_SECONDS
        self.spent += key == self.paid and status == 200
        assert status == 200 or headers["retry-after"] == "1"
        return status, None if status == 200 else json.loads(body)["error"]["code"]

    def budget(self, gateway: Gateway) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{gateway.base_url}/key", headers={"Authorization": f"Bearer {self.paid}"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            found: dict[str, Any] = json.loads(answer.read())["budget"]
        return found

    def assert_all_serve(self) -> None:
        for gateway in self.gateways:
            assert self.call(gateway, self.free) == self.call(gateway, self.paid) == (200, None)

    def assert_nothing_is_wrong(self) -> None:
        """Well again, and with the ledger's own sums."""
        for gateway in self.gateways:
            until(lambda gateway=gateway: health(gateway) == "ok")
        self.assert_all_serve()
        for gateway in self.gateways:
            until(lambda gateway=gateway: not self.budget(gateway)["reserved_usd"])
            assert round(self.budget(gateway)["spent_usd"] / COST_USD) == self.spent
        shown = self.gateways[0].run("keys", "show", str(self.paid_id))
        assert round(shown["spent_usd"] / COST_USD) == self.spent and shown["reserved_usd"] == 0


@contextmanager
def fleet(directory: Path, processes: int) -> Iterator[Fleet]:
    with ExitStack() as stack:
        vendor, redis = stack.enter_context(Vendor()), stack.enter_context(RedisServer())
        vendor.answers["m"] = reply(ANSWER)
        limits = f'[server]\nprocesses = {processes}\n[limits]\nip_rpm = 0\nredis_url = "{redis.url}"\n'
        gateways: list[Gateway] = []
        for number in range(processes):
            gateway = Gateway(directory, toml(vendor.base_url, limits) + MODEL)
            gateway.log = directory / f"gateway-{number}.log"
            gateway.key = gateways[0].key if gateways else ""
            gateways.append(stack.enter_context(gateway))
        yield Fleet(gateways, redis)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def health(gateway: Gateway) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.port}/health", timeout=5) as answer:
        return str(json.loads(answer.read())["status"])


def changes(gateway: Gateway) -> list[str]:
    """What the log says of Redis."""
    lines = gateway.log.read_text().splitlines()
    return [line.split(": ")[1].split(" (")[0] for line in lines if line.startswith("WARNING rooya.limits")]


def killed(redis: RedisServer) -> None:
    redis.stop()


def stopped(redis: RedisServer) -> None:
    assert redis.process is not None
    redis.process.send_signal(signal.SIGSTOP)


def going_on(redis: RedisServer) -> None:
    assert redis.process is not None
    redis.process.send_signal(signal.SIGCONT)


def full(redis: RedisServer) -> None:
    redis.ask("CONFIG", "SET", "maxmemory", "1")


def roomy(redis: RedisServer) -> None:
    redis.ask("CONFIG", "SET", "maxmemory", "0")


def demoted(redis: RedisServer) -> None:
    redis.ask("REPLICAOF", "127.0.0.1", "1")


def promoted(redis: RedisServer) -> None:
    redis.ask("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize(
    ("lost", "found"),
    [(killed, RedisServer.start), (stopped, going_on), (full, roomy), (demoted, promoted)],
    ids=["killed and started empty", "stopped", "out of memory", "read-only"],
)
@pytest.mark.parametrize("processes", [1, 2])
def test_without_redis_rates_go_on_and_money_where_one_process_has_it_all(
    tmp_path: Path,
    processes: int,
    lost: Callable[[RedisServer], None],
    found: Callable[[RedisServer], None],
) -> None:
    with fleet(tmp_path, processes) as all_of_it:
        all_of_it.assert_all_serve()
        lost(all_of_it.redis)
        for _ in range(2):
            for gateway in all_of_it.gateways:
                assert all_of_it.call(gateway, all_of_it.free) == (200, None)
                with_money = (200, None) if processes == 1 else (503, "limiter_unavailable")
                assert all_of_it.call(gateway, all_of_it.paid) == with_money
                assert health(gateway) == "degraded"
        found(all_of_it.redis)
        all_of_it.assert_nothing_is_wrong()
        for gateway in all_of_it.gateways:
            assert changes(gateway) == ["Redis is lost", "Redis is back"]


@pytest.mark.parametrize("processes", [1, 2])
def test_redis_emptied_under_way_is_filled_before_it_decides(tmp_path: Path, processes: int) -> None:
    with fleet(tmp_path, processes) as all_of_it:
        all_of_it.assert_all_serve()
        all_of_it.redis.ask("FLUSHALL")
        all_of_it.assert_all_serve()
        all_of_it.assert_nothing_is_wrong()
        assert not changes(all_of_it.gateways[0])


@pytest.mark.parametrize("processes", [1, 2])
def test_redis_with_old_data_is_filled_before_it_decides(tmp_path: Path, processes: int) -> None:
    with fleet(tmp_path, processes) as all_of_it:
        all_of_it.assert_all_serve()
        assert all_of_it.redis.ask("SAVE") == "OK"
        for _ in range(5):
            all_of_it.assert_all_serve()
        all_of_it.redis.stop()
        all_of_it.redis.start()  # with what it saved
        all_of_it.assert_nothing_is_wrong()


def test_without_redis_nothing_starts(tmp_path: Path) -> None:
    config = toml("http://127.0.0.1:9/v1", f'[limits]\nredis_url = "unix://{tmp_path}/nobody"\n')
    gateway = Gateway(tmp_path, config)
    gateway.key = "sk-unused"
    with pytest.raises(AssertionError, match="rooya: .*nobody"), gateway:
        pass
    assert gateway.process.returncode == 1


def test_redis_that_may_forget_is_warned_of(tmp_path: Path) -> None:
    with RedisServer("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as redis:
        config = toml("http://127.0.0.1:9/v1", f'[limits]\nredis_url = "{redis.url}"\n')
        with Gateway(tmp_path, config) as gateway:
            pass
        assert "set noeviction" in gateway.log.read_text()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_process_stopped_while_it_fills_redis_does_not_stop_the_others(
    tmp_path: Path, processes: int
) -> None:
    with fleet(tmp_path, processes) as all_of_it:
        all_of_it.assert_all_serve()
        with (all_of_it.gateways[0].data_dir / "rebuild.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # as one that was stopped there holds it
            all_of_it.redis.ask("FLUSHALL")
            for _ in range(2):
                for gateway in all_of_it.gateways:
                    assert all_of_it.call(gateway, all_of_it.free) == (200, None)
                    with_money = (200, None) if processes == 1 else (503, "limiter_unavailable")
                    assert all_of_it.call(gateway, all_of_it.paid) == with_money
                    assert health(gateway) == "degraded"
        all_of_it.assert_nothing_is_wrong()
