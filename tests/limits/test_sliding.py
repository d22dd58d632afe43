"""Sliding windows of buckets, against plain lists of what was put into them and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limits.sliding import Sliding
from limits.types import REQUEST_BUCKET_MS, REQUEST_BUCKETS, TOKEN_BUCKET_MS, TOKEN_BUCKETS

WIDTH, SIZE = 10, 4  # ms, buckets: so few that every edge is met


def test_a_request_counts_for_a_minute_and_a_token_for_a_day_and_a_bucket_at_most_longer() -> None:
    for sliding, window_ms in (Sliding.of_requests(), 60_000), (Sliding.of_tokens(), 86_400_000):
        width, first = sliding.width_ms, 3_000_000
        sliding.advance(first)
        sliding.take(1)
        sliding.advance((first * width + window_ms + width - 1) // width)
        assert sliding.total == 1
        sliding.advance((first * width + window_ms + width) // width)
        assert sliding.total == 0
    assert REQUEST_BUCKET_MS * (REQUEST_BUCKETS - 1) == 60_000
    assert TOKEN_BUCKET_MS * (TOKEN_BUCKETS - 1) == 86_400_000


def test_a_step_back_of_the_time_changes_nothing() -> None:
    sliding = Sliding(WIDTH, SIZE)
    sliding.advance(100)
    sliding.take(5)
    sliding.advance(99)
    sliding.advance(0)
    sliding.take(1)
    assert (sliding.head, sliding.last, sliding.total) == (100, 100, 6)
    sliding.advance(100 + SIZE)
    assert sliding.total == 0


@pytest.mark.parametrize("gap", [SIZE, SIZE + 1, 2 * SIZE, 1000 * SIZE])
def test_nothing_is_left_after_a_gap_as_long_as_the_window(gap: int) -> None:
    sliding = Sliding(WIDTH, SIZE)
    for bucket in range(100, 100 + SIZE):
        sliding.advance(bucket)
        sliding.take(bucket)
    sliding.advance(99 + SIZE + gap)
    assert sliding.total == 0
    sliding.take(1)
    for bucket in range(SIZE):
        sliding.advance(99 + SIZE + gap + bucket)
        assert sliding.total == 1


def test_records_of_the_past_count_where_they_belong_and_those_to_come_count_as_now() -> None:
    sliding = Sliding(WIDTH, SIZE)
    sliding.advance(100)
    for at_ms, amount in ((969, 1), (970, 2), (1005, 4), (1010, 8), (99_999, 16), (1000, 0)):
        sliding.remember(at_ms, amount)
    assert sliding.total == 2 + 4 + 8 + 16  # the first had left
    assert sliding.reset_ms(1000) == SIZE * WIDTH
    sliding.advance(101)
    assert sliding.total == 4 + 8 + 16
    sliding.advance(100 + SIZE)
    assert sliding.total == 0


def test_records_of_the_past_may_come_in_any_order() -> None:
    sliding = Sliding(WIDTH, SIZE)
    sliding.advance(100)
    for at_ms in (999, 975, 985):
        sliding.remember(at_ms, 1)
    assert sliding.reset_ms(1000) == (99 + SIZE) * WIDTH - 1000
    assert sliding.wait_ms(1000, 2, 1) == (98 + SIZE) * WIDTH - 1000


class Plain:
    """The same as lists."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.taken: list[list[int]] = []  # bucket, amount

    def total(self, at_ms: int) -> int:
        return sum(amount for bucket, amount in self.taken if at_ms < (bucket + SIZE) * WIDTH)

    def wait_ms(self, limit: int, amount: int) -> int | None:
        ends = (ms for ms in range((SIZE + 1) * WIDTH) if self.total(self.now_ms + ms) + amount <= limit)
        return next(ends, None)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "change", "remember"]),
        st.integers(0, 3 * WIDTH) | st.integers(0, 2 * SIZE * WIDTH),  # later
        st.integers(0, 20),  # how much
        st.integers(0, 30),  # which of what was taken, or how long ago in ms
    ),
    max_size=60,
)


def step(sliding: Sliding, plain: Plain, kind: str, amount: int, which: int) -> None:
    now_ms = plain.now_ms
    if kind == "take":
        sliding.take(amount)
        plain.taken.append([now_ms // WIDTH, amount])
    elif kind == "remember":
        at_ms = max(0, now_ms - which)
        sliding.remember(at_ms, amount)
        if amount:
            plain.taken.append([at_ms // WIDTH, amount])
    elif plain.taken:
        taken = plain.taken[which % len(plain.taken)]
        sliding.change(taken[0], amount - taken[1])
        taken[1] = amount


@given(STEPS, st.integers(0, 100), st.integers(0, 100))
def test_totals_and_waits_are_those_of_plain_lists(steps: list, limit: int, amount: int) -> None:
    sliding, plain = Sliding(WIDTH, SIZE), Plain()
    for kind, later, much, which in steps:
        plain.now_ms += later
        sliding.advance(plain.now_ms // WIDTH)
        assert sliding.total == plain.total(plain.now_ms)
        step(sliding, plain, kind, much, which)
        assert sliding.total == plain.total(plain.now_ms) >= 0
        assert sliding.wait_ms(plain.now_ms, limit, amount) == plain.wait_ms(limit, amount)
        assert (sliding.reset_ms(plain.now_ms) == 0) == (sliding.total == 0)


@given(STEPS)
def test_all_is_free_at_the_reset(steps: list) -> None:
    sliding, plain = Sliding(WIDTH, SIZE), Plain()
    for kind, later, much, which in steps:
        plain.now_ms += later
        sliding.advance(plain.now_ms // WIDTH)
        step(sliding, plain, kind, much, which)
        assert plain.total(plain.now_ms + sliding.reset_ms(plain.now_ms)) == 0


def test_nothing_that_was_given_back_counts_for_the_reset() -> None:
    sliding = Sliding(WIDTH, SIZE)
    sliding.advance(100)
    sliding.take(1)
    sliding.advance(102)
    sliding.take(1)
    sliding.change(102, -1)
    assert sliding.reset_ms(1020) == (100 + SIZE) * WIDTH - 1020
