"""kill -9 at every step of a call's way, and at random: a reply received whole is in the ledger (P3).

None is there twice, and what a provider may have served without anybody receiving it is there too, marked.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vendor import Vendor, reply, stream
from tests.gateway import ROOT, Gateway, toml
from tests.store.books import Books, differences, rows

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "4"))
COST = 3 * 1000 + 5 * 2000  # nano-dollars: 3 tokens at $1, 5 at $2 a million
MODELS = """
[[models]]
id = "m"
targets = [{ provider = "fake", model = "m" }]
price = { input = 1, output = 2 }
max_output_tokens = 100
"""
USAGE = b'"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}'
PLAIN = b'{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",' + (
    b'"content":"five words of the answer"},"finish_reason":"stop"}],' + USAGE + b"}"
)
CHUNKS = (
    b'data: {"choices":[{"index":0,"delta":{"content":"five words"},"finish_reason":null}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],' + USAGE + b"}\n\ndata: [DONE]\n\n",
)


def configure(vendor: Vendor) -> str:
    """The vendor's answers to `m` and, streaming, to `s`; the configuration that leads there."""
    vendor.answers["m"] = reply(PLAIN)
    vendor.answers["s"] = stream(*CHUNKS)
    models = MODELS + MODELS.replace('"m"', '"s"')
    return toml(vendor.base_url, "[limits]\nip_rpm = 0\n") + models


def call(gateway: Gateway, is_stream: bool) -> str | None:
    """The request's id where the reply came whole, None where the gateway died before that."""
    body = {
        "model": "s" if is_stream else "m",
        "stream": is_stream,
        "messages": [{"role": "user", "content": "hello"}],
    }
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        received = response.read()
        if response.status != 200 or (is_stream and b"[DONE]" not in received):
            return None
        return response.headers["X-Request-ID"]
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def crash(gateway: Gateway, is_stream: bool) -> set[str]:
    """Call until the gateway is dead; what was received whole."""
    received = set()
    end = time.monotonic() + 20
    while gateway.process.poll() is None:
        assert time.monotonic() < end, "it lives"
        received.add(call(gateway, is_stream))
    return {request_id for request_id in received if request_id is not None}


def restarted(directory: Path, config: str) -> list[tuple[Any, ...]]:
    """The ledger after a normal start and stop."""
    gateway = Gateway(directory, config)
    gateway.key = "sk-unused"
    with gateway:
        pass
    books = Books(gateway.data_dir)
    assert differences(books) == []
    return rows(books, "request_id, status, usage_source, cost_nanodollars")


def deadly(point: str, nth: int) -> tuple[str, ...]:
    return (sys.executable, str(ROOT / "tests" / "crashing.py"), point, str(nth))


def assert_all_is_there(found: list[tuple[Any, ...]], received: set[str]) -> None:
    by_id = {row[0]: row[1:] for row in found}
    assert len(by_id) == len(found), "a call is there twice"
    assert {by_id.get(request_id) for request_id in received} <= {("ok", "reported", COST)}
    for row in found:
        assert row[1:] == ("ok", "reported", COST) or (row[1:3] == ("lost", "lease") and row[3] > COST)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("point", "nth", "unseen"),
    [
        ("before_open", 3, 0),
        ("after_open", 3, 1),  # it may have been sent: who could tell?
        ("at_the_answer", 3, 0),
        ("before_settle", 3, 0),
        ("after_settle", 3, 0),
        ("after_the_last_byte", 3, 0),
        ("before_move", 1, 0),
        ("after_move", 1, 0),
        ("after_move", 2, 0),
    ],
)
def test_a_kill_at_any_step_forgets_no_reply_and_charges_none_twice(
    tmp_path: Path, point: str, nth: int, unseen: int, is_stream: bool
) -> None:
    if is_stream and point == "at_the_answer":
        point, nth = "at_a_chunk", 9  # three chunks a stream, which may come together
    with Vendor() as vendor:
        config = configure(vendor)
        with Gateway(tmp_path, config, program=deadly(point, nth)) as gateway:
            received = crash(gateway, is_stream)
        assert gateway.process.returncode == -9
        found = restarted(tmp_path, config)
        assert_all_is_there(found, received)
        assert len(found) == len(vendor.requests) + unseen
        assert received or "move" in point


@pytest.mark.parametrize("point", ["before_move", "after_move", "before_removal", "after_removal"])
def test_a_kill_in_the_recovery_is_recovered_by_the_next_start(tmp_path: Path, point: str) -> None:
    with Vendor() as vendor:
        config = configure(vendor)
        with Gateway(tmp_path, config, program=deadly("before_settle", 4)) as gateway:
            received = crash(gateway, False)
        second = Gateway(tmp_path, config, program=deadly(point, 1))
        with pytest.raises(AssertionError), second:
            pass
        assert second.process.returncode == -9
        found = restarted(tmp_path, config)
        assert_all_is_there(found, received)
        assert len(found) == len(vendor.requests) == 4


def test_kills_at_random_moments_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    received: set[str] = set()
    random.seed(20261123)
    with Vendor() as vendor:
        config = configure(vendor)
        key = ""
        for _ in range(ROUNDS):
            gateway = Gateway(tmp_path, config)
            gateway.key = key
            with gateway:
                key = gateway.key
                load = [
                    threading.Thread(target=_load, args=(gateway, number % 2 == 0, received))
                    for number in range(12)
                ]
                for thread in load:
                    thread.start()
                time.sleep(random.uniform(0.05, 0.6))
                gateway.process.kill()
                gateway.process.wait()
                for thread in load:
                    thread.join()
        found = restarted(tmp_path, config)
        assert_all_is_there(found, received)
        assert len(found) >= len(vendor.requests)
        statuses = Counter(row[1] for row in found)
        assert statuses["lost"] <= 12 * ROUNDS
        assert len(received) > 20 * ROUNDS, "there was hardly any load"


def _load(gateway: Gateway, is_stream: bool, received: set[str]) -> None:
    while gateway.process.poll() is None:
        with suppress(AssertionError):
            request_id = call(gateway, is_stream)
            if request_id is not None:
                received.add(request_id)
