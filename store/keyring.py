"""Digest of an API key -> ApiKey, through memory, Redis (where configured) and SQLite.

Every cached entry carries the `keys_version` it was read at and counts only while that is the
current one, so no look-up that was under way during a revocation can bring the old state back.
The version is polled; Redis only spreads the word sooner. Unknown digests are remembered apart
from known ones: a flood of random keys evicts nothing but itself. When the database cannot be
asked, what is in memory goes on and what is not is StoreUnavailable, never "unknown".
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from cachetools import TTLCache
from redis.asyncio import Redis
from redis.exceptions import RedisError

from store.errors import KeyRefused, StoreUnavailable
from store.keys import ApiKeys
from store.types import ApiKey

log = logging.getLogger("rooya.keyring")

POLL_SECONDS: Final = 0.25
REDIS_SECONDS: Final = 0.25  # where nobody waits
READ_SECONDS: Final = 0.05  # of a request that may wait 250 ms for Redis in all; SQLite takes far less
REDIS_ENTRY_SECONDS: Final = 300
REDIS_REST_SECONDS: Final = 5.0  # how long Redis is left alone after it failed
CHANNEL: Final = "rooya:keys"
# uvloop reports a write to a connection that has just died as a RuntimeError, which redis-py lets through.
REDIS_FAILURES: Final = (RedisError, TimeoutError, OSError, RuntimeError)


class Keyring:
    """find (memory, synchronous), then lookup (the rest). `start` before use, `close` at the end.

    size: so many of the keys used last are kept for certain, and up to twice as many are held. Two plain
    dicts, the elder thrown away when the younger is full, cost a hit 100 ns less than an LRU list.
    """

    def __init__(
        self, keys: ApiKeys, *, redis: Redis | None = None, size: int = 10_000, unknown_size: int = 10_000
    ) -> None:
        self._keys = keys
        self._redis = redis
        self._size = size
        self._known: dict[bytes, ApiKey] = {}
        self._elder: dict[bytes, ApiKey] = {}
        self._unknown: TTLCache[bytes, bool] = TTLCache(unknown_size, 60)
        self._version = 0
        self._lookups: dict[bytes, asyncio.Task[ApiKey | None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._writes: set[asyncio.Task[None]] = set()
        self._redis_rests_until = 0.0
        self.is_database_up = True

    async def start(self) -> None:
        """Read the version and begin to watch it. Raises StoreUnavailable."""
        self._version = await self._keys.version()
        self._tasks.append(asyncio.create_task(self._poll()))
        if self._redis is not None:
            self._tasks.append(asyncio.create_task(self._listen(self._redis)))

    async def close(self) -> None:
        """Stop watching."""
        tasks = [*self._tasks, *self._lookups.values(), *self._writes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def find(self, digest: bytes, now: float) -> ApiKey | None:
        """The key where memory has it; None = ask `lookup`. Raises KeyRefused. now: Unix seconds.

        Hot. All entries are of the current version: a new version empties the caches.
        """
        try:
            key = self._known[digest]
        except KeyError:
            elder = self._elder.get(digest)
            if elder is None:
                if digest in self._unknown:
                    raise KeyRefused("unknown") from None
                return None
            key = elder
            self._keep(digest, key)
        if key.disabled_at is not None or (key.expires_at is not None and key.expires_at <= now):
            raise KeyRefused("expired" if key.disabled_at is None else "inactive")
        return key

    async def lookup(self, digest: bytes, now: float) -> ApiKey:
        """The key from Redis or the database. Raises KeyRefused, StoreUnavailable.

        Those who ask for one digest at the same time share one look-up; one who leaves stops nothing.
        """
        task = self._lookups.get(digest)
        if task is None:
            task = self._lookups[digest] = asyncio.create_task(self._look_up(digest))
            task.add_done_callback(lambda done: self._looked_up(digest, done))
        key = await asyncio.shield(task)
        if key is None:
            raise KeyRefused("unknown")
        if key.disabled_at is not None:
            raise KeyRefused("inactive")
        if key.expires_at is not None and key.expires_at <= now:
            raise KeyRefused("expired")
        return key

    async def refresh(self) -> None:
        """Take the current version now: after a change made in this process. Raises StoreUnavailable."""
        self._move_to(await self._keys.version())

    def _looked_up(self, digest: bytes, task: asyncio.Task[ApiKey | None]) -> None:
        self._lookups.pop(digest, None)
        if not task.cancelled():
            task.exception()  # each waiter has its own copy; without one it is not worth a log line

    async def _look_up(self, digest: bytes) -> ApiKey | None:
        asked_at = self._version
        key = await self._read_redis(digest, asked_at)
        if key is None:
            key, version = await self._keys.look_up(digest)
            self._move_to(version)
            if key is not None and version == self._version and self._may_ask_redis():
                # Nobody waits for it.
                write = asyncio.create_task(self._write_redis(key, digest, version))
                self._writes.add(write)
                write.add_done_callback(self._writes.discard)
            asked_at = version
        if asked_at == self._version:  # else it is of yesterday: good for this answer, not for the cache
            if key is None:
                self._unknown[digest] = True
            else:
                self._keep(digest, key)
        return key

    def _keep(self, digest: bytes, key: ApiKey) -> None:
        if len(self._known) >= self._size:
            self._elder, self._known = self._known, {}
        self._known[digest] = key

    def _move_to(self, version: int) -> None:
        if version > self._version:
            self._version = version
            self._known.clear()
            self._elder.clear()
            self._unknown.clear()

    # Watching the version

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            before = self._version
            try:
                await self.refresh()
            except StoreUnavailable as error:
                if self.is_database_up:
                    log.warning("the database cannot be asked, keys in memory go on: %s", error)
                self.is_database_up = False
                continue
            if not self.is_database_up:
                log.warning("the database is back")
            self.is_database_up = True
            if self._version != before and self._redis is not None:
                with suppress(*REDIS_FAILURES):
                    await asyncio.wait_for(self._redis.publish(CHANNEL, str(self._version)), REDIS_SECONDS)

    async def _listen(self, redis: Redis) -> None:
        while True:
            with suppress(*REDIS_FAILURES, StoreUnavailable):
                async with redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    while True:
                        if await channel.get_message(timeout=None):
                            await self.refresh()
            await asyncio.sleep(REDIS_REST_SECONDS)

    # Redis. Its failure costs a look-up in SQLite, nothing else.

    async def _read_redis(self, digest: bytes, version: int) -> ApiKey | None:
        if not self._may_ask_redis():
            return None
        try:
            text = await asyncio.wait_for(self._redis.get(redis_name(digest)), READ_SECONDS)  # type: ignore[union-attr]
        except REDIS_FAILURES:
            self._rest_redis()
            return None
        return None if text is None else decoded(text, digest, version)

    async def _write_redis(self, key: ApiKey, digest: bytes, version: int) -> None:
        entry = encoded(key, version)
        try:
            await asyncio.wait_for(
                self._redis.set(redis_name(digest), entry, ex=REDIS_ENTRY_SECONDS),  # type: ignore[union-attr]
                REDIS_SECONDS,
            )
        except REDIS_FAILURES:
            self._rest_redis()

    def _may_ask_redis(self) -> bool:
        return self._redis is not None and asyncio.get_running_loop().time() >= self._redis_rests_until

    def _rest_redis(self) -> None:
        self._redis_rests_until = asyncio.get_running_loop().time() + REDIS_REST_SECONDS


def redis_name(digest: bytes) -> str:
    """Where a key is cached in Redis."""
    return f"rooya:key:{digest.hex()}"


def encoded(key: ApiKey, version: int) -> str:
    """An entry: the row without its digest, and the version it was read at."""
    fields: dict[str, Any] = asdict(key)
    del fields["digest"]
    fields["models"] = None if key.models is None else sorted(key.models)
    return json.dumps({"version": version, "key": fields})


def decoded(text: bytes | str, digest: bytes, version: int) -> ApiKey | None:
    """An entry's key, None where it is of another version or no entry of ours."""
    try:
        entry = json.loads(text)
        if entry["version"] != version:
            return None
        fields = entry["key"]
        fields["models"] = None if fields["models"] is None else frozenset(fields["models"])
        return ApiKey(digest=digest, **fields)
    except (ValueError, KeyError, TypeError):
        return None
