"""Budgets as clients of a real gateway meet them: admitted, capped, refused, given back (R-1 to R-7)."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from handlers.routes import HOT
from tests.fakes.vendor import Answer, Vendor, reply
from tests.gateway import Gateway, toml
from tests.sdk.limited import (
    CHAT,
    HELLO,
    LONGEST,
    OUTPUT,
    RATE_HEADERS,
    about,
    answered,
    ask,
    assert_booked,
    by_sdk,
    create,
    eventually,
    hanging,
    held,
    models,
    reserved_usd,
    under_way,
)
from tests.sdk.test_ledger import used

COMPLETIONS = "/v1/completions"
PAID: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HELLO},
    COMPLETIONS: {"prompt": "Hello"},
    "/v1/embeddings": {"input": "Hello"},
}
CAPS = {"max_completion_tokens": 1000}
REFUSAL = {
    "message": "Budget limit exceeded for this API key",
    "type": "budget_exceeded",
    "param": None,
    "code": "budget_exceeded",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendor, Gateway]]:
    with Vendor() as vendor:
        config = toml(vendor.base_url) + models(vendor)
        with Gateway(tmp_path_factory.mktemp("budgets"), config) as gateway:
            yield vendor, gateway


@pytest.fixture
def vendor(places: tuple[Vendor, Gateway]) -> Vendor:
    places[0].clear()
    for model in ("even", "m", "o3"):
        places[0].answers[model] = answered(20)
    return places[0]


@pytest.fixture
def gateway(places: tuple[Vendor, Gateway]) -> Gateway:
    return places[1]


@pytest.fixture(scope="module")
def poor(places: tuple[Vendor, Gateway]) -> str:
    """A key whose budget is nothing."""
    return key(places[1], 0)


def key(gateway: Gateway, tokens: int, *options: str) -> str:
    """With a budget for so many tokens of output."""
    return str(create(gateway, "--budget", usd(tokens), *options)["key"])


def usd(tokens: int) -> str:
    nanodollars = tokens * OUTPUT
    return f"{nanodollars // 10**9}.{nanodollars % 10**9:09d}"


def spent_tokens(gateway: Gateway, mine: str) -> float:
    return float(about(gateway, mine)["budget"]["spent_usd"]) * 10**9 / OUTPUT


# What is refused


def test_a_call_that_the_budget_cannot_pay_is_refused(vendor: Vendor, gateway: Gateway) -> None:
    mine = key(gateway, 200)
    vendor.answers["even"] = answered(90)
    assert ask(gateway, mine, max_tokens=100).status == 200
    money = {"limit_usd": 0.002, "spent_usd": 0.0009, "reserved_usd": 0.001}
    details = {**money, "needed_usd": 0.0005, "reset_at": None}
    with under_way(gateway, vendor, mine, 1):
        for is_stream in (False, True):
            answer = ask(gateway, mine, max_tokens=50, stream=is_stream)
            assert answer.status == 402
            assert answer.json == {"error": {**REFUSAL, "details": details}}
            assert answer.headers["x-should-retry"] == "false"
            assert "retry-after" not in answer.headers
            assert set(RATE_HEADERS) <= set(answer.headers)
        vendor.answers["even"] = answered(5)
        assert ask(gateway, mine, max_tokens=10).status == 200
    assert len(vendor.requests) == 3


@pytest.mark.parametrize("path", HOT)
@pytest.mark.parametrize("is_stream", [False, True])
def test_nothing_that_costs_is_open_to_a_key_without_money(
    vendor: Vendor, gateway: Gateway, poor: str, path: str, is_stream: bool
) -> None:
    stream: dict[str, Any] = {"stream": True} if is_stream and path != "/v1/embeddings" else {}
    assert ask(gateway, poor, path, **PAID[path], **stream).outcome == (402, "budget_exceeded")
    assert ask(gateway, poor, path, model="m", **PAID[path], **stream).status == 402
    assert not vendor.requests


@pytest.mark.parametrize("is_stream", [False, True])
def test_the_sdk_asks_once_where_the_budget_is_used_up(
    vendor: Vendor, gateway: Gateway, poor: str, is_stream: bool
) -> None:
    error, sent = by_sdk(gateway, poor, max_tokens=200, stream=is_stream)
    assert (error.status_code, error.code, sent) == (402, "budget_exceeded", 1)
    assert not vendor.requests


def test_what_a_call_can_cost_at_most_counts_all_that_is_asked_for(gateway: Gateway, poor: str) -> None:
    asked: list[tuple[str, dict[str, Any], int]] = [
        (CHAT, {"max_tokens": 64, "n": 3}, 192),
        (CHAT, {"max_tokens": 1, "max_completion_tokens": 60}, 60),
        (CHAT, {"max_tokens": 60, "max_completion_tokens": 1}, 60),
        (CHAT, {"max_tokens": 10_000}, 64),  # less is not worth a call
        (CHAT, {"max_tokens": None, "n": None}, 64),
        (COMPLETIONS, {"prompt": "a"}, 16),
        (COMPLETIONS, {"prompt": ["a"] * 7, "max_tokens": 5}, 35),
        (COMPLETIONS, {"prompt": [[1, 2], [3]], "max_tokens": 5}, 10),
        (COMPLETIONS, {"prompt": [1, 2, 3], "max_tokens": 5}, 5),
        (COMPLETIONS, {"prompt": "a", "n": 2, "best_of": 4, "max_tokens": 5}, 20),
        (COMPLETIONS, {"prompt": ["a", "b"], "best_of": 4, "max_tokens": 5}, 40),
    ]
    for path, fields, tokens in asked:
        answer = ask(gateway, poor, path, **fields)
        assert answer.status == 402
        assert answer.error["details"]["needed_usd"] == tokens * OUTPUT / 10**9, fields


# What goes up


@pytest.mark.parametrize(
    ("fields", "told", "sent"),
    [
        ({}, 500, {"max_tokens": 500}),
        ({"max_tokens": 500}, None, {"max_tokens": 500}),
        ({"max_tokens": 1000}, 500, {"max_tokens": 500}),
        ({"max_tokens": None}, 500, {"max_tokens": 500}),
        ({"n": 3}, 166, {"n": 3, "max_tokens": 166}),
        ({"n": 2, "max_tokens": 1000}, 250, {"n": 2, "max_tokens": 250}),
        ({"max_completion_tokens": 1000}, 500, {"max_completion_tokens": 500}),
        ({**CAPS, "max_tokens": 300}, 500, {"max_tokens": 300, "max_completion_tokens": 500}),
        ({**CAPS, "max_tokens": None}, 500, {"max_completion_tokens": 500}),
    ],
)
def test_a_nearly_spent_budget_lowers_the_cap_and_nothing_else(
    vendor: Vendor, gateway: Gateway, fields: dict[str, Any], told: int | None, sent: dict[str, int]
) -> None:
    mine = key(gateway, 500)
    messages = [{"role": "user", "content": 'Grüße, "max_tokens": 7 </script> 👋'}]
    rest: dict[str, Any] = {"model": "even", "messages": messages, "metadata": {"max_tokens": "7"}}
    answer = ask(gateway, mine, **rest, **fields)
    assert answer.status == 200
    assert answer.headers.get("x-rooya-output-cap") == (None if told is None else str(told))
    assert vendor.last().json == {**rest, **sent}


def test_a_stream_is_capped_like_a_whole_answer(vendor: Vendor, gateway: Gateway) -> None:
    mine = key(gateway, 500)
    vendor.answers["even"] = answered(480, is_stream=True)
    answer = ask(gateway, mine, stream=True, max_completion_tokens=1000)
    assert (answer.status, answer.headers["x-rooya-output-cap"]) == (200, "500")
    assert vendor.last().json["max_completion_tokens"] == 500
    assert ask(gateway, mine, stream=True, max_completion_tokens=1000).status == 402


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_cap_goes_up_under_the_name_that_the_model_takes(
    vendor: Vendor, gateway: Gateway, name: str
) -> None:
    mine = key(gateway, 500)
    body = {"model": "new", "messages": HELLO, name: 1000}
    answer = ask(gateway, mine, **body)
    affordable = (500 * OUTPUT - 1000 * len(json.dumps(body))) // OUTPUT
    assert (answer.status, answer.headers["x-rooya-output-cap"]) == (200, str(affordable))
    assert vendor.last().json == {"model": "o3", "messages": HELLO, "max_completion_tokens": affordable}


def test_less_than_a_few_words_is_not_worth_a_call(vendor: Vendor, gateway: Gateway) -> None:
    assert ask(gateway, key(gateway, 63), max_tokens=1000).status == 402
    assert ask(gateway, key(gateway, 64), max_tokens=1000).headers["x-rooya-output-cap"] == "64"
    assert ask(gateway, key(gateway, 20), max_tokens=20).status == 200
    assert ask(gateway, key(gateway, 19), max_tokens=20).status == 402


@pytest.mark.parametrize(
    ("path", "name"),
    [(CHAT, "max_output_tokens"), (COMPLETIONS, "max_output_tokens"), (COMPLETIONS, "max_completion_tokens")],
)
def test_a_cap_by_a_name_that_the_endpoint_does_not_have_goes_up_by_its_own(
    vendor: Vendor, gateway: Gateway, path: str, name: str
) -> None:
    assert ask(gateway, key(gateway, 100), path, **{name: 1}, **PAID[path]).status == 200
    assert vendor.last().json["max_tokens"] == 1


def test_a_call_always_has_a_cap_where_there_is_a_budget_and_gets_none_elsewhere(
    vendor: Vendor, gateway: Gateway
) -> None:
    mine, free = key(gateway, 10**6), str(create(gateway)["key"])
    for model, path, cap in (
        ("even", CHAT, LONGEST),
        ("new", CHAT, LONGEST),
        ("vast", CHAT, 4096),
        ("even", COMPLETIONS, 16),
    ):
        name = "max_completion_tokens" if model == "new" else "max_tokens"
        capped = ask(gateway, mine, path, model=model, **PAID[path])
        assert (capped.status, vendor.last().json[name]) == (200, cap)
        assert "x-rooya-output-cap" not in capped.headers
        sent = json.dumps({"model": model, **PAID[path]}).encode()
        assert ask(gateway, free, path, model=model, **PAID[path]).status == 200
        assert json.loads(sent) | {"model": vendor.last().json["model"]} == vendor.last().json
    ask(gateway, mine, "/v1/embeddings", **PAID["/v1/embeddings"])
    assert vendor.last().json == {"model": "even", **PAID["/v1/embeddings"]}


# Many at once


@pytest.mark.parametrize("is_stream", [False, True])
def test_two_hundred_calls_at_once_on_a_budget_for_ten(
    vendor: Vendor, gateway: Gateway, is_stream: bool
) -> None:
    mine = create(gateway, "--budget", usd(1000))
    release = threading.Event()
    vendor.answers["even"] = held(release, used(5, 37), is_stream)
    with ThreadPoolExecutor(200) as pool:
        asked = partial(ask, gateway, mine["key"], max_tokens=100, stream=is_stream)
        calls = [pool.submit(asked) for _ in range(200)]
        try:
            eventually(lambda: sum(call.done() for call in calls) >= 190, "who is refused must not wait")
        finally:
            release.set()
    outcomes = Counter(call.result().outcome for call in calls)
    assert outcomes == {(200, None): 10, (402, "budget_exceeded"): 190}
    assert len(vendor.requests) == 10
    assert reserved_usd(gateway, mine["key"]) == 0
    vendor.answers["even"] = answered(37)
    count = 10
    while ask(gateway, mine["key"], max_tokens=100).status == 200:
        count += 1
    assert 0 <= 1000 - 37 * count < 64  # tokens left
    assert_booked(gateway, mine, count * 37 * OUTPUT)


# What comes back


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_failed_call_gives_back_what_it_reserved(vendor: Vendor, gateway: Gateway, is_stream: bool) -> None:
    mine = key(gateway, 1000)
    for model, answer in (
        ("even", reply({"error": {"message": "no"}}, 500)),
        ("even", reply({"error": {"message": "no"}}, 400)),
        ("even", Answer([], end="reset")),
        ("even", reply(b"no JSON")),
        ("slow", Answer([], end="hang")),
    ):
        vendor.answers["even"] = answer
        assert ask(gateway, mine, model=model, max_tokens=1000, stream=is_stream).status >= 400
        assert about(gateway, mine)["budget"]["reserved_usd"] == 0
    assert spent_tokens(gateway, mine) == 0


@pytest.mark.parametrize("place", ["waiting", "waiting for a stream", "mid-stream"])
def test_a_client_that_leaves_gives_back_what_it_reserved(
    vendor: Vendor, gateway: Gateway, place: str
) -> None:
    mine = key(gateway, 1000)
    is_begun = place == "mid-stream"
    held_back = held(threading.Event(), used(5, 100), True)
    vendor.answers["even"] = held_back if is_begun else Answer([], end="hang")
    with hanging(gateway, mine, stream=place != "waiting") as sock:
        eventually(lambda: bool(vendor.requests), "the call has not reached the vendor")
        while is_begun and b"Hi" not in sock.recv(65536):
            pass
        assert reserved_usd(gateway, mine) == 0.001
    eventually(lambda: reserved_usd(gateway, mine) == 0, "what was reserved does not come back")
    assert 0 < spent_tokens(gateway, mine) < 5 if is_begun else spent_tokens(gateway, mine) == 0


# Changes


def change(gateway: Gateway, made: dict[str, Any], *options: str) -> None:
    gateway.run("keys", "update", str(made["id"]), *options)


def test_a_budget_that_is_raised_removed_or_reset_holds_soon(vendor: Vendor, gateway: Gateway) -> None:
    made = create(gateway, "--budget", usd(100))
    mine = str(made["key"])
    vendor.answers["even"] = answered(100)

    def passes() -> bool:
        return ask(gateway, mine, max_tokens=100).status == 200

    assert passes() and not passes()
    change(gateway, made, "--budget", usd(200))
    eventually(passes, "it was raised")
    assert not passes()
    assert spent_tokens(gateway, mine) == 200
    change(gateway, made, "--reset-spend")
    eventually(passes, "it was reset")
    assert spent_tokens(gateway, mine) == 100
    change(gateway, made, "--budget", usd(50))
    eventually(lambda: not passes(), "it was lowered")
    change(gateway, made, "--budget", "none")
    eventually(passes, "it was removed")
    assert about(gateway, mine)["budget"] is None
    change(gateway, made, "--budget", "0")
    eventually(lambda: not passes(), "it was taken away")


def test_a_call_belongs_to_the_window_that_it_began_in(vendor: Vendor, gateway: Gateway) -> None:
    made = create(gateway, "--budget", usd(1000))
    mine = str(made["key"])
    assert ask(gateway, mine, max_tokens=100).status == 200
    with under_way(gateway, vendor, mine, 1) as (call,):
        change(gateway, made, "--reset-spend")
        eventually(lambda: spent_tokens(gateway, mine) == 0, "it was reset")
        assert reserved_usd(gateway, mine) == 0
    assert call.result().status == 200
    assert spent_tokens(gateway, mine) == 0


def test_a_rotated_key_has_spent_what_it_had(vendor: Vendor, gateway: Gateway) -> None:
    made = create(gateway, "--budget", usd(100))
    assert ask(gateway, made["key"], max_tokens=90).status == 200
    rotated = gateway.run("keys", "rotate", str(made["id"]))
    assert spent_tokens(gateway, rotated["key"]) == 20
    assert ask(gateway, rotated["key"], max_tokens=64).status == 200
    assert spent_tokens(gateway, rotated["key"]) == 40
    assert ask(gateway, rotated["key"], max_tokens=61).outcome == (402, "budget_exceeded")
    eventually(lambda: ask(gateway, made["key"]).status == 401, "the old key still holds")


def end_of(period: str) -> int:
    """When the day, week or month of now is over, in UTC."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "month":
        return int((midnight.replace(day=28) + timedelta(days=4)).replace(day=1).timestamp())
    days = 1 if period == "day" else 7 - midnight.weekday()
    return int((midnight + timedelta(days=days)).timestamp())


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_a_budget_of_a_period_says_when_it_is_whole_again(
    vendor: Vendor, gateway: Gateway, period: str
) -> None:
    made = create(gateway, "--budget", usd(100), "--budget-period", period)
    before = end_of(period)
    vendor.answers["even"] = answered(100)
    assert ask(gateway, made["key"], max_tokens=100).status == 200
    refused = ask(gateway, made["key"], max_tokens=100)
    shown = about(gateway, made["key"])["budget"]
    if before == end_of(period):  # else it has ended meanwhile
        assert refused.outcome == (402, "budget_exceeded")
        assert refused.error["details"]["reset_at"] == shown["reset_at"] == before
        assert (shown["period"], shown["spent_usd"]) == (period, 0.001)


def test_a_changed_period_holds_soon(vendor: Vendor, gateway: Gateway) -> None:
    made = create(gateway, "--budget", usd(100))
    vendor.answers["even"] = answered(100)
    assert ask(gateway, made["key"], max_tokens=100).status == 200
    change(gateway, made, "--budget-period", "day")
    eventually(lambda: about(gateway, made["key"])["budget"]["period"] == "day", "it was changed")
    assert about(gateway, made["key"])["budget"]["reset_at"] in (end_of("day"), end_of("day") - 86_400)
    assert ask(gateway, made["key"], max_tokens=100).status == 200  # a day is another window
    assert ask(gateway, made["key"], max_tokens=100).outcome == (402, "budget_exceeded")


def test_node_s_sdk_asks_once_where_a_budget_is_spent(vendor: Vendor, gateway: Gateway, poor: str) -> None:
    """R-6: an error of its own class of status, and no retries, though the client would make two."""
    script = Path(__file__).resolve().parent / "node_sdk.mjs"
    command = ["node", str(script), "spent", gateway.base_url, poor]
    result = subprocess.run(command, capture_output=True, timeout=60)
    assert result.returncode == 0, result.stderr.decode()
    seen = json.loads(result.stdout)
    assert (seen["name"], seen["status"], seen["code"]) == ("APIError", 402, "budget_exceeded")
    assert seen["requests"] == 1 and seen["hasRequestID"] and not vendor.requests
