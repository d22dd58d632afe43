"""What limits refused lately, by key, so that a key's page can say why its calls fail. In this process alone.

A refused call costs nothing and leaves no row in the ledger; this keeps one line for each of so many keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cachetools import TTLCache

MOST_KEYS: Final = 10_000
KEPT_SECONDS: Final = 86400


@dataclass(slots=True)
class Refusal:
    """reason: of the last one, a word of `limits.types`. Times are Unix seconds."""

    count: int
    first_at: int
    last_at: int
    reason: str


class Refusals:
    """clock: Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._of: TTLCache[int, Refusal] = TTLCache(MOST_KEYS, KEPT_SECONDS, timer=clock)

    def note(self, key_id: int, reason: str) -> None:
        """A call has been refused."""
        now = int(self._clock())
        before = self._of.get(key_id)
        count, first_at = (before.count + 1, before.first_at) if before else (1, now)
        self._of[key_id] = Refusal(count, first_at, now, reason)

    def of(self, key_id: int) -> Refusal | None:
        """What was refused of a key within a day of the last time."""
        return self._of.get(key_id)

    def forget(self, key_id: int) -> None:
        """The key is another now: what it was refused says nothing any more."""
        self._of.pop(key_id, None)
