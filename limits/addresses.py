"""Requests of each address in the last minute, by seconds; never given back, and forgotten after a minute.

Most addresses send little: each is a list of seconds and counts, a hundredth of what a ring would take. Two
dicts take turns, so that who sends nothing for a minute is forgotten without being looked for.
"""

from __future__ import annotations

from typing import Final

from limits.types import REQUEST_BUCKET_MS, REQUEST_BUCKETS

MOST_ADDRESSES: Final = 200_000  # in each of two dicts; of more in a minute, some begin anew


class Addresses:
    """Of each address a list: the total, then a second and a count in turns, the oldest first."""

    def __init__(self) -> None:
        self._young: dict[str, list[int]] = {}
        self._old: dict[str, list[int]] = {}
        self._turned_at = 0

    def count(self, address: str, rpm: int, now_ms: int) -> int:
        """0 and the request is counted; or milliseconds until one would pass, and it is not."""
        second = now_ms // REQUEST_BUCKET_MS
        if second - self._turned_at >= REQUEST_BUCKETS or len(self._young) >= MOST_ADDRESSES:
            is_stale = second - self._turned_at >= 2 * REQUEST_BUCKETS
            self._old = {} if is_stale else self._young
            self._young = {}
            self._turned_at = second
        counts = self._young.get(address)
        if counts is None:
            counts = self._young[address] = self._old.pop(address, [0])
        first = second - REQUEST_BUCKETS + 1
        while len(counts) > 1 and counts[1] < first:
            counts[0] -= counts[2]
            del counts[1:3]
        if counts[0] >= rpm:
            return self._wait_ms(counts, rpm, now_ms)
        counts[0] += 1
        if len(counts) > 1 and counts[-2] == second:
            counts[-1] += 1
        else:
            counts += (second, 1)
        return 0

    @staticmethod
    def _wait_ms(counts: list[int], rpm: int, now_ms: int) -> int:
        excess = counts[0] + 1 - rpm
        for at in range(1, len(counts), 2):
            excess -= counts[at + 1]
            if excess <= 0:
                return (counts[at] + REQUEST_BUCKETS) * REQUEST_BUCKET_MS - now_ms
        raise AssertionError("the counts add up to less than their total")
