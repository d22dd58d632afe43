"""Fifty calls in flight when their process is killed: settled at what they had reserved, by whoever is left.

The others of a machine do it within moments; a process that was alone does it at its next start.
"""

from __future__ import annotations

import json
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.vendor import Answer, Vendor
from tests.gateway import CONTENT, Gateway, toml
from tests.limits.redis_servers import RedisServer

CALLS: Final = 50
MODEL: Final = """
[[models]]
id = "m"
targets = [{ provider = "fake", model = "m" }]
price = { input = 1, output = 2 }
max_output_tokens = 100
"""


@contextmanager
def running(directory: Path, vendor: Vendor, processes: int) -> Iterator[list[Gateway]]:
    with ExitStack() as stack:
        limits = "[limits]\nip_rpm = 0\n"
        if processes > 1:
            url = stack.enter_context(RedisServer()).url
            limits = f'[server]\nprocesses = {processes}\n{limits}redis_url = "{url}"\n'
        gateways: list[Gateway] = []
        for number in range(processes):
            gateway = Gateway(directory, toml(vendor.base_url, limits) + MODEL)
            gateway.log = directory / f"gateway-{number}.log"
            gateway.key = gateways[0].key if gateways else ""
            gateways.append(stack.enter_context(gateway))
        yield gateways


def budget(gateway: Gateway, key: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{gateway.base_url}/key", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        found: dict[str, Any] = json.loads(answer.read())["budget"]
    return found


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def leases(gateway: Gateway, key_id: int) -> list[tuple[str, str, int]]:
    asked = "SELECT status, usage_source, cost_nanodollars FROM ledger WHERE key_id = ?"
    with closing(sqlite3.connect(gateway.data_dir / "rooya.db")) as database:
        return database.execute(asked, (key_id,)).fetchall()


@pytest.mark.parametrize("processes", [1, 3])
def test_fifty_calls_of_a_killed_process_cost_what_they_had_reserved(tmp_path: Path, processes: int) -> None:
    with Vendor() as vendor, running(tmp_path, vendor, processes) as gateways, ExitStack() as clients:
        vendor.answers["m"] = Answer(end="hang")
        victim, row = gateways[0], gateways[0].run("keys", "create", "--name", "k", "--budget", "1")
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": CONTENT}]}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {row['key']}\r\n"
        for _ in range(CALLS):
            client = clients.enter_context(victim.connect())
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: len(vendor.requests) == CALLS)
        reserved_usd = budget(gateways[-1], row["key"])["reserved_usd"]
        assert reserved_usd > 0
        victim.process.kill()
        victim.process.wait()
        if processes == 1:
            again = Gateway(tmp_path, (tmp_path / "gateway.toml").read_text())
            again.key = victim.key
            gateways.append(clients.enter_context(again))
        left = gateways[-1]
        until(lambda: not budget(left, row["key"])["reserved_usd"])
        until(lambda: len(leases(left, row["id"])) == CALLS)
        rows = leases(left, row["id"])
        assert {(status, source) for status, source, _ in rows} == {("lost", "lease")}
        assert len({cost for _, _, cost in rows}) == 1
        assert sum(cost for _, _, cost in rows) == round(reserved_usd * 10**9)
        assert budget(left, row["key"])["spent_usd"] == pytest.approx(reserved_usd, abs=1e-10)
        assert left.run("usage", "verify")["is_equal"]
