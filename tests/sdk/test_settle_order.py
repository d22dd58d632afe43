"""A process is killed between the steps that begin a call or end it: its record, then the word to Redis.

In that order the others find out what it cost, to the nano-dollar (P1, P4). In the wrong one they cannot: the
check that passes for the right order fails, so it would find such a mistake.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.vendor import Vendor
from tests.gateway import ROOT, SERVE_AT_DEBUG, Gateway, toml
from tests.limits.redis_servers import RedisServer
from tests.sdk.limited import OUTPUT, about, answered, ask, create, eventually, models

COST: Final = 10 * OUTPUT
WORST: Final = 100 * OUTPUT
AT_ONCE: Final = """
import os, signal
from limits.guarded import GuardedLimiter
from store.journal import Journal
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
"""
NOT_SENT: Final = AT_ONCE + "Journal.begin = die"
NOT_TOLD: Final = AT_ONCE + "GuardedLimiter.settle = die"
WRONG: Final = """
import asyncio, os, signal
from store.journal import Journal
Journal.settle = lambda *_: asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGKILL)
"""


def program(mutation: str) -> Sequence[str]:
    """The gateway, with that done to it beforehand."""
    return (
        sys.executable,
        "-c",
        SERVE_AT_DEBUG.replace("import rooya\n", f"{mutation}\nimport rooya\n"),
        str(ROOT),
    )


def assert_redis_has_what_the_ledger_has(left: Gateway, made: dict[str, Any]) -> int:
    """Once the others have recovered what the dead process left: nano-dollars."""

    def cost() -> int:
        rows = left.run("usage", "--by", "key", "--since", "all")["rows"]
        return sum(row["cost_nanodollars"] for row in rows if row["key_id"] == made["id"])

    eventually(lambda: "rooya.journal: recovered" in left.log.read_text(), "nobody recovers it")
    eventually(lambda: not about(left, made["key"])["budget"]["reserved_usd"], "it is reserved for good")
    assert round(about(left, made["key"])["budget"]["spent_usd"] * 10**9) == cost()
    return cost()


def killed_between(directory: Path, mutation: str) -> int:
    """What a call has cost in the end."""
    with Vendor() as vendor, RedisServer() as redis:
        limits = f'[server]\nprocesses = 2\n[limits]\nip_rpm = 0\nredis_url = "{redis.url}"\n'
        vendor.answers["even"] = answered(10)
        config = toml(vendor.base_url, limits) + models(vendor)
        left = Gateway(directory, config)
        victim = Gateway(directory, config, program=program(mutation))
        victim.log = directory / "victim.log"
        with left:
            victim.key = left.key
            with victim:
                made = create(left, "--budget", "1")
                with suppress(OSError):
                    ask(victim, made["key"], max_tokens=100)
                victim.process.wait(10)
                return assert_redis_has_what_the_ledger_has(left, made)


def test_a_call_whose_end_is_on_record_costs_what_it_did_though_redis_was_not_told(tmp_path: Path) -> None:
    assert killed_between(tmp_path, NOT_TOLD) == COST


def test_were_redis_told_first_it_would_miss_what_the_ledger_has(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=f"assert {COST} == {WORST}"):
        killed_between(tmp_path, WRONG)


def test_a_call_that_was_admitted_and_never_sent_costs_nothing(tmp_path: Path) -> None:
    assert killed_between(tmp_path, NOT_SENT) == 0
