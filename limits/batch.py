"""What goes into one script of Redis, and what becomes of its answers: a class a verb, without any waiting.

Keys, where S is one of 32 shards of the API keys, N the number of the counters (their incarnation):

    rooya:{S}:incarnation           n: the number; r: the run id of the server it was written to; of shard 0
                                    s<SLOT>: segment and position up to which a slot's journal is in it
    rooya:{S}:N:incarnation         the same, while what is under the number is being written
    rooya:{S}:key:KEY               windows of requests and tokens, and calls under way (p<N>); for a day
    rooya:{S}:N:budget:KEY:WINDOW   c: committed, r: reserved, x: the last correction; nano-dollars
    rooya:{S}:N:open:SLOT.START     what a process has under way: claim id -> key, window, worst case, and as
                                    far as known second, slice, requests, tokens
    rooya:{aS}:address:ADDRESS      requests of an address; for a minute
"""

from __future__ import annotations

import asyncio
from binascii import crc32
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, Generic, TypeVar

from limits.connection import Word
from limits.errors import LimiterUnavailable, Stale
from limits.types import BUDGET, PARALLEL, REQUESTS, TOKENS, Claim, Correction

SHARDS: Final = 32
MOST_NAMES: Final = 10_000
REFUSALS: Final = ("", BUDGET, TOKENS, REQUESTS, PARALLEL)
STALE: Final = 5

Item = TypeVar("Item")
Admission = tuple["asyncio.Future[None]", Claim]
Settlement = tuple[Claim, int, int, int]  # tokens, nano-dollars, 1 = give its request back as well
Count = tuple["asyncio.Future[int]", str, int]  # address, requests a minute


class Script:
    """One of limits/lua: its text, and the digest that Redis knows it by."""

    def __init__(self, name: str) -> None:
        self.text = files("limits").joinpath(f"lua/{name}.lua").read_bytes()
        self.digest = sha1(self.text, usedforsecurity=False).hexdigest()


class Names:
    """The names of keys under a number. place: SLOT.START of this process."""

    def __init__(self, place: str, number: Callable[[], int]) -> None:
        self._place = place
        self._number = number
        self._known: dict[tuple[int, int], tuple[str, str, str, str]] = {}
        self.number = number()

    def turn(self) -> int:
        """The number of this turn of the loop."""
        number = self._number()
        if number != self.number or len(self._known) > MOST_NAMES:
            self._known.clear()
            self.number = number
        return number

    def of(self, claim: Claim) -> tuple[str, str, str, str]:
        """The four keys of a claim's shard, key, budget, and of what is under way."""
        key_id, window = claim.key_id, claim.window
        found = self._known.get((key_id, window))
        if found is None:
            shard = tag(key_id)
            found = self._known[key_id, window] = (
                incarnation(shard),
                windows(key_id),
                budget(self.number, key_id, window),
                under_way(self.number, shard, self._place),
            )
        return found


def tag(key_id: int) -> str:
    """Of the keys of an API key."""
    return str(key_id % SHARDS)


def address_tag(address: str) -> str:
    return f"a{crc32(address.encode()) % SHARDS}"


def incarnation(shard: str) -> str:
    return f"rooya:{{{shard}}}:incarnation"


def next_incarnation(number: int, shard: str) -> str:
    return f"rooya:{{{shard}}}:{number}:incarnation"


def windows(key_id: int) -> str:
    return f"rooya:{{{tag(key_id)}}}:key:{key_id}"


def budget(number: int, key_id: int, window: int) -> str:
    return f"rooya:{{{tag(key_id)}}}:{number}:budget:{key_id}:{window}"


def under_way(number: int, shard: str, place: str) -> str:
    return f"rooya:{{{shard}}}:{number}:open:{place}"


class Verb(Generic[Item]):
    """One script, and its items of this turn by the tag that they may be sent together under."""

    def __init__(self, script: str) -> None:
        self.script = Script(script)
        self.waiting: dict[str, list[Item]] = {}

    def words(self, items: Sequence[Item]) -> list[Word]:
        """The number of keys, the keys, the arguments."""
        raise NotImplementedError

    def answered(self, items: Sequence[Item], answers: Any) -> str:
        """Tell who waits. Returns why Redis cannot be trusted, or nothing."""
        raise NotImplementedError

    def failed(self, items: Sequence[Item], error: Exception) -> None:
        """There is no answer."""
        raise NotImplementedError


class Admissions(Verb[Admission]):
    """is_taking: else claims are only looked at. now: Unix ms, or empty for Redis' own clock."""

    def __init__(self, names: Names, now: Callable[[], Word], *, is_taking: bool) -> None:
        super().__init__("admit")
        self._names = names
        self._now = now
        self._mode = "take" if is_taking else "look"

    def words(self, items: Sequence[Admission]) -> list[Word]:
        number = self._names.turn()
        keys: list[Word] = [4 * len(items)]
        arguments: list[Word] = [self._now(), number, self._mode]
        for _, claim in items:
            rules = claim.rules
            claim.incarnation = number
            keys += self._names.of(claim)
            arguments += (
                claim.claim_id,
                claim.key_id,
                claim.window,
                claim.requests,
                claim.tokens,
                rules.rpm,
                rules.tpd,
                -1 if rules.max_parallel is None else rules.max_parallel,
                -1 if rules.budget_nanodollars is None else rules.budget_nanodollars,
                claim.worst_nanodollars,
                claim.least_nanodollars,
            )
        return keys + arguments

    def answered(self, items: Sequence[Admission], answers: list[list[Any]]) -> str:
        reason = ""
        for (future, claim), answer in zip(items, answers, strict=True):
            verdict = answer[0]
            if verdict > STALE:
                reason = _words(answer[1])
            if future.done():
                continue  # cancelled: whoever did so releases it
            if verdict < STALE:
                claim.refusal = REFUSALS[verdict]
                (
                    _,
                    retry_after_ms,
                    claim.requests_left,
                    claim.requests_reset_ms,
                    claim.tokens_left,
                    claim.tokens_reset_ms,
                    claim.spent_nanodollars,
                    claim.reserved_nanodollars,
                    claim.worst_nanodollars,
                ) = answer
                claim.retry_after_ms = None if retry_after_ms < 0 else retry_after_ms
                future.set_result(None)
            elif verdict == STALE:
                future.set_exception(Stale())
            else:
                future.set_exception(LimiterUnavailable(reason))
        return reason

    def failed(self, items: Sequence[Admission], error: Exception) -> None:
        for future, _ in items:
            if not future.done():
                future.set_exception(error)


class Settlements(Verb[Settlement]):
    """unsettled: is given what came to other counters, or may have."""

    def __init__(self, names: Names) -> None:
        super().__init__("settle")
        self._names = names
        self.unsettled: Callable[[Claim, int, int], None] = _forget

    def words(self, items: Sequence[Settlement]) -> list[Word]:
        number = self._names.turn()
        keys: list[Word] = [4 * len(items)]
        arguments: list[Word] = [number]
        for claim, tokens, nanodollars, is_released in items:
            keys += self._names.of(claim)
            arguments += (claim.claim_id, nanodollars, tokens, is_released)
        return keys + arguments

    def answered(self, items: Sequence[Settlement], answers: list[int | bytes]) -> str:
        reason = ""
        for (claim, tokens, nanodollars, _), answer in zip(items, answers, strict=True):
            if isinstance(answer, bytes):
                reason = _words(answer)
            elif answer == STALE:
                self.unsettled(claim, tokens, nanodollars)
        return reason

    def failed(self, items: Sequence[Settlement], error: Exception) -> None:
        """What Redis is filled from may have been read before; what it has is not changed by them."""
        for claim, tokens, nanodollars, _ in items:
            self.unsettled(claim, tokens, nanodollars)


class Counts(Verb[Count]):
    """count_alone: is asked where Redis gives no answer."""

    def __init__(self, now: Callable[[], Word]) -> None:
        super().__init__("count")
        self._now = now
        self.count_alone: Callable[[str, int], int] = _let_pass

    def words(self, items: Sequence[Count]) -> list[Word]:
        words: list[Word] = [len(items)]
        words += (f"rooya:{{{address_tag(address)}}}:address:{address}" for _, address, _ in items)
        words.append(self._now())
        words += (rpm for _, _, rpm in items)
        return words

    def answered(self, items: Sequence[Count], answers: list[int | bytes]) -> str:
        reason = ""
        for (future, address, rpm), answer in zip(items, answers, strict=True):
            if isinstance(answer, bytes):
                reason = _words(answer)
            if not future.done():
                future.set_result(self.count_alone(address, rpm) if isinstance(answer, bytes) else answer)
        return reason

    def failed(self, items: Sequence[Count], error: Exception) -> None:
        for future, address, rpm in items:
            if not future.done():
                future.set_result(self.count_alone(address, rpm))


class Corrections(Verb[Correction]):
    """One at a time: there are few."""

    def __init__(self, names: Names) -> None:
        super().__init__("correct")
        self._names = names

    def words(self, items: Sequence[Correction]) -> list[Word]:
        (correction,) = items
        number = self._names.turn()
        keys = incarnation(tag(correction.key_id)), budget(number, correction.key_id, correction.window)
        return [2, *keys, number, correction.number, correction.nanodollars]

    def answered(self, items: Sequence[Correction], answers: Any) -> str:
        return ""  # other counters than these were filled from a ledger that has it, or will be

    def failed(self, items: Sequence[Correction], error: Exception) -> None:
        """The ledger has it."""


def chunks(items: list[Item], size: int) -> Iterable[list[Item]]:
    """Of at most so many."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _words(words: bytes) -> str:
    return words.decode("utf-8", "replace")


def _forget(claim: Claim, tokens: int, nanodollars: int) -> None:
    """Nobody listens."""


def _let_pass(address: str, rpm: int) -> int:
    return 0
