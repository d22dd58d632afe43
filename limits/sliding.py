"""A true sliding window: buckets of a fixed width with a running total.

A bucket leaves only when its last moment is out of the window, so the limit is never exceeded, and at most
one bucket's width of capacity comes back late. Buckets are numbered by time // width.
"""

from __future__ import annotations

from limits.types import REQUEST_BUCKET_MS, REQUEST_BUCKETS, TOKEN_BUCKET_MS, TOKEN_BUCKETS


class Sliding:
    """width_ms of a bucket, and how many of them may hold moments of the window.

    head: the newest bucket. last: the newest that anything was put into; it may have been given back.
    """

    __slots__ = ("_ring", "_size", "head", "last", "total", "width_ms")

    def __init__(self, width_ms: int, size: int) -> None:
        self.width_ms = width_ms
        self._size = size
        self._ring = [0] * size
        self.head = 0
        self.last = 0
        self.total = 0

    @classmethod
    def of_requests(cls) -> Sliding:
        """A minute, by seconds."""
        return cls(REQUEST_BUCKET_MS, REQUEST_BUCKETS)

    @classmethod
    def of_tokens(cls) -> Sliding:
        """A day, by ten minutes."""
        return cls(TOKEN_BUCKET_MS, TOKEN_BUCKETS)

    def advance(self, bucket: int) -> None:
        """Let go of what is out of the window when `bucket` is the newest. An older one changes nothing."""
        passed = bucket - self.head
        if passed <= 0:
            return
        self.head = bucket
        if not self.total or passed >= self._size:
            if self.total:
                self._ring = [0] * self._size
                self.total = 0
            return
        ring, size = self._ring, self._size
        for number in range(bucket - passed + 1, bucket + 1):
            at = number % size
            if ring[at]:
                self.total -= ring[at]
                ring[at] = 0

    def take(self, amount: int) -> None:
        """Into the newest bucket."""
        self._ring[self.head % self._size] += amount
        self.total += amount
        self.last = self.head

    def change(self, bucket: int, amount: int) -> None:
        """Add to what was taken then, or take from it; nothing once the bucket has left."""
        if self.head - bucket < self._size:
            self._ring[bucket % self._size] += amount
            self.total += amount
            if bucket > self.last:
                self.last = bucket

    def remember(self, at_ms: int, amount: int) -> None:
        """What was taken at a time before now, from the records; one to come counts as now."""
        bucket = min(at_ms // self.width_ms, self.head)
        if amount and self.head - bucket < self._size:
            self._ring[bucket % self._size] += amount
            self.total += amount
            self.last = max(self.last, bucket)

    def reset_ms(self, now_ms: int) -> int:
        """Until all of it is out of the window."""
        if not self.total:
            return 0
        last = self.last
        while not self._ring[last % self._size]:  # all of it was given back
            last -= 1
        return (last + self._size) * self.width_ms - now_ms

    def wait_ms(self, now_ms: int, limit: int, amount: int) -> int | None:
        """Until the amount fits the limit, 0 = now; None if never."""
        if amount > limit:
            return None
        excess = self.total + amount - limit
        if excess <= 0:
            return 0
        oldest = self.head - self._size + 1
        for bucket in range(oldest, self.head + 1):
            excess -= self._ring[bucket % self._size]
            if excess <= 0:
                return (bucket + self._size) * self.width_ms - now_ms
        raise AssertionError("the buckets hold less than their total")
