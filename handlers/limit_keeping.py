"""What is behind the limiter: the ledger that it is derived from, and how Redis is filled from it.

Redis is filled by one process at a time, in this order: the number rises, so that claims decided before are
no longer current; Redis answers everybody that its counters are others; the ledger is read, and the journals;
Redis gets it, and last the number. A call that is in no journal by then is not sent under an earlier number,
so none that was sent is missing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from limits import rebuild
from limits.alone import Position, Seen
from limits.errors import LimiterUnavailable
from limits.guarded import Owed
from limits.link import Link
from limits.types import Claim, Correction, Limiter, Past
from store.errors import StoreUnavailable
from store.incarnation import Incarnation
from store.mover import Books, Mover
from store.past import PastReader
from store.standing import Standing
from store.standing import read as read_standing

log = logging.getLogger("rooya.limits")

POLL_SECONDS: Final = 0.25
LOCK_SECONDS: Final = 0.01  # until the lock is asked for again
TELLING_SECONDS: Final = 5.0
FORGETTING_SECONDS: Final = 60.0


class Ledger:
    """The ledger as limiters want it. clock: Unix seconds."""

    def __init__(self, books: Books, past: PastReader, clock: Callable[[], float]) -> None:
        self._database: Path = books.database
        self._journal: Path = books.journal
        self._past = past
        self._clock = clock

    async def past(self, key_id: int, window: int) -> Past:
        """Of a key. Raises LimiterUnavailable."""
        try:
            found = await self._past.read(key_id, window, int(self._clock() * 1000))
        except StoreUnavailable as error:
            raise LimiterUnavailable(str(error)) from error
        return Past(*found)

    async def standing(self) -> Standing:
        """Of all keys, journals included. Raises LimiterUnavailable."""
        try:
            return await asyncio.to_thread(read_standing, self._database, self._journal, self._clock())
        except StoreUnavailable as error:
            raise LimiterUnavailable(str(error)) from error


class CorrectionWatch:
    """Tells a limiter what the operator corrects. `start` before use, `close` at the end."""

    def __init__(self, past: PastReader, limiter: Limiter) -> None:
        self._past = past
        self._limiter = limiter
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises StoreUnavailable."""
        self._task = asyncio.create_task(self._watch(await self._past.last_correction()))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self, last: int) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                corrections = await self._past.corrections(last)
            except StoreUnavailable:
                continue  # the keyring says so
            for correction in corrections:
                self._limiter.correct(Correction(*correction))
                last = correction[0]


async def forget_idle(forget: Callable[[], None], mover: Mover) -> None:
    """Have a limiter forget who is idle, whenever the ledger has all that it counted. Never returns."""
    while True:
        await asyncio.sleep(FORGETTING_SECONDS)
        if mover.has_moved_all:
            forget()


class RedisBacking:
    """`limits.guarded.Backing`. is_up: is Redis trusted at the moment?"""

    def __init__(self, *, link: Link, ledger: Ledger, incarnation: Incarnation, mover: Mover) -> None:
        self._link = link
        self._ledger = ledger
        self._incarnation = incarnation
        self._mover = mover
        self._loop = asyncio.get_running_loop()
        self.is_up: Callable[[], bool] = lambda: True
        self._removing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._removing is not None:
            self._removing.cancel()
            await asyncio.gather(self._removing, return_exceptions=True)
        self._link.close()

    def number(self) -> int:
        return self._incarnation.number

    def others(self) -> int:
        return self._mover.others()

    async def owed(self) -> Owed:
        standing = await self._ledger.standing()
        return Owed(standing.spent, standing.correction, [_claim(*call[2:]) for call in standing.open])

    def position(self) -> Position:
        segment = self._mover.journal.segment
        return segment.number, segment.end

    async def restore(self, *, lost: int, raised: Callable[[], None]) -> Seen:
        try:
            if not self._link.servers():
                await self._link.connect()
            async with self._locked():
                if self.number() == lost or not await rebuild.verify(self._link, self.number()):
                    await self._fill(raised)
                return await rebuild.seen(self._link, self.number(), self.place)
        except LimiterUnavailable:
            self._link.close()
            raise
        except OSError as error:  # no descriptor left for the lock, or no room for the number
            raise LimiterUnavailable(str(error)) from error

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Hold the lock; not by a thread that blocks, which nobody could stop where its holder is stopped."""
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(self._incarnation.exclusive(is_waiting=False))
                    break
                except BlockingIOError:
                    await asyncio.sleep(LOCK_SECONDS)
            yield

    async def _fill(self, raised: Callable[[], None]) -> None:
        number = self._incarnation.raise_number()
        raised()
        await rebuild.halt(self._link)
        await rebuild.rebuild(self._link, number, _state(await self._ledger.standing()))
        self._remove_earlier(number)

    @property
    def place(self) -> str:
        """SLOT.START of this process."""
        return f"{self._mover.slot.number}.{self._mover.start_number}"

    def tell(self, slot: int, start: int, costs: dict[str, int]) -> None:
        """A process has died, and this is what its calls cost; from the mover's thread. Raises OSError.

        Never while Redis is being filled: whoever fills it may have read the ledger before.
        """
        with self._incarnation.exclusive(is_waiting=False):
            if self.is_up():
                self._tell_redis(slot, start, costs)
            else:
                self._incarnation.raise_number()  # what Redis is about to be trusted with may miss it

    def _tell_redis(self, slot: int, start: int, costs: dict[str, int]) -> None:
        place = f"{slot}.{start}"
        recovered = rebuild.recovered(self._link, self.number(), place, costs)
        telling = asyncio.run_coroutine_threadsafe(recovered, self._loop)
        try:
            telling.result(TELLING_SECONDS)
        except (LimiterUnavailable, TimeoutError) as error:
            telling.cancel()
            raise OSError(f"Redis cannot be told of a recovery: {error}") from error

    def _remove_earlier(self, number: int) -> None:
        if self._removing is None or self._removing.done():
            self._removing = asyncio.create_task(self._remove(number))

    async def _remove(self, number: int) -> None:
        try:
            await rebuild.remove_earlier(self._link, number)
        except LimiterUnavailable:
            return  # the next rebuild removes them


def _state(standing: Standing) -> rebuild.State:
    calls = [
        rebuild.Open(f"{slot}.{start}", claim_id, key_id, window, worst_nanodollars)
        for slot, start, claim_id, key_id, window, worst_nanodollars in standing.open
    ]
    tokens = [(key_id, at_ms, count) for (key_id, at_ms), count in standing.tokens.items()]
    return rebuild.State(standing.spent, standing.correction, calls, tokens, standing.reached)


def _claim(claim_id: str, key_id: int, window: int, worst_nanodollars: int) -> Claim:
    """Of a call under way."""
    claim = Claim()
    claim.claim_id = claim_id
    claim.key_id = key_id
    claim.window = window
    claim.worst_nanodollars = claim.least_nanodollars = worst_nanodollars
    claim.requests = claim.tokens = claim.incarnation = 0
    return claim
