"""kill -9 at every step of a call's way, and at random: a reply received whole is in the ledger (P3).

None is there twice, and what a provider may have served without anybody receiving it is there too, marked.
Every call carries a number of its own, in its prompt for the vendor and in a header for the ledger.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fakes.vendor import Vendor, reply, stream
from tests.gateway import ROOT, STOP_SECONDS, Gateway, toml
from tests.store.books import Books, differences, rows

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "6"))
THREADS = 16
COST = 3 * 1000 + 5 * 2000  # nano-dollars: 3 tokens at $1, 5 at $2 a million
MAX_OUTPUT = 100
MODELS = f"""
[[models]]
id = "m"
targets = [{{ provider = "fake", model = "m" }}]
price = {{ input = 1, output = 2 }}
max_output_tokens = {MAX_OUTPUT}
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
numbers = itertools.count(1)


class Row(NamedTuple):
    """Of the ledger; number: the call's own."""

    request_id: str
    model: str
    is_stream: int
    status: str
    source: str
    cost: int
    number: str


def configure(vendor: Vendor, pause: float = 0.0) -> str:
    """The vendor's answers to `m` and, streaming, to `s`; the configuration that leads there."""
    vendor.answers["m"] = reply(PLAIN)
    vendor.answers["m"].pieces = [pause, PLAIN]
    vendor.answers["s"] = stream(pause, *CHUNKS)
    models = MODELS + MODELS.replace('"m"', '"s"')
    return toml(vendor.base_url, "[limits]\nip_rpm = 0\n") + models


def body(number: str, is_stream: bool) -> bytes:
    content = [{"role": "user", "content": number}]
    return json.dumps({"model": "s" if is_stream else "m", "stream": is_stream, "messages": content}).encode()


def call(gateway: Gateway, is_stream: bool, received: dict[str, str]) -> None:
    """Note the request's id under the call's number if the reply comes whole: for a stream, its [DONE]."""
    number = f"call {next(numbers):06d}"
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    headers = {
        "Authorization": f"Bearer {gateway.key}",
        "Content-Type": "application/json",
        "X-Client-Request-ID": number,
    }
    try:
        connection.request("POST", "/v1/chat/completions", body(number, is_stream), headers)
        response = connection.getresponse()
        data = b""
        try:
            while not data.endswith(b"[DONE]\n\n") and (piece := response.read1()):
                data += piece
        except http.client.IncompleteRead as error:
            data += error.partial
        assert response.status == 200, data
        if data == PLAIN or data.endswith(b"[DONE]\n\n"):
            received[number] = response.headers["X-Request-ID"]
    except (OSError, http.client.HTTPException):
        pass  # it died
    finally:
        connection.close()


def crash(gateway: Gateway, is_stream: bool) -> dict[str, str]:
    """Call until the gateway is dead; what was received whole."""
    received: dict[str, str] = {}
    end = time.monotonic() + 30
    while gateway.process.poll() is None:
        assert time.monotonic() < end, "it lives"
        call(gateway, is_stream, received)
    return received


def load(gateway: Gateway, received: dict[str, str], refused: list[AssertionError]) -> list[threading.Thread]:
    """Threads that call until the gateway is dead, every other one for streams."""

    def run(is_stream: bool) -> None:
        try:
            received.update(crash(gateway, is_stream))
        except AssertionError as error:
            refused.append(error)

    threads = [threading.Thread(target=run, args=(number % 2 == 0,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    return threads


def restarted(directory: Path, config: str) -> list[Row]:
    """The ledger after a normal start and stop."""
    gateway = Gateway(directory, config)
    gateway.key = "sk-unused"
    with gateway:
        pass
    books = Books(gateway.data_dir)
    assert differences(books) == []
    assert not list(books.journal.rglob("*.log")), "something was not moved"
    columns = "request_id, model, is_stream, status, usage_source, cost_nanodollars, details"
    return [Row(*row[:6], json.loads(row[6])["client_request_id"]) for row in rows(books, columns)]


def deadly(point: str, nth: int) -> tuple[str, ...]:
    return (sys.executable, str(ROOT / "tests" / "crashing.py"), point, str(nth))


def assert_all_is_there(found: list[Row], received: dict[str, str], vendor: Vendor, unseen: int) -> None:
    """unseen: how many calls may be there that the vendor never saw."""
    by_number = {row.number: row for row in found}
    assert len(by_number) == len(found), "a call is there twice"
    missing = {
        number for number, request_id in received.items() if not _is_kept(by_number, number, request_id)
    }
    assert not missing, "received whole, and not in the ledger as such"
    served = {request.json["messages"][0]["content"] for request in vendor.requests}
    assert served <= set(by_number), "served, and not in the ledger"
    assert len(set(by_number) - served) <= unseen
    for row in found:
        worst = len(body(row.number, bool(row.is_stream))) * 1000 + MAX_OUTPUT * 2000
        assert row.model == ("s" if row.is_stream else "m")
        assert row[3:6] in (("ok", "reported", COST), ("lost", "lease", worst)), row


def _is_kept(by_number: dict[str, Row], number: str, request_id: str) -> bool:
    row = by_number.get(number)
    return row is not None and (row.request_id, row.status) == (request_id, "ok")


def lost(found: Iterable[Row]) -> int:
    return sum(row.status == "lost" for row in found)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("point", "nth", "unseen", "lost_ones"),
    [
        ("before_open", 3, 0, {0}),
        ("after_open", 3, 1, {1}),  # it may have been sent: who could tell?
        ("after_dispatch", 3, 0, {1}),
        ("at_the_answer", 3, 0, {1}),
        ("before_settle", 3, 0, {1}),
        ("after_settle", 3, 0, {0}),
        ("before_the_last_byte", 3, 0, {0}),
        ("after_the_last_byte", 3, 0, {0, 1}),  # a later call may be on its way
        ("before_move", 1, 1, {0, 1}),  # in another thread, at any step of the loop's
        ("before_move_sums", 1, 1, {0, 1}),
        ("after_move_sums", 1, 1, {0, 1}),
        ("after_move", 1, 1, {0, 1}),
        ("after_move", 2, 1, {0, 1}),
    ],
)
def test_a_kill_at_any_step_forgets_no_reply_and_charges_none_twice(
    tmp_path: Path, point: str, nth: int, unseen: int, lost_ones: set[int], is_stream: bool
) -> None:
    pause = 0.2 if point == "after_dispatch" else 0.0
    if point == "at_the_answer" and is_stream:
        point, nth = "at_a_chunk", 9  # three chunks a stream, which may come together
    if point == "before_the_last_byte":
        point = "before_the_end" if is_stream else "before_the_reply"
    with Vendor() as vendor:
        config = configure(vendor, pause)
        with Gateway(tmp_path, config, program=deadly(point, nth)) as gateway:
            received = crash(gateway, is_stream)
        assert gateway.process.returncode == -signal.SIGKILL
        found = restarted(tmp_path, config)
        assert_all_is_there(found, received, vendor, unseen)
        assert lost(found) in lost_ones
        assert received or "move" in point


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("point", ["before_segment_removal", "after_segment_removal"])
def test_a_kill_where_a_segment_is_given_up_forgets_nothing_that_was_open_in_it(
    tmp_path: Path, point: str, nth: int
) -> None:
    received: dict[str, str] = {}
    refused: list[AssertionError] = []
    with Vendor() as vendor:
        config = configure(vendor)
        with Gateway(tmp_path, config, program=deadly(point, nth)) as gateway:
            for thread in load(gateway, received, refused):
                thread.join()
        assert gateway.process.returncode == -signal.SIGKILL
        assert not refused
        found = restarted(tmp_path, config)
        assert_all_is_there(found, received, vendor, THREADS)
        assert lost(found) <= THREADS


@pytest.mark.parametrize("point", ["before_finish", "before_removal", "after_removal", "after_finish"])
def test_a_kill_while_it_stops_is_recovered_by_the_next_start(tmp_path: Path, point: str) -> None:
    with Vendor() as vendor:
        config = configure(vendor)
        received: dict[str, str] = {}
        with Gateway(tmp_path, config, program=deadly(point, 1)) as gateway:
            for number in range(6):
                call(gateway, number % 2 == 0, received)
            gateway.process.terminate()
            assert gateway.process.wait(STOP_SECONDS) == -signal.SIGKILL
        found = restarted(tmp_path, config)
        assert_all_is_there(found, received, vendor, 0)
        assert len(found) == len(received) == 6


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    "point",
    ["before_move", "before_move_sums", "after_move_sums", "after_move", "before_removal", "after_removal"],
)
def test_a_kill_in_the_recovery_is_recovered_by_the_next_start(
    tmp_path: Path, point: str, is_stream: bool
) -> None:
    with Vendor() as vendor:
        config = configure(vendor)
        with Gateway(tmp_path, config, program=deadly("before_settle", 4)) as gateway:
            received = crash(gateway, is_stream)
        second = Gateway(tmp_path, config, program=deadly(point, 1))
        with pytest.raises(AssertionError), second:
            pass
        assert second.process.returncode == -signal.SIGKILL
        found = restarted(tmp_path, config)
        assert_all_is_there(found, received, vendor, 0)
        assert (len(found), len(vendor.requests), lost(found)) == (4, 4, 1)


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_kills_at_random_moments_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    received: dict[str, str] = {}
    refused: list[AssertionError] = []
    chance = random.Random(20261123)
    with Vendor() as vendor:
        config = configure(vendor)
        key = ""
        for _ in range(ROUNDS):
            gateway = Gateway(tmp_path, config)
            gateway.key = key
            with gateway:
                key = gateway.key
                threads = load(gateway, received, refused)
                time.sleep(chance.uniform(0.05, 0.6))  # the moment, not a wait for something
                gateway.process.kill()
                gateway.process.wait()
                for thread in threads:
                    thread.join()
        found = restarted(tmp_path, config)
        assert not refused
        assert_all_is_there(found, received, vendor, THREADS * ROUNDS)
        assert lost(found) <= THREADS * ROUNDS
        assert len(received) > 10 * ROUNDS, "there was hardly any load"
