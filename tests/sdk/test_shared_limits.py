"""Budgets under 500 calls at once, over several processes and one, with kill -9 in the middle.

`SOAK_ROUNDS` sets how often (`make soak`: 20 times).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.vendor import Vendor, reply, stream
from tests.gateway import Gateway, toml
from tests.limits.redis_servers import RedisServer

ROUNDS: Final = int(os.environ.get("SOAK_ROUNDS", "1"))
CALLS: Final = 500
BUDGET_USD: Final = 0.02
MOST_OF_A_CALL_USD: Final = 0.0008  # 400 bytes at $1 a million, and 100 tokens at $2, with room to spare
USAGE: Final = b'"usage":{"prompt_tokens":3,"completion_tokens":50,"total_tokens":53}'
WHOLE: Final = (
    b'{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",'
    + (b'"content":"hi"},"finish_reason":"stop"}],%b}' % USAGE)
)
CHUNKS: Final = (
    b'data: {"choices":[{"index":0,"delta":{"content":"h"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],%b}\n\ndata: [DONE]\n\n' % USAGE,
)
MODEL: Final = """
[[models]]
id = "{0}"
targets = [{{ provider = "fake", model = "{0}" }}]
price = {{ input = 1, output = 2 }}
max_output_tokens = 100
"""


@contextmanager
def running(directory: Path, processes: int) -> Iterator[list[Gateway]]:
    """So many gateways on one data directory and, if more than one, one Redis."""
    with ExitStack() as stack:
        vendor = stack.enter_context(Vendor())
        for model in "abc":
            pause = random.uniform(0, 0.2)
            vendor.answers[model] = reply(WHOLE)
            vendor.answers[model].pieces = [pause, WHOLE] if model != "c" else [pause]  # c answers nothing
            vendor.answers[f"{model}s"] = stream(pause, CHUNKS[0], pause, *CHUNKS[1:])
        limits = "[limits]\nip_rpm = 0\n"
        if processes > 1:
            url = stack.enter_context(RedisServer()).url
            limits = f'[server]\nprocesses = {processes}\n{limits}redis_url = "{url}"\n'
        models = "".join(map(MODEL.format, ("a", "b", "c", "as", "bs", "cs")))
        gateways: list[Gateway] = []
        for number in range(processes):
            gateway = Gateway(directory, toml(vendor.base_url, limits) + models)
            gateway.log = directory / f"gateway-{number}.log"
            gateway.key = gateways[0].key if gateways else ""
            gateways.append(stack.enter_context(gateway))
        yield gateways


class Swarm:
    """Calls with one key, each to one of the processes, and what came of them."""

    def __init__(self, gateways: list[Gateway], key: str) -> None:
        self._ports = [gateway.port for gateway in gateways]
        self._key = key
        self.outcomes: Counter[str] = Counter()
        self.overspent: list[dict[str, Any]] = []

    async def call(self, number: int, *, hangs_up: bool = False) -> str:
        is_stream = number % 2 == 1
        body = {
            "model": random.choice("abc") + ("s" if is_stream else ""),
            "stream": is_stream,
            "messages": [{"role": "user", "content": "x" * random.randint(1, 250)}],
            "max_tokens": random.choice([50, 60, 100]),
        }
        answer = await self._ask(self._ports[number % len(self._ports)], body, hangs_up)
        outcome = answer[9:12].decode() or "none"
        self.outcomes[outcome] += 1
        return outcome

    async def budget(self) -> dict[str, Any]:
        answer = await self._ask(self._ports[-1], None, False)
        budget: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])["budget"]
        return budget

    async def watch(self) -> None:
        while True:
            budget = await self.budget()
            if budget["spent_usd"] + budget["reserved_usd"] > BUDGET_USD + 1e-12:
                self.overspent.append(budget)
            await asyncio.sleep(0.02)

    async def rest(self) -> dict[str, Any]:
        """Wait until nothing is reserved."""
        end = time.monotonic() + 10
        while (budget := await self.budget())["reserved_usd"]:
            assert time.monotonic() < end, budget
            await asyncio.sleep(0.05)
        return budget

    async def _ask(self, port: int, body: dict[str, Any] | None, hangs_up: bool) -> bytes:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return b""
        content = b"" if body is None else json.dumps(body).encode()
        line = "GET /v1/key" if body is None else "POST /v1/chat/completions"
        head = f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {self._key}\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        try:
            if hangs_up:
                await asyncio.sleep(random.uniform(0, 0.3))
                return b"         gone"
            return await reader.read()
        except OSError:
            return b""
        finally:
            writer.close()


def ledger_of(gateway: Gateway, key_id: int) -> int:
    """Nano-dollars of a key, once all is moved and every sum agrees."""
    assert gateway.run("usage", "verify")["is_equal"]
    rows = gateway.run("usage", "--by", "key", "--since", "all")["rows"]
    return sum(row["cost_nanodollars"] for row in rows if row["key_id"] == key_id)


@pytest.mark.timeout(120 * ROUNDS)
@pytest.mark.parametrize(("processes", "is_killed"), [(1, False), (3, False), (3, True)])
def test_no_crowd_spends_more_than_the_budget_and_the_rest_of_it_can_be_spent(
    tmp_path: Path, processes: int, is_killed: bool
) -> None:
    for number in range(ROUNDS):
        directory = tmp_path / str(number)
        directory.mkdir()
        with running(directory, processes) as gateways:
            asyncio.run(crowd(gateways, is_killed))


async def crowd(gateways: list[Gateway], is_killed: bool) -> None:
    last = gateways[-1]
    made = last.run("keys", "create", "--name", "b", "--budget", str(BUDGET_USD), "--tier", "enterprise")
    swarm = Swarm(gateways, made["key"])
    watching = asyncio.create_task(swarm.watch())
    calls = [
        asyncio.create_task(swarm.call(number, hangs_up=random.random() < 0.1)) for number in range(CALLS)
    ]
    if is_killed:
        await asyncio.sleep(0.25)  # the moment, not a wait for something
        gateways[0].process.kill()
        gateways[0].process.wait()
    await asyncio.gather(*calls)
    served = (
        swarm.outcomes["200"] + swarm.outcomes["none"]
    )  # the killed process may have had all of the budget
    assert swarm.outcomes["402"] > 100 and served > 10, swarm.outcomes
    await swarm.rest()
    end = time.monotonic() + 60
    alone = Swarm([last], made["key"])
    while await alone.call(0) != "402":
        assert time.monotonic() < end
    assert not watching.done()
    watching.cancel()
    assert not swarm.overspent
    budget = await swarm.rest()
    assert 0 <= BUDGET_USD - budget["spent_usd"] < MOST_OF_A_CALL_USD
    shown = last.run("keys", "show", str(made["id"]))
    assert (shown["spent_usd"], shown["reserved_usd"]) == (budget["spent_usd"], 0)
    while round(budget["spent_usd"] * 1e9) != ledger_of(last, made["id"]):
        assert time.monotonic() < end, "the ledger says another sum"
        await asyncio.sleep(0.2)
