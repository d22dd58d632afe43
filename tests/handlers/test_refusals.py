"""What limits refused lately, by key."""

from __future__ import annotations

from handlers.refusals import KEPT_SECONDS, MOST_KEYS, Refusal, Refusals
from limits.types import BUDGET, REQUESTS


def test_refusals_are_counted_by_key_and_the_last_says_why() -> None:
    now = 1000.0
    refusals = Refusals(lambda: now)
    refusals.note(1, REQUESTS)
    now = 1010.0
    refusals.note(1, BUDGET)
    refusals.note(2, REQUESTS)
    assert refusals.of(1) == Refusal(2, 1000, 1010, BUDGET)
    assert refusals.of(2) == Refusal(1, 1010, 1010, REQUESTS)
    assert refusals.of(3) is None


def test_a_refusal_is_forgotten_after_a_day_and_when_its_key_changes() -> None:
    now = 1000.0
    refusals = Refusals(lambda: now)
    refusals.note(1, REQUESTS)
    refusals.note(2, REQUESTS)
    refusals.forget(2)
    refusals.forget(3)
    assert refusals.of(1) is not None and refusals.of(2) is None
    now += KEPT_SECONDS + 1
    assert refusals.of(1) is None


def test_many_keys_take_bounded_memory() -> None:
    refusals = Refusals(lambda: 1000.0)
    for key_id in range(MOST_KEYS + 5):
        refusals.note(key_id, REQUESTS)
    assert refusals.of(0) is None and refusals.of(MOST_KEYS + 4) is not None
