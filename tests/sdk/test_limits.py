"""Requests a minute, tokens a day and calls at once, as clients of a real gateway meet them (R-6 to R-11)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vendor import Answer, Vendor, reply
from tests.gateway import Gateway, toml
from tests.sdk.limited import (
    CHAT,
    RATE_HEADERS,
    Sender,
    about,
    answered,
    ask,
    by_sdk,
    create,
    eventually,
    hanging,
    models,
    send,
    under_way,
)

RATE_LIMITED = {"message": "Rate limit exceeded", "type": "rate_limit_error", "param": None}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vendor, Gateway]]:
    with Vendor() as vendor:
        config = toml(vendor.base_url) + models(vendor)
        with Gateway(tmp_path_factory.mktemp("limits"), config) as gateway:
            yield vendor, gateway


@pytest.fixture
def vendor(places: tuple[Vendor, Gateway]) -> Vendor:
    places[0].clear()
    places[0].answers["even"] = answered(20)
    return places[0]


@pytest.fixture
def gateway(places: tuple[Vendor, Gateway]) -> Gateway:
    return places[1]


def key(gateway: Gateway, *options: str) -> str:
    return str(create(gateway, *options)["key"])


def told(headers: dict[str, str]) -> tuple[int, int, int, int]:
    """Limit and rest of requests, limit and rest of tokens, which both families of names agree on."""
    rpm, rest, tpd, tokens = (int(headers[name]) for name in RATE_HEADERS[:4])
    for name, limit, left in (("requests", rpm, rest), ("tokens", tpd, tokens)):
        assert int(headers[f"x-ratelimit-limit-{name}"]) == limit
        assert int(headers[f"x-ratelimit-remaining-{name}"]) == left
        assert headers[f"x-ratelimit-reset-{name}"].removesuffix("s").isdigit()
    return rpm, rest, tpd, tokens


# What is told


def test_every_answer_of_a_known_key_tells_its_limits(vendor: Vendor, gateway: Gateway) -> None:
    mine = key(gateway, "--rpm", "60", "--tpd", "50000", "--models", "even,gone")
    vendor.answers["gone"] = []
    expected: list[tuple[int, int, dict[str, Any]]] = [
        (200, 59, {}),
        (200, 58, {"stream": True}),
        (400, 58, {"temperature": 9}),
        (400, 58, {"messages": "no list"}),
        (403, 58, {"model": "m"}),
        (404, 58, {"model": "gone"}),
    ]
    for status, left, fields in expected:
        vendor.answers["even"] = answered(20, is_stream="stream" in fields)
        answer = ask(gateway, mine, **fields)
        assert answer.status == status
        assert told(answer.headers)[:3] == (60, left, 50_000)
    for at, (upstream, status) in enumerate([(500, 502), (503, 503), (429, 429), (401, 502), (400, 400)]):
        for is_stream in (False, True):
            vendor.answers["even"] = reply({"error": {"message": "no"}}, upstream)
            answer = ask(gateway, mine, stream=is_stream)
            assert answer.status == status
            assert told(answer.headers)[:3] == (60, 57 - 2 * at - is_stream, 50_000)


def test_answers_without_a_call_tell_the_limits_too(gateway: Gateway) -> None:
    mine = key(gateway, "--rpm", "60")
    broken = send(gateway, Sender(key=mine), "POST", CHAT, b'{"model": ')
    assert (broken.status, told(broken.headers)[1]) == (400, 60)
    unknown = ask(gateway, key(gateway, "--rpm", "60"), model="nowhere/else")
    assert (unknown.outcome, told(unknown.headers)[1]) == ((404, "model_not_found"), 60)
    shown = send(gateway, Sender(key=mine))
    assert (shown.status, told(shown.headers)[1]) == (200, 60)


@pytest.mark.parametrize("header", [None, "sk-" + "0" * 48, "nonsense"])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings", "/v1/key"])
def test_an_unknown_key_is_told_nothing(gateway: Gateway, header: str | None, path: str) -> None:
    answer = send(gateway, Sender(key=header), "GET" if path == "/v1/key" else "POST", path, b"{}")
    assert answer.status == 401
    assert not any("ratelimit" in name for name in answer.headers)


def test_fifty_calls_at_once_are_each_told_another_rest(vendor: Vendor, gateway: Gateway) -> None:
    mine = key(gateway, "--rpm", "60")
    with under_way(gateway, vendor, mine, 50) as calls:
        pass
    assert sorted(told(call.result().headers)[1] for call in calls) == list(range(10, 60))


def test_tokens_count_as_reserved_during_a_call_and_as_used_after_it(
    vendor: Vendor, gateway: Gateway
) -> None:
    mine = key(gateway, "--tpd", "50000")
    with under_way(gateway, vendor, mine, 1) as (call,):
        during = about(gateway, mine)["tpd"]["remaining"]
        assert 50_000 - 300 < during < 50_000 - 100  # 100 of output, and the prompt
    assert told(call.result().headers)[3] == during
    assert about(gateway, mine)["tpd"]["remaining"] == 50_000 - 105


# Requests a minute


def test_the_sixty_first_request_of_a_minute_is_refused(vendor: Vendor, gateway: Gateway) -> None:
    mine = key(gateway, "--rpm", "60", "--budget", "5")
    statuses = [ask(gateway, mine).status for _ in range(60)]
    assert statuses == [200] * 60
    before = about(gateway, mine)
    for is_stream in (False, True):
        answer = ask(gateway, mine, stream=is_stream)
        assert answer.status == 429
        details = {"limit": 60, "remaining": 0}
        assert answer.json == {"error": {**RATE_LIMITED, "code": "rpm_exceeded", "details": details}}
        assert 1 <= int(answer.headers["retry-after"]) <= 61
        assert "x-should-retry" not in answer.headers
        assert told(answer.headers)[:2] == (60, 0)
    assert len(vendor.requests) == 60
    after = about(gateway, mine)
    assert (after["tpd"]["remaining"], after["budget"]) == (before["tpd"]["remaining"], before["budget"])


def test_of_many_at_once_as_many_pass_as_the_limit_says(vendor: Vendor, gateway: Gateway) -> None:
    mine = key(gateway, "--rpm", "60")
    with ThreadPoolExecutor(50) as pool:
        outcomes = [answer.outcome for answer in pool.map(lambda _: ask(gateway, mine), range(200))]
    assert (outcomes.count((200, None)), outcomes.count((429, "rpm_exceeded"))) == (60, 140)
    assert len(vendor.requests) == 60


def test_failed_calls_count_and_those_refused_before_do_not(vendor: Vendor, gateway: Gateway) -> None:
    mine = key(gateway, "--rpm", "3", "--models", "even")
    refused: list[dict[str, Any]] = [
        {"temperature": 9},
        {"model": "m"},
        {"model": "nowhere"},
        {"messages": []},
    ]
    for fields in refused:
        assert ask(gateway, mine, **fields).status in (400, 403, 404)
    send(gateway, Sender(key=mine), "POST", CHAT, b"{")
    send(gateway, Sender(key=mine), "GET", CHAT)
    assert about(gateway, mine)["rpm"]["remaining"] == 3
    for upstream in (500, 400, 429):
        vendor.answers["even"] = reply({"error": {"message": "no"}}, upstream)
        assert ask(gateway, mine).error["code"] != "rpm_exceeded"
    assert ask(gateway, mine).outcome == (429, "rpm_exceeded")


def test_a_limit_that_is_raised_holds_soon(vendor: Vendor, gateway: Gateway) -> None:
    made = create(gateway, "--rpm", "1")
    assert [ask(gateway, made["key"]).status for _ in range(2)] == [200, 429]
    gateway.run("keys", "update", str(made["id"]), "--rpm", "2")
    eventually(lambda: about(gateway, made["key"])["rpm"]["limit"] == 2, "the new limit does not hold")
    assert [ask(gateway, made["key"]).status for _ in range(2)] == [200, 429]


# Tokens a day


def test_a_call_beyond_the_tokens_of_a_day_is_refused(vendor: Vendor, gateway: Gateway) -> None:
    mine = key(gateway, "--tpd", "2000")
    vendor.answers["even"] = answered(1500, input_tokens=100)
    assert ask(gateway, mine, max_tokens=1500).status == 200
    answer = ask(gateway, mine, max_tokens=600)
    assert answer.status == 429
    details = answer.error.pop("details")
    assert answer.error == {**RATE_LIMITED, "code": "tpd_exceeded", "details": details}
    assert (details["limit"], details["remaining"]) == (2000, 400)
    assert 600 < details["needed"] < 700
    assert 23 * 3600 < int(answer.headers["retry-after"]) <= 24 * 3600 + 600
    assert answer.headers["x-should-retry"] == "false"
    assert told(answer.headers)[2:] == (2000, 400)
    assert about(gateway, mine)["tpd"]["remaining"] == 400
    assert len(vendor.requests) == 1
    assert ask(gateway, mine, max_tokens=300).status == 200


def test_a_call_larger_than_the_limit_is_told_not_to_wait(vendor: Vendor, gateway: Gateway) -> None:
    mine = key(gateway, "--tpd", "100")
    for is_stream in (False, True):
        answer = ask(gateway, mine, max_tokens=200, stream=is_stream)
        assert answer.outcome == (429, "tpd_exceeded")
        assert "retry-after" not in answer.headers
        assert answer.headers["x-should-retry"] == "false"
    assert not vendor.requests


def test_what_a_failed_call_reserved_of_the_day_comes_back(vendor: Vendor, gateway: Gateway) -> None:
    mine = key(gateway, "--tpd", "2000")
    vendor.answers["even"] = reply({"error": {"message": "no"}}, 500)
    assert [ask(gateway, mine, max_tokens=900).status for _ in range(5)] == [502] * 5
    assert about(gateway, mine)["tpd"]["remaining"] == 2000


@pytest.mark.parametrize("is_stream", [False, True])
def test_the_sdk_asks_once_where_the_tokens_of_the_day_are_used_up(
    vendor: Vendor, gateway: Gateway, is_stream: bool
) -> None:
    mine = key(gateway, "--tpd", "100")
    error, sent = by_sdk(gateway, mine, max_tokens=200, stream=is_stream)
    assert (error.status_code, error.code, sent) == (429, "tpd_exceeded", 1)
    assert not vendor.requests


# Calls at once


@pytest.mark.parametrize("is_stream", [False, True])
def test_the_third_of_two_calls_at_once_is_refused(vendor: Vendor, gateway: Gateway, is_stream: bool) -> None:
    mine = key(gateway, "--max-parallel", "2", "--budget", "5", "--rpm", "100")
    with under_way(gateway, vendor, mine, 2, is_stream) as calls:
        before = about(gateway, mine)
        answer = ask(gateway, mine, stream=is_stream)
        assert answer.json == {
            "error": {**RATE_LIMITED, "code": "concurrency_exceeded", "details": {"limit": 2}}
        }
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        after = about(gateway, mine)
        for name in ("rpm", "tpd", "budget"):
            assert {**after[name], "reset_at": 0} == {**before[name], "reset_at": 0}
        assert before["max_parallel"] == 2
    assert [call.result().status for call in calls] == [200, 200]
    assert len(vendor.requests) == 2
    vendor.answers["even"] = answered(5)
    assert ask(gateway, mine).status == 200


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_place_is_free_again_after_a_failure(vendor: Vendor, gateway: Gateway, is_stream: bool) -> None:
    mine = key(gateway, "--max-parallel", "1")
    vendor.answers["even"] = [
        reply({"error": {"message": "no"}}, 500),
        Answer([], end="reset"),
        Answer([], end="hang"),
        answered(5, is_stream=is_stream),
    ]
    asked = ("even", "even", "slow", "even")
    statuses = [ask(gateway, mine, model=model, stream=is_stream).status for model in asked]
    assert statuses[2:] == [504, 200]
    assert all(500 <= status < 504 for status in statuses[:2])


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_place_is_free_again_after_a_hang_up(vendor: Vendor, gateway: Gateway, is_stream: bool) -> None:
    mine = key(gateway, "--max-parallel", "1")
    vendor.answers["even"] = Answer([], end="hang")
    with hanging(gateway, mine, stream=is_stream):
        eventually(lambda: bool(vendor.requests), "the call has not reached the vendor")
        assert ask(gateway, mine).outcome == (429, "concurrency_exceeded")
    vendor.answers["even"] = answered(5)
    eventually(lambda: ask(gateway, mine).status == 200, "the place is not free again")


# GET /v1/key


def test_a_key_is_shown_to_its_holder(vendor: Vendor, gateway: Gateway) -> None:
    made = create(gateway, "--rpm", "60", "--tpd", "50000", "--budget", "5", "--expires", "30d")
    assert ask(gateway, made["key"], max_tokens=100).status == 200
    now = time.time()
    shown = about(gateway, made["key"])
    rpm, tpd, budget = shown.pop("rpm"), shown.pop("tpd"), shown.pop("budget")
    assert shown == {
        "id": made["id"],
        "name": "limited",
        "tier": "free",
        "max_parallel": None,
        "expires_at": made["expires_at"],
    }
    money = {"limit_usd": 5, "spent_usd": 0.0002, "reserved_usd": 0}
    assert budget == {**money, "period": "total", "reset_at": None}
    assert (rpm["limit"], rpm["remaining"], tpd["limit"], tpd["remaining"]) == (60, 59, 50_000, 49_975)
    assert now < rpm["reset_at"] <= now + 63
    assert now + 86_000 < tpd["reset_at"] <= now + 87_002
    assert about(gateway, key(gateway))["budget"] is None


def test_a_key_with_nothing_left_is_shown_as_often_as_asked(vendor: Vendor, gateway: Gateway) -> None:
    mine = key(gateway, "--rpm", "1", "--tpd", "2000", "--budget", "0.0002")
    assert ask(gateway, mine, max_tokens=20).status == 200
    shown = [about(gateway, mine) for _ in range(5)]
    assert {each["rpm"]["remaining"] for each in shown} == {0}
    assert {each["budget"]["spent_usd"] for each in shown} == {0.0002}
    assert ask(gateway, mine).status == 402
    assert send(gateway, Sender(key=mine), "POST").status == 405


# What is kept


def test_windows_and_spend_survive_a_restart(tmp_path: Path) -> None:
    with Vendor() as vendor:
        config = toml(vendor.base_url) + models(vendor)
        vendor.answers["even"] = [answered(20)] * 3 + [reply({"error": {"message": "no"}}, 500)]
        with Gateway(tmp_path, config) as first:
            mine = key(first, "--rpm", "5", "--tpd", "50000", "--budget", "5")
            assert [ask(first, mine).status for _ in range(4)] == [200, 200, 200, 502]
            before = about(first, mine)
        second = Gateway(tmp_path, config)
        second.key = first.key
        with second:
            after = about(second, mine)
            assert after["budget"] == before["budget"]
            assert after["tpd"]["remaining"] == before["tpd"]["remaining"] == 50_000 - 75
            assert after["rpm"]["remaining"] == before["rpm"]["remaining"] == 1
            vendor.answers["even"] = answered(20)
            assert [ask(second, mine).status for _ in range(2)] == [200, 429]


def test_a_call_under_way_is_still_held_by_its_limits_when_another_ends(
    vendor: Vendor, gateway: Gateway
) -> None:
    mine = key(gateway, "--tpd", "1500")
    vendor.answers["even"] = [Answer([], end="hang"), answered(20)]
    with hanging(gateway, mine, max_tokens=1000):
        eventually(lambda: bool(vendor.requests), "the call has not reached the vendor")
        assert ask(gateway, mine, max_tokens=300).status == 200
        assert ask(gateway, mine, max_tokens=600).outcome == (429, "tpd_exceeded")


def test_calls_beside_an_open_stream_of_their_key_wait_for_nothing(vendor: Vendor, gateway: Gateway) -> None:
    """They all end while the vendor still holds the stream."""
    mine = key(gateway, "--budget", "10")
    with under_way(gateway, vendor, mine, 1, is_stream=True) as (opened,):
        vendor.answers["even"] = answered(20)
        with ThreadPoolExecutor(20) as pool:
            statuses = list(pool.map(lambda _: ask(gateway, mine).status, range(100)))
        assert statuses == [200] * 100 and not opened.done()
    assert opened.result().status == 200
