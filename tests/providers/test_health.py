"""Rests, probes and what traffic says, by a clock that the test moves."""

from __future__ import annotations

from typing import Final

import pytest

from providers import errors, health
from providers.errors import ProviderError
from providers.health import DOWN, HEALTHY, UNKNOWN, Health, Lane

NOW: Final = 1000.0


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "JITTER", 0.0)


class Patient:
    """One lane, and calls to it."""

    def __init__(self, lanes: int = 1) -> None:
        self.news: list[Lane] = []
        self.health = Health(self.news.append)
        self.lanes = [self.health.lane("vendor", "m", number) for number in range(lanes)]
        self.lane = self.lanes[0]

    def fail(self, now: float, kind: str = errors.FAILED, lane: int = 0, **fields: object) -> None:
        failure = ProviderError(kind, "", status=500, **fields)  # type: ignore[arg-type]
        self.health.failed(self.lanes[lane], now, failure)

    def succeed(self, now: float, lane: int = 0) -> None:
        self.health.succeeded(self.lanes[lane], now, 0.25)

    def ready(self, now: float) -> list[bool]:
        return [lane.is_ready(now) for lane in self.lanes]

    def status(self, now: float) -> str:
        return self.health.seen("vendor", "m", now)[0]


def test_three_failures_in_a_row_are_a_rest_of_five_seconds() -> None:
    one = Patient()
    one.fail(NOW)
    one.fail(NOW)
    one.succeed(NOW)
    one.fail(NOW)
    one.fail(NOW)
    assert one.ready(NOW) == [True] and one.news == [one.lane]  # all was well again
    one.fail(NOW)
    assert one.ready(NOW) == one.ready(NOW + 4.9) == [False]
    assert one.ready(NOW + 5) == [True]


def test_after_a_rest_one_call_is_the_probe() -> None:
    one = Patient()
    for _ in range(3):
        one.fail(NOW)
    later = NOW + 5
    assert one.ready(later) == [True]
    one.lane.probe(later)
    assert one.ready(later) == [False]
    assert one.ready(later + 10) == [True]  # it was lost
    one.succeed(later)
    assert one.ready(later) == [True] and one.status(later) == HEALTHY


def test_rests_double_while_probes_fail_and_have_a_bound() -> None:
    one, now = Patient(), NOW
    for _ in range(3):
        one.fail(now)
    for seconds in (5, 10, 20, 40, 60, 60):
        assert one.ready(now + seconds - 0.1) == [False] and one.ready(now + seconds) == [True]
        now += seconds
        one.lane.probe(now)
        one.fail(now)
    one.succeed(now)
    for _ in range(3):
        one.fail(now)
    assert one.ready(now + 5) == [True]


def test_calls_that_fail_together_rest_it_once() -> None:
    one = Patient()
    for _ in range(50):
        one.fail(NOW)
    assert one.ready(NOW + 5) == [True]


def test_a_rate_of_failures_is_enough() -> None:
    one = Patient()
    for _ in range(5):
        one.fail(NOW)
        one.succeed(NOW)
    assert one.ready(NOW) == [True]
    one.fail(NOW)
    assert one.ready(NOW) == [False]


@pytest.mark.parametrize("kind", [errors.INVALID_REQUEST, errors.NOT_FOUND])
def test_what_a_clients_request_caused_rests_nobody(kind: str) -> None:
    one = Patient()
    for _ in range(100):
        one.fail(NOW, kind)
    assert one.ready(NOW) == [True] and one.status(NOW) == UNKNOWN and not one.news


def test_our_own_bound_on_connections_rests_nobody() -> None:
    one = Patient()
    for _ in range(100):
        one.health.failed(one.lane, NOW, ProviderError(errors.OVERLOADED, "", dispatched=False))
    assert one.ready(NOW) == [True]


@pytest.mark.parametrize(("kind", "seconds"), [(errors.AUTH, 60), (errors.RATE_LIMIT, 1)])
def test_an_account_or_a_rate_limit_rests_only_the_secret(kind: str, seconds: float) -> None:
    both = Patient(lanes=2)
    both.fail(NOW, kind, lane=1)
    assert both.ready(NOW) == [True, False]
    assert both.ready(NOW + seconds) == [True, True]
    assert both.status(NOW) == UNKNOWN


def test_what_is_no_answer_rests_every_secret() -> None:
    both = Patient(lanes=2)
    for lane in (0, 1, 0):
        both.fail(NOW, lane=lane)
    assert both.ready(NOW) == [False, False]


@pytest.mark.parametrize("kind", [errors.RATE_LIMIT, errors.OVERLOADED])
def test_a_vendor_that_names_a_time_rests_for_it(kind: str) -> None:
    one = Patient()
    failure = ProviderError(kind, "", status=503, retry_after_seconds=17)
    one.health.failed(one.lane, NOW, failure)
    assert one.ready(NOW + 16.9) == [False] and one.ready(NOW + 17) == [True]
    endless = Patient()
    endless.health.failed(endless.lane, NOW, ProviderError(kind, "", status=503, retry_after_seconds=1e6))
    assert endless.ready(NOW + 300) == [True]


def test_the_status_is_of_the_last_two_minutes() -> None:
    one = Patient()
    assert one.status(NOW) == UNKNOWN
    one.succeed(NOW)
    assert one.health.seen("vendor", "m", NOW + 110) == (HEALTHY, 250)
    assert one.health.seen("vendor", "m", NOW + 130) == (UNKNOWN, 250)
    one.fail(NOW + 130)
    assert one.status(NOW + 130) == DOWN
    for _ in range(2):
        one.succeed(NOW + 131)
    assert one.status(NOW + 131) == HEALTHY
    assert one.status(NOW - 1000) == HEALTHY  # a clock that steps back forgets nothing
    assert one.health.seen("nobody", "m", NOW) == (UNKNOWN, None)


def test_a_crowd_at_one_model_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MOST_CALLS", 50)
    one = Patient(lanes=2)
    other = one.health.lane("vendor", "other", 0)
    one.lanes[0].in_flight = 33
    one.lanes[1].in_flight = 16
    assert not one.lanes[0].is_full and not one.lanes[1].is_full
    one.lanes[1].in_flight = 17
    assert one.lanes[0].is_full and one.lanes[1].is_full and not other.is_full


def test_the_books_are_bounded() -> None:
    books = Health()
    for number in range(health.MAX_LANES + 10):
        books.lane("vendor", f"model-{number}", 0)
    assert books.lane("vendor", "model-9999", 0) is books.lane("vendor", "model-9999", 0)
    assert len(books._lanes) == len(books._conditions) == health.MAX_LANES
