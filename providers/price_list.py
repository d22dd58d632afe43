"""Which tariff a model at a provider has: known at once, or asked of a short-lived child (price_lookup).

One child at a time; questions that come while it runs are its successor's. What it answers is kept, "unknown"
too; that it failed is not: then there is no price for a while, and after that the next call asks again.
Refuses to ask about local hosts and about vendors that publish no prices, and to wait longer than its bound.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from cachetools import LRUCache

from providers.pricing import Tariff
from providers.vendors import ROWS

log = logging.getLogger("rooya.prices")

ROOT: Final = Path(__file__).resolve().parent.parent
COMMAND: Final = (sys.executable, "-m", "providers.price_lookup")
INHERITED: Final = ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONHOME")  # no secret is handed on
MOST_KNOWN: Final = 10_000
MOST_AT_ONCE: Final = 500
LONGEST_LINE: Final = 2**20
LONGEST_NAME: Final = 256
GRACE_S: Final = 2.0
LAST_WORDS: Final = 10_000
LOCAL: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


class Served(NamedTuple):
    """One model of one provider: its kind, where it is, and the upstream's own name of the model."""

    kind: str
    base_url: str
    model: str


class PriceList:
    """The tariffs that this process knows. Of one event loop; `close` ends a child that is still asked."""

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        timeout_s: float = 10.0,
        retry_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._clock = clock
        self._quiet_until = -1.0
        self._learned: LRUCache[Served, Tariff | None] = LRUCache(MOST_KNOWN)
        self._queue: dict[Served, str] = {}
        self._answers: dict[Served, asyncio.Future[Tariff | None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._is_closed = False

    def preset(self, served: Served, tariff: Tariff | None) -> None:
        """Put in what is known from elsewhere."""
        self._learned[served] = tariff

    def find(self, served: Served) -> Tariff | None:
        """None = it has no price. Raises KeyError while that is not known: `resolve` it."""
        return self._learned[served]

    def use(self, command: Sequence[str]) -> None:
        """Ask another child from now on; what the one before it said is forgotten."""
        if tuple(command) != tuple(self._command):
            self._command = command
            self._learned.clear()

    def is_known(self, served: Served) -> bool:
        """Would `find` answer?"""
        return served in self._learned

    async def resolve(self, names: Iterable[Served]) -> dict[Served, Tariff | None]:
        """What `find` knows or the child says; None for what it does not know, or cannot be asked now."""
        found: dict[Served, Tariff | None] = {}
        awaited: dict[Served, asyncio.Future[Tariff | None]] = {}
        for served in names:
            try:
                found[served] = self.find(served)
            except KeyError:
                question = question_of(served)
                if question is None:
                    found[served] = self._learned[served] = None
                else:
                    awaited[served] = self._enqueue(served, question)
        if awaited:
            # Others may wait for the same answer: who is cancelled here cancels nothing but the waiting.
            await asyncio.wait(awaited.values())
        return found | {served: answer.result() for served, answer in awaited.items()}

    async def close(self) -> None:
        """End the child, if there is one; who waits for it, or comes later, has no price."""
        self._is_closed = True
        if self._process is not None:
            _kill(self._process)
        if self._task is not None:
            await asyncio.wait((self._task,))

    def _enqueue(self, served: Served, question: str) -> asyncio.Future[Tariff | None]:
        answer = self._answers.get(served)
        if answer is None:
            answer = self._answers[served] = asyncio.get_running_loop().create_future()
            self._queue[served] = question
            if self._task is None:
                self._task = asyncio.create_task(self._ask_all())
        return answer

    async def _ask_all(self) -> None:
        """What is not asked, since the last child failed a moment ago or this is closed, has no price."""
        try:
            while self._queue and not self._is_closed and self._clock() >= self._quiet_until:
                batch = dict(islice(self._queue.items(), MOST_AT_ONCE))
                for served in batch:
                    del self._queue[served]
                await self._ask(batch)
        finally:
            self._task = None
            self._queue.clear()
            for served in list(self._answers):
                self._settle(served, None)

    async def _ask(self, batch: dict[Served, str]) -> None:
        """Answers are kept as they come: a question that kills the child costs only those after it."""
        failure: Exception | None = None
        words = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._start()
                await self._talk(batch)
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            failure = None if self._is_closed else error
            self._quiet_until = self._clock() + self._retry_s
            for served in batch:
                self._settle(served, None)
        finally:
            words = await self._end()
        if failure is not None:
            kind, reason = type(failure).__name__, words or str(failure)
            log.warning("cannot look up prices, next try in %.0f s: %s: %.300r", self._retry_s, kind, reason)

    async def _talk(self, batch: dict[Served, str]) -> None:
        assert self._process is not None
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write("".join(f"{question}\n" for question in batch.values()).encode())
        stdin.write_eof()
        for served in batch:
            tariff = _tariff(await stdout.readline())
            self._learned[served] = tariff
            self._settle(served, tariff)

    async def _start(self) -> None:
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=ROOT,
            env=environment,
            limit=LONGEST_LINE,
        )
        if self._is_closed:
            _kill(self._process)

    async def _end(self) -> str:
        """Wait until nothing of the child is left, though not for ever, and return its last words.

        It ends with its input. A signal to what has ended already would compete with asyncio for its exit
        status, so that only what does not end is killed.
        """
        if self._process is None:
            return ""
        process, self._process = self._process, None  # `close` has no need to kill it any more
        assert process.stderr is not None
        for _ in range(2):
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await process.wait()
                    words = await process.stderr.read(LAST_WORDS)
                    return words.decode(errors="replace").strip().rpartition("\n")[2]
            _kill(process)
        return ""

    def _settle(self, served: Served, tariff: Tariff | None) -> None:
        answer = self._answers.pop(served, None)
        if answer is not None:
            answer.set_result(tariff)


def question_of(served: Served) -> str | None:
    """The child's question as JSON, None where there is nothing to ask.

    A vendor is known by its id; one that may be anybody (its row has no URL) is known by its URL.
    """
    vendor = ROWS.get(served.kind)
    if vendor is None or not served.model or len(served.model) > LONGEST_NAME:
        return None
    if vendor.price_provider:
        return json.dumps({"provider": vendor.price_provider, "api_url": None, "model": served.model})
    if vendor.base_url is not None or _is_local(served.base_url):
        return None
    return json.dumps({"provider": None, "api_url": served.base_url, "model": served.model})


def _is_local(url: str) -> bool:
    """A bare address or a name of the house: nobody publishes prices for it."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return True
    with suppress(ValueError):
        ip_address(host)
        return True
    return "." not in host or host.endswith(LOCAL)


def _tariff(line: bytes) -> Tariff | None:
    if not line:
        raise ValueError("the child ended without an answer")
    return None if line == b"null\n" else Tariff.from_json(line.decode())


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
