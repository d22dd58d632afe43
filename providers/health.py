"""How the vendors feel, from the calls that went to them: what is up, what rests after failures.

A Condition is of one model at one provider, a Lane of one secret with that model. What fails by itself (no
connection, 5xx, time-outs) makes the condition rest; the operator's account and rate limits make only the
lane rest, as another secret may do; what the client's own request caused does neither. After a rest one call
goes as a probe, and rests double while those fail. Nothing is forbidden here: a router asks the resting last.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from providers import errors
from providers.errors import ProviderError

FAILURES_IN_A_ROW: Final = 3
LEAST_CALLS: Final = 10  # in the window, before a rate of failures means anything
FAILURE_RATE: Final = 0.5
FIRST_REST_SECONDS: Final = 5.0
LONGEST_REST_SECONDS: Final = 60.0
FIRST_LANE_REST_SECONDS: Final = 1.0  # a rate limit that names no time
AUTH_REST_SECONDS: Final = 60.0
LONGEST_AUTH_REST_SECONDS: Final = 600.0
LONGEST_WISH_SECONDS: Final = 300.0  # of a vendor that names a time
PROBE_SECONDS: Final = 10.0  # a probe that is not back by then is counted as lost
JITTER: Final = 0.2  # so that the processes of a machine do not probe all at once
BUCKET_SECONDS: Final = 10.0
BUCKETS: Final = 12
MOST_CALLS: Final = 6000  # under way to one model of a provider: half of what its origin may have
CROWD: Final = 16  # calls of a lane, below which nobody need count those of the others
MAX_LANES: Final = 8192  # then the oldest is forgotten: clients may choose names

HEALTHY: Final = "healthy"
DOWN: Final = "down"
UNKNOWN: Final = "unknown"


class Rest:
    """Time off after failures, longer each time in a row. until: by the clock of `now`; 0 = there is none.

    failures: in a row, those after a rest included.
    """

    __slots__ = ("_probe_until", "_seconds", "failures", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self.failures = 0
        self._seconds = 0.0
        self._probe_until = 0.0

    def is_over(self, now: float) -> bool:
        """May it be called like any other? After a rest, only by one at a time until one has succeeded."""
        return not self.until or (now >= self.until and now >= self._probe_until)

    def probe(self, now: float) -> None:
        """A call is on its way that will tell."""
        if self.until:
            self._probe_until = now + PROBE_SECONDS

    def begin(self, now: float, first: float, longest: float, wish: float | None = None) -> None:
        """Rest, for as long as the vendor wishes or else for twice as long as last time."""
        self._seconds = min(max(first, 2 * self._seconds), longest)
        seconds = self._seconds if wish is None else min(wish, LONGEST_WISH_SECONDS)
        self.until = now + seconds * random.uniform(1, 1 + JITTER)
        self._probe_until = 0.0

    def resume(self, until: float, failures: int) -> None:
        """Take over what another process, or an earlier one, knows."""
        self.until, self.failures = until, failures

    def end(self) -> bool:
        """All is well again. False if it was."""
        was_well = not (self.until or self.failures)
        self.until = self._seconds = self._probe_until = 0.0
        self.failures = 0
        return not was_well


class Condition:
    """Of one model at one provider. latency_ms: of the last good answer, None = there was none yet.

    lanes: those of its secrets.
    """

    __slots__ = ("_bad", "_bucket", "_good", "lanes", "latency_ms", "model", "provider", "rest")

    def __init__(self, provider: str, model: str) -> None:
        self.provider = provider
        self.model = model
        self.rest = Rest()
        self.latency_ms: int | None = None
        self.lanes: list[Lane] = []
        self._bucket = 0
        self._good = [0] * BUCKETS
        self._bad = [0] * BUCKETS

    def succeeded(self, now: float, seconds: float) -> bool:
        """Note a good answer. True where that is news. Hot: once per call."""
        self.latency_ms = int(seconds * 1000)
        bucket = int(now / BUCKET_SECONDS)
        if bucket != self._bucket:
            self._turn(bucket)
        self._good[bucket % BUCKETS] += 1
        if not self.rest.failures:
            return False
        if self.rest.until:
            self._bad = [0] * BUCKETS  # what was before the rest says no more how it is
        return self.rest.end()

    def failed(self, now: float, wish: float | None) -> bool:
        """Note a failure that is the vendor's. True where it rests from now on."""
        bucket = int(now / BUCKET_SECONDS)
        if bucket != self._bucket:
            self._turn(bucket)
        self._bad[bucket % BUCKETS] += 1
        rest = self.rest
        rest.failures += 1
        good, bad = sum(self._good), sum(self._bad)
        is_often = good + bad >= LEAST_CALLS and bad > FAILURE_RATE * (good + bad)
        if not (rest.until or wish or is_often or rest.failures >= FAILURES_IN_A_ROW):
            return False
        if now >= rest.until:  # those that were under way together make it no longer
            rest.begin(now, FIRST_REST_SECONDS, LONGEST_REST_SECONDS, wish)
        return True

    def status(self, now: float) -> str:
        """What its calls say: nothing where there were none of late."""
        bucket = int(now / BUCKET_SECONDS)
        if bucket != self._bucket:
            self._turn(bucket)
        if self.rest.until and now < self.rest.until + BUCKETS * BUCKET_SECONDS:
            return DOWN
        good, bad = sum(self._good), sum(self._bad)
        if not good + bad:
            return UNKNOWN
        return HEALTHY if good > bad else DOWN

    def _turn(self, bucket: int) -> None:
        """Forget what is out of the window by now."""
        for passed in range(max(self._bucket + 1, bucket - BUCKETS + 1), bucket + 1):
            self._good[passed % BUCKETS] = self._bad[passed % BUCKETS] = 0
        self._bucket = max(bucket, self._bucket)


class Lane:
    """Of one secret with one model. number: the secret's place in the settings. in_flight: its calls."""

    __slots__ = ("condition", "in_flight", "number", "rest")

    def __init__(self, condition: Condition, number: int) -> None:
        self.condition = condition
        self.number = number
        self.rest = Rest()
        self.in_flight = 0

    @property
    def is_full(self) -> bool:
        """Are there as many calls under way to its model, by whichever secret, as there may be?"""
        if self.in_flight < CROWD:
            return False
        return sum(lane.in_flight for lane in self.condition.lanes) >= MOST_CALLS

    def is_ready(self, now: float) -> bool:
        """May it be called like any other?"""
        return self.rest.is_over(now) and self.condition.rest.is_over(now)

    def probe(self, now: float) -> None:
        """A call is on its way; if this rested, it will tell."""
        self.rest.probe(now)
        self.condition.rest.probe(now)


class Health:
    """All lanes and conditions of a process. note: told of every lane or condition whose rest has changed."""

    def __init__(self, note: Callable[[Lane], None] = lambda lane: None) -> None:
        self.note = note
        self._conditions: dict[tuple[str, str], Condition] = {}
        self._lanes: dict[tuple[str, str, int], Lane] = {}

    def lane(self, provider: str, model: str, number: int) -> Lane:
        """The one of a target; always the same object."""
        lane = self._lanes.get((provider, model, number))
        if lane is None:
            if len(self._lanes) >= MAX_LANES:
                oldest = self._lanes.pop(next(iter(self._lanes)))
                oldest.condition.lanes.remove(oldest)
            condition = self._conditions.get((provider, model))
            if condition is None:
                if len(self._conditions) >= MAX_LANES:
                    del self._conditions[next(iter(self._conditions))]
                condition = self._conditions[provider, model] = Condition(provider, model)
            lane = self._lanes[provider, model, number] = Lane(condition, number)
            condition.lanes.append(lane)
        return lane

    def lanes(self, provider: str) -> list[Lane]:
        """All that calls to a provider have gone by."""
        return [lane for lane in self._lanes.values() if lane.condition.provider == provider]

    def succeeded(self, lane: Lane, now: float, seconds: float) -> None:
        """A call was answered, its first byte after so many seconds."""
        is_news = lane.condition.succeeded(now, seconds)
        if (lane.rest.failures and lane.rest.end()) or is_news:
            self.note(lane)

    def failed(self, lane: Lane, now: float, failure: ProviderError) -> None:
        """A call failed. What the client's request caused, or our own bounds, says nothing of the vendor."""
        kind = failure.kind
        if kind in (errors.INVALID_REQUEST, errors.NOT_FOUND):
            return
        if kind == errors.OVERLOADED and failure.status is None:
            return
        if kind == errors.AUTH:
            lane.rest.failures += 1
            lane.rest.begin(now, AUTH_REST_SECONDS, LONGEST_AUTH_REST_SECONDS)
        elif kind == errors.RATE_LIMIT:
            lane.rest.failures += 1
            lane.rest.begin(now, FIRST_LANE_REST_SECONDS, LONGEST_REST_SECONDS, failure.retry_after_seconds)
        elif not lane.condition.failed(now, failure.retry_after_seconds):
            return
        self.note(lane)

    def seen(self, provider: str, model: str, now: float) -> tuple[str, int | None]:
        """What traffic says: a status, and the last latency in milliseconds."""
        condition = self._conditions.get((provider, model))
        return (UNKNOWN, None) if condition is None else (condition.status(now), condition.latency_ms)
