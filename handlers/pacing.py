"""How much of the time an account's pages may take: some at once, then a small share of it.

Calls to models come first: whoever reloads a page in a loop waits between two of them, and nobody who reads
what he asked for ever does. Time is that of making the pages, whoever does the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Final

from cachetools import LRUCache

BURST_SECONDS: Final = 0.6
SHARE: Final = 0.05
MOST_ACCOUNTS: Final = 4096  # who is forgotten may have all of it at once again


class Pace:
    """clock: seconds."""

    def __init__(self, clock: Callable[[], float], burst_seconds: float = BURST_SECONDS) -> None:
        self._clock = clock
        self._burst_seconds = burst_seconds
        self._free_at: LRUCache[Hashable, float] = LRUCache(MOST_ACCOUNTS)

    def wait_seconds(self, account: Hashable) -> float:
        """Until its next page may be made."""
        return max(0.0, self._free_at.get(account, 0.0) - self._clock())

    async def wait(self, account: Hashable) -> None:
        """Return when it may be made."""
        while seconds := self.wait_seconds(account):
            await asyncio.sleep(seconds)

    def spend(self, account: Hashable, seconds: float) -> None:
        """So long did a page take. What was saved up goes first."""
        now = self._clock()
        saved = self._burst_seconds / SHARE  # of waiting
        before = max(self._free_at.get(account, 0.0), now - saved)
        self._free_at[account] = before + seconds / SHARE
