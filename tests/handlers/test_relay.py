"""What the relay decides by itself; the rest of its story is told by tests with real sockets."""

from __future__ import annotations

import json

import pytest

from handlers.relay import amended, pause_seconds
from providers import errors
from providers.errors import ProviderError
from tests.providers.calling import make_call


def failure(kind: str, status: int | None = 500, wish: float | None = None) -> ProviderError:
    return ProviderError(kind, "", status=status, retry_after_seconds=wish)


def test_pauses_double_and_vary() -> None:
    for attempts, longest in ((1, 0.5), (2, 1.0), (3, 2.0)):
        pauses = [pause_seconds(failure(errors.FAILED), attempts) for _ in range(100)]
        assert all(pause is not None and longest / 2 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 50


@pytest.mark.parametrize(("wish", "least"), [(0.0, 0.25), (2.0, 2.0), (5.0, 5.0)])
def test_a_time_that_the_vendor_names_is_the_least(wish: float, least: float) -> None:
    pause = pause_seconds(failure(errors.RATE_LIMIT, 429, wish), 1)
    assert pause is not None and least <= pause <= max(least, 0.5)


@pytest.mark.parametrize(
    "refusal",
    [
        failure(errors.RATE_LIMIT, 429, 5.1),
        failure(errors.AUTH, 401),
        failure(errors.OVERLOADED, None, 1),  # our own bound on connections
    ],
)
def test_where_waiting_does_not_help_nobody_waits(refusal: ProviderError) -> None:
    assert pause_seconds(refusal, 1) is None


def test_an_amended_call_is_what_its_body_says() -> None:
    call = make_call(seed=7)
    other = amended(call, lambda payload: {**payload, "seed": 8})
    assert (call.payload["seed"], other.payload["seed"]) == (7, 8)
    assert json.loads(other.body) == other.payload
