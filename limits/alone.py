"""What a process admits alone while Redis is being filled under a number that already holds.

Whether the filling has it depends on the moment at which this process's journal was read. So each such call
is kept here until Redis is trusted; then Redis is told of those that it cannot have, each of them once.
Calls admitted under an earlier number are in no need of it: they are in the filling, or admitted once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from limits.types import Claim

Position = tuple[int, int]  # in a process's journal: a segment's number, and bytes

NOWHERE: Final = (0, 0)
MOST: Final = 20_000  # kept; where there are more, Redis is rather filled once more


@dataclass(frozen=True, slots=True)
class Seen:
    """What Redis was filled with under a number of this process: its journal up to a position, and the calls
    that were under way then."""

    number: int
    reached: Position = NOWHERE
    under_way: frozenset[str] = frozenset()


class Unbounded:
    """Rules that refuse nothing: what is told has been admitted already."""

    rpm: Final = 2**52
    tpd: Final = 2**52
    max_parallel: Final = None
    budget_nanodollars: Final = None


class Solo(Claim):
    """A call that was admitted alone. used: tokens and nano-dollars, once it has ended; at: where that is
    written in the journal."""

    __slots__ = ("at", "used")

    def __init__(self, claim: Claim) -> None:
        self.claim_id, self.key_id, self.window = claim.claim_id, claim.key_id, claim.window
        self.requests, self.tokens, self.incarnation = claim.requests, claim.tokens, claim.incarnation
        self.worst_nanodollars = self.least_nanodollars = claim.worst_nanodollars
        self.rules = Unbounded()
        self.used: tuple[int, int] | None = None
        self.at: Position = NOWHERE

    def is_seen(self, seen: Seen) -> bool:
        return self.claim_id in seen.under_way or (self.used is not None and self.at <= seen.reached)


class Solos:
    """All of them, by claim id."""

    def __init__(self) -> None:
        self._solos: dict[str, Solo] = {}

    def __len__(self) -> int:
        return len(self._solos)

    @property
    def is_full(self) -> bool:
        return len(self._solos) >= MOST

    def note(self, claim: Claim) -> None:
        """It was admitted."""
        self._solos[claim.claim_id] = Solo(claim)

    def forget(self, claim: Claim) -> None:
        """It was never sent."""
        self._solos.pop(claim.claim_id, None)

    def settle(self, claim: Claim, used: tuple[int, int], at: Position) -> bool:
        """Is it one of them? Then it has ended."""
        solo = self._solos.get(claim.claim_id)
        if solo is None:
            return False
        solo.used, solo.at = used, at
        return True

    def clear(self) -> None:
        self._solos.clear()

    def take(self, seen: Seen) -> Iterator[tuple[Solo, bool]]:
        """All of them, for the last time, and whether Redis has to be told that they were admitted."""
        solos, self._solos = self._solos, {}
        for solo in solos.values():
            yield solo, solo.incarnation == seen.number and not solo.is_seen(seen)
