"""The limiter in Redis, for processes that share their limits: atomic scripts, gathered per turn of the loop.

All items of a turn go out as one EVALSHA a verb (on a cluster, one a shard), at most 128 each; Redis TIME is
the clock. Nothing is kept here for later: when Redis fails, all that is under way fails with it, and the
ledger is written to it anew before it is asked again (see `guarded.py` and `rebuild.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from limits import batch
from limits.batch import Admissions, Corrections, Counts, Names, Settlements, Verb
from limits.connection import Word
from limits.errors import LimiterUnavailable, ScriptMissing
from limits.link import Link
from limits.types import Claim, Correction

MOST_ITEMS: Final = 128  # of one script: so many hold Redis up for half a millisecond
WAIT_SECONDS: Final = 0.2  # of the 250 ms that a request may wait; looking up its key has the rest
LOOKS: Final = 4  # at what is under way, while it may be: each after a fifth of the wait


class SharedLimiter:
    """A `types.Limiter`. number: of the counters that hold now. place: "SLOT.START" of this process.

    now: Unix ms for tests, else empty for Redis' own clock. What is awaited raises Stale where the counters
    are others than those of the number, and LimiterUnavailable from a failure on until `resume`.
    """

    def __init__(
        self, *, link: Link, number: Callable[[], int], place: str, now: Callable[[], Word] = str
    ) -> None:
        self._link = link
        self._number = number
        self._loop = asyncio.get_running_loop()
        names = Names(place, number)
        self._admissions = Admissions(names, now, is_taking=True)
        self._looks = Admissions(names, now, is_taking=False)
        self._settlements = Settlements(names)
        self._counts = Counts(now)
        self._corrections = Corrections(names)
        self._verbs: tuple[Verb[Any], ...] = (
            self._counts,
            self._admissions,
            self._looks,
            self._settlements,
            self._corrections,
        )
        self._is_scheduled = False
        self.is_up = True  # else nothing is asked until `resume`
        self._under_way: deque[tuple[int, asyncio.Future[Any]]] = deque()  # and the look it was sent after
        self._looks_taken = 0
        self._is_watching = False
        self._failed: Callable[[str], None] = _ignore
        link.lost = self.fail

    def listen(
        self,
        *,
        failed: Callable[[str], None],
        unsettled: Callable[[Claim, int, int], None],
        count_alone: Callable[[str, int], int],
    ) -> None:
        """failed: told once of a failure. unsettled: given settlements that came to other counters.
        count_alone: asked about addresses that Redis gave no answer for."""
        self._failed = failed
        self._settlements.unsettled = unsettled
        self._counts.count_alone = count_alone

    def admit(self, claim: Claim) -> Awaitable[None]:
        return self._ask(self._admissions, claim)

    def peek(self, claim: Claim) -> Awaitable[None]:
        return self._ask(self._looks, claim)

    def adopt(self, claim: Claim) -> None:
        """Have it counted that a claim was admitted elsewhere; its rules refuse nothing."""
        self._ask(self._admissions, claim).add_done_callback(_adopted)

    def settle(self, claim: Claim, tokens: int, nanodollars: int) -> None:
        self._put(self._settlements, batch.tag(claim.key_id), (claim, tokens, nanodollars, 0))

    def release(self, claim: Claim) -> None:
        self._put(self._settlements, batch.tag(claim.key_id), (claim, 0, 0, 1))

    def count(self, address: str, rpm: int) -> Awaitable[int]:
        future: asyncio.Future[int] = self._loop.create_future()
        if self.is_up:
            self._put(self._counts, batch.address_tag(address), (future, address, rpm))
        else:
            future.set_result(self._counts.count_alone(address, rpm))
        return future

    def correct(self, correction: Correction) -> None:
        if self.is_up:
            self._send(self._corrections, batch.tag(correction.key_id), [correction])

    def is_current(self, claim: Claim) -> bool:
        return claim.incarnation == self._number()

    def keep(self, claim: Claim) -> bool:
        return False

    def resume(self) -> None:
        """Redis holds what it should again."""
        self.is_up = True

    def fail(self, reason: str) -> None:
        """Redis cannot be trusted from here on: all that is under way fails."""
        if not self.is_up:
            return
        self.is_up = False
        self._failed(reason)
        self._link.close()  # fails what has been sent
        error = LimiterUnavailable(reason)
        for verb in self._verbs:
            waiting, verb.waiting = verb.waiting, {}
            for items in waiting.values():
                verb.failed(items, error)

    # Gathering

    def _ask(self, verb: Admissions, claim: Claim) -> asyncio.Future[None]:
        if not self.is_up:
            raise LimiterUnavailable("Redis is lost")
        future: asyncio.Future[None] = self._loop.create_future()
        self._put(verb, batch.tag(claim.key_id), (future, claim))
        return future

    def _put(self, verb: Verb[Any], tag: str, item: Any) -> None:
        if not self.is_up:
            return
        if not self._link.is_cluster:
            tag = ""
        waiting = verb.waiting
        if tag in waiting:
            waiting[tag].append(item)
        else:
            waiting[tag] = [item]
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        for verb in self._verbs:
            if verb.waiting:
                waiting, verb.waiting = verb.waiting, {}
                for tag, items in waiting.items():
                    for some in batch.chunks(items, MOST_ITEMS):
                        self._send(verb, tag, some)

    def _send(self, verb: Verb[Any], tag: str, items: list[Any]) -> None:
        self._run(verb, tag, items, "EVALSHA", verb.script.digest)

    def _run(self, verb: Verb[Any], tag: str, items: list[Any], *script: Word) -> None:
        try:
            future = self._link.ask(tag, *script, *verb.words(items))
        except LimiterUnavailable as error:
            verb.failed(items, error)
            self.fail(str(error))
            return
        future.add_done_callback(partial(self._came, verb, tag, items))
        self._under_way.append((self._looks_taken, future))
        if not self._is_watching:
            self._is_watching = True
            self._loop.call_later(WAIT_SECONDS / (LOOKS + 1), self._watch)

    def _came(self, verb: Verb[Any], tag: str, items: list[Any], future: asyncio.Future[Any]) -> None:
        """An answer, or that there is none."""
        error = future.exception()
        if error is None:
            try:
                reason = verb.answered(items, future.result())
            except (TypeError, ValueError, LookupError) as odd:  # not the shape that the script gives
                verb.failed(items, LimiterUnavailable("an answer that is none"))
                reason = f"an answer that is none ({type(odd).__name__})"
            if reason:
                self.fail(reason)
        elif isinstance(error, ScriptMissing) and self.is_up:
            self._run(verb, tag, items, "EVAL", verb.script.text)  # nothing was run; now it is kept as well
        else:
            self.fail(str(error))
            verb.failed(items, LimiterUnavailable(str(error)))

    def _watch(self) -> None:
        """Fail if an answer has been waited for too long: by looks, not by the clock, so that a process
        that was held up itself does not blame Redis."""
        under_way = self._under_way
        while under_way and under_way[0][1].done():
            under_way.popleft()
        self._looks_taken += 1
        if under_way and self._looks_taken - under_way[0][0] > LOOKS:
            self.fail("no answer in time")
        self._is_watching = bool(under_way)
        if under_way:
            self._loop.call_later(WAIT_SECONDS / (LOOKS + 1), self._watch)


def _ignore(reason: str) -> None:
    """Nobody listens."""


def _adopted(future: asyncio.Future[None]) -> None:
    future.exception()  # the ledger has it: other counters than these are filled from it
