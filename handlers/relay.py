"""The story of one call: which targets, in which order, until one answers.

Plain Python: knows no vendor, no SQL, no HTTP status. A second attempt is made only while no byte has reached
the client and only for failures that say so: at another target, or at the same one after a while where there
is no other. Past the deadline nothing is tried.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import ujson

from handlers.accounting import Account, Accounts
from handlers.answering import LocalStream, Stream
from handlers.errors import Refused
from handlers.parts import JoinedStream, Parts
from providers import errors
from providers.adapter import Codec
from providers.errors import OperationNotOffered, ProviderError, Unsupported
from providers.health import Health
from providers.router import Router, following
from providers.transport import Transport
from providers.types import Call, Reply, Target, UpstreamRequest
from store.types import ApiKey

Served = TypeVar("Served")
FIRST_PAUSE_SECONDS: Final = 0.5  # before the same target is asked again; then twice as long, less up to half
MOST_MENDED: Final = 2  # attempts in other words, beside the retries
LONGEST_PAUSE_SECONDS: Final = 5.0  # that a vendor may ask for: beyond it the client is told, and decides


@dataclass(frozen=True, slots=True)
class Conduct:
    """How long a call may take in all, in seconds, and how many further attempts it may make.

    is_strict: a parameter that the target does not take is an error, and not left out.
    """

    request_s: float = 30
    stream_s: float = 300
    retries: int = 2
    is_strict: bool = False


@dataclass(slots=True)
class Answered:
    """A whole reply, and the attempt that gave it. dropped: sampling hints its vendor does not take."""

    reply: Reply
    account: Account
    dropped: tuple[str, ...] = ()


class Relay:
    """Carries validated calls to the targets of their model."""

    def __init__(
        self,
        *,
        router: Router,
        transport: Transport,
        accounts: Accounts,
        health: Health,
        conduct: Conduct,
        clock: Callable[[], float],
    ) -> None:
        """clock: the event loop's; asking for the loop itself costs a system call on Python 3.11."""
        self._clock = clock
        self._router = router
        self._transport = transport
        self._accounts = accounts
        self._health = health
        self._conduct = conduct

    def fetch(self, call: Call, key: ApiKey) -> Coroutine[Any, Any, Answered]:
        """A whole answer, which is in the ledger.

        Raises Refused, ModelNotFound, OperationNotOffered, Unsupported, ProviderError, LedgerFull.
        """
        spec = self._router.model_spec(call.model)
        seconds = self._conduct.request_s if spec is None or spec.request_s is None else spec.request_s
        return self._try_each(call, key, self._fetch_from, seconds)

    def open(self, call: Call, key: ApiKey) -> Coroutine[Any, Any, Stream]:
        """A stream whose first event is there. Raises as `fetch` does."""
        spec = self._router.model_spec(call.model)
        seconds = self._conduct.stream_s if spec is None or spec.stream_s is None else spec.stream_s
        return self._try_each(call, key, self._open_at, seconds)

    async def _try_each(
        self,
        call: Call,
        key: ApiKey,
        attempt: Callable[[Call, ApiKey, Target, int, float], Awaitable[Served]],
        seconds: float,
    ) -> Served:
        if key.models is not None and call.model not in key.models:
            raise Refused("model_not_allowed", param="model")
        began = self._clock()
        targets = self._router.targets(call.model, call.operation, began)
        target, tried = targets[0], [targets[0]]
        deadline = began + seconds
        number = mended = 0
        while True:
            try:
                served = await attempt(call, key, target, number, deadline)
            except ProviderError as failure:
                self._health.failed(target.lane, self._clock(), failure)
                if mended < MOST_MENDED and (other := mend(call, failure)) is not None:
                    call = other
                    mended += 1
                elif number - mended >= self._conduct.retries:
                    raise
                else:
                    target = await self._another(targets, tried, failure, deadline)
                number += 1
                began = self._clock()
            else:
                now = self._clock()
                self._health.succeeded(target.lane, now, now - began)
                return served

    async def _another(
        self, targets: Sequence[Target], tried: list[Target], failure: ProviderError, deadline: float
    ) -> Target:
        """Whom to ask next: somebody else at once, else the same after a while. Or raises the failure."""
        if not failure.retryable:
            raise failure
        target = following(targets, tried, failure)
        if target is not None:
            tried.append(target)
            return target
        wait_seconds = pause_seconds(failure, len(tried))
        if wait_seconds is None or self._clock() + wait_seconds >= deadline:
            raise failure
        await asyncio.sleep(wait_seconds)
        tried.append(tried[-1])
        return tried[-1]

    async def _fetch_from(
        self, call: Call, key: ApiKey, target: Target, number: int, deadline: float
    ) -> Answered:
        adapter = target.adapter
        if adapter.local:
            return await self._answer_locally(call, key, target, number)
        codec = self._codec(call, target)
        accounts = self._accounts
        account = accounts.prepare(call, key, target, number)
        if account is None:
            account = await accounts.learn(call, key, target, number)
        if calls := codec.divide(account.call):
            return await self._fetch_parts(account, Parts(account.call, calls, target, codec), deadline)
        request = self._encoded(codec, account.call, target)
        waiting = accounts.begin(account)
        if waiting is not None:
            await waiting
        try:
            if account.lowered_to:
                request = codec.encode(account.call, target)
            response = await self._transport.send(request, target.timeouts, deadline)
            account.is_refused = response.status != 200
            try:
                body = await response.read()
            finally:
                response.close()
            if response.status != 200:
                raise adapter.error(response.status, response.headers, body)
            reply = codec.decode(call, body)
            account.settle(reply.usage, body)
        except ProviderError as failure:
            account.fail(failure)
            raise
        except BaseException:
            account.abandon(is_sent=request.is_sent)
            raise
        if accounts.sync is not None:
            await accounts.sync()
        return Answered(reply, account, request.dropped)

    async def _fetch_parts(self, account: Account, parts: Parts, deadline: float) -> Answered:
        await self._begin_parts(account, parts)
        try:
            reply = await parts.fetch(self._transport, deadline, account)
            account.settle(parts.usage(account), reply.body)
        except ProviderError as failure:
            account.fail(failure)
            raise
        except BaseException:
            account.abandon(is_sent=parts.is_sent)
            raise
        if account.sync is not None:
            await account.sync()
        return Answered(reply, account, parts.dropped)

    async def _open_parts(self, account: Account, parts: Parts, deadline: float) -> Stream:
        await self._begin_parts(account, parts)
        stream = JoinedStream(account, parts, self._transport, deadline)
        try:
            await stream.begin()
        except BaseException:
            stream.close()
            raise
        return stream

    async def _begin_parts(self, account: Account, parts: Parts) -> None:
        if parts.dropped and self._conduct.is_strict:
            raise not_taken(parts.dropped)
        account.divide(parts.calls)
        waiting = self._accounts.begin(account)
        if waiting is not None:
            await waiting

    async def _answer_locally(self, call: Call, key: ApiKey, target: Target, number: int) -> Answered:
        account = await self._begun(call, key, target, number)
        try:
            reply = target.adapter.answer(account.call)
            account.settle(reply.usage, reply.body)
        except BaseException:
            account.abandon(is_sent=False)
            raise
        if account.sync is not None:
            await account.sync()
        return Answered(reply, account)

    async def _open_at(self, call: Call, key: ApiKey, target: Target, number: int, deadline: float) -> Stream:
        adapter = target.adapter
        if adapter.local:
            return await self._open_locally(call, key, target, number)
        codec = self._codec(call, target)
        accounts = self._accounts
        account = accounts.prepare(call, key, target, number)
        if account is None:
            account = await accounts.learn(call, key, target, number)
        if calls := codec.divide(account.call):
            return await self._open_parts(account, Parts(account.call, calls, target, codec), deadline)
        request = self._encoded(codec, account.call, target)
        waiting = accounts.begin(account)
        if waiting is not None:
            await waiting
        try:
            if account.lowered_to:
                request = codec.encode(account.call, target)
            response = await self._transport.send(request, target.timeouts, deadline)
        except ProviderError as failure:
            account.fail(failure)
            raise
        except BaseException:
            account.abandon(is_sent=request.is_sent)
            raise
        account.note_first_byte()
        account.is_refused = response.status != 200
        stream = Stream(account, call, codec.decoder(call), response, request.dropped)
        try:
            if response.status != 200:
                raise adapter.error(response.status, response.headers, await response.read())
            await stream.begin()
        except ProviderError as failure:
            account.fail(failure)
            stream.close()
            raise
        except BaseException:
            stream.close()
            raise
        return stream

    def _encoded(self, codec: Codec, call: Call, target: Target) -> UpstreamRequest:
        request = codec.encode(call, target)
        if request.dropped and self._conduct.is_strict:
            raise not_taken(request.dropped)
        return request

    async def _begun(self, call: Call, key: ApiKey, target: Target, number: int) -> Account:
        accounts = self._accounts
        account = accounts.prepare(call, key, target, number)
        if account is None:
            account = await accounts.learn(call, key, target, number)
        waiting = accounts.begin(account)
        if waiting is not None:
            await waiting
        return account

    async def _open_locally(self, call: Call, key: ApiKey, target: Target, number: int) -> Stream:
        account = await self._begun(call, key, target, number)
        try:
            stream = LocalStream(account, call, target.adapter.stream(account.call))
            await stream.begin()
        except BaseException:
            account.abandon(is_sent=False)
            raise
        return stream

    @staticmethod
    def _codec(call: Call, target: Target) -> Codec:
        """What speaks to the target. Raises OperationNotOffered, and ProviderError where it has no room."""
        codec = target.adapter.codec_for(call, target)
        if codec is None:
            raise OperationNotOffered(call.model, call.operation)
        if target.lane.is_full:
            raise errors.too_many_wait()
        return codec


def not_taken(names: tuple[str, ...]) -> Unsupported:
    """Where what a target does not take is an error."""
    listed = "', '".join(names)
    return Unsupported(names[0], f"The model's provider does not take '{listed}'.")


def pause_seconds(failure: ProviderError, attempts: int) -> float | None:
    """How long to wait before the same target is asked again, None where that cannot help.

    A vendor that names a longer time than a client should wait here has its word passed on instead. Where our
    own bound is reached (no status), waiting calls would only make it worse.
    """
    wish = failure.retry_after_seconds
    is_ours = failure.kind == errors.OVERLOADED and failure.status is None
    if failure.kind == errors.AUTH or is_ours or (wish is not None and wish > LONGEST_PAUSE_SECONDS):
        return None
    pause: float = FIRST_PAUSE_SECONDS * 2 ** (attempts - 1) * random.uniform(0.5, 1)
    return max(pause, wish or 0)


def mend(call: Call, failure: ProviderError) -> Call | None:
    """The call as the same target may take it after all; None where there is no such thing. That is no retry:
    the vendor has refused the words, and nothing was generated."""
    if failure.amend is not None:
        return amended(call, failure.amend)
    return call if failure.is_learned else None


def amended(call: Call, amend: Callable[[dict[str, Any]], dict[str, Any]]) -> Call | None:
    """The same call in other words, which its vendor may take; None where there are no others."""
    payload = amend(call.payload)
    if payload == call.payload:
        return None
    body = ujson.dumps(payload, ensure_ascii=False, escape_forward_slashes=False)
    return replace(call, payload=payload, body=body.encode("utf-8", "replace"), verbatim=True)
