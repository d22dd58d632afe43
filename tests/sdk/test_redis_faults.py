"""Redis fails under real gateways, in every way that it can, while calls come and go (P1, P2, P7).

Alone, a process goes on with rates and money. Where several share the limits, keys with a budget wait for
Redis, and all others go on. Afterwards every counter equals the ledger, and no budget was ever overspent.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from limits import guarded, shared
from store import keyring
from tests.gateway import ROOT, free_port
from tests.limits.fault_proxy import Fault
from tests.sdk.limited import about, ask, eventually
from tests.sdk.redis_site import (
    BACK,
    COST,
    LASTING,
    LONGEST_SECONDS,
    LOST,
    PASSING,
    TOKENS,
    UNAVAILABLE,
    Load,
    calls_under_way,
    site,
)


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
        unusual = {UNAVAILABLE} if processes > 1 else set()
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
            place.redis.resume()
            place.await_health("ok")
            load.go_on(10)
        assert set(load.outcomes[free["key"]]) == {(200, None)}, load.outcomes
        assert load.slowest_seconds < LONGEST_SECONDS
        assert place.lines(LOST) == place.lines(BACK)
        assert min(place.lines(LOST)) >= 1  # a machine that is busy elsewhere may make it look lost once more
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


@pytest.mark.parametrize("processes", [1, 2])
def test_a_redis_that_is_filled_slowly_refuses_no_key_without_a_budget(
    tmp_path: Path, processes: int
) -> None:
    with site(tmp_path, processes) as place:
        rich, free = place.key("--budget", "1"), place.key()
        with Load(place, [rich["key"], free["key"]]) as load:
            load.go_on(5)
            place.proxy.break_(Fault(delay_seconds=0.12))
            place.redis.ask("FLUSHALL")
            load.go_on(30 * processes)
            place.proxy.mend()
            place.await_health("ok")
            load.go_on(5)
        assert set(load.outcomes[free["key"]]) == {(200, None)}, load.outcomes
        unusual = {UNAVAILABLE} if processes > 1 else set()
        assert set(load.outcomes[rich["key"]]) <= {(200, None), *unusual}, load.outcomes
        place.gateways[0].run("keys", "update", str(free["id"]), "--budget", "1")  # now all see what it spent
        for made in (rich, free):
            eventually(lambda made=made: place.ledger(made) == load.served(made) * COST, "not what it cost")
            eventually(lambda made=made: about(place.gateways[-1], made["key"])["budget"], "no budget")
            place.assert_booked(made)


def test_looking_up_a_key_and_asking_for_its_limits_wait_250_ms_in_all() -> None:
    assert keyring.READ_SECONDS + guarded.WAIT_SECONDS <= 0.25
    assert keyring.READ_SECONDS + shared.WAIT_SECONDS <= 0.25


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
