"""Redis filled from the ledger, and questions about whether it has to be.

The counters of a number are written under names of their own; the scripts use them once the shard's
incarnation says the number, which comes last, and only if nothing of them was lost meanwhile. Those of
earlier numbers are removed afterwards.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from limits import batch
from limits.alone import NOWHERE, Position, Seen
from limits.batch import SHARDS, Script
from limits.errors import LimiterUnavailable
from limits.link import Link
from limits.types import TOKEN_BUCKET_MS, TOKEN_BUCKETS

STEP_SECONDS: Final = 2.0  # of a rebuild, for Redis to answer in
AT_ONCE: Final = 500
WINDOW_MS: Final = (TOKEN_BUCKETS + 1) * TOKEN_BUCKET_MS
OLDEST_VERSION: Final = (6, 2)
SCRIPTS: Final = ("admit", "settle", "count", "correct")
TEST_NUMBER: Final = -1  # of the counters that the self-test makes and removes


@dataclass(frozen=True, slots=True)
class Open:
    """A call under way. place: SLOT.START of its process."""

    place: str
    claim_id: str
    key_id: int
    window: int
    worst_nanodollars: int


@dataclass(frozen=True, slots=True)
class State:
    """What the ledger says. spent: nano-dollars by key and window; correction: the last one that is in them.
    tokens: (key, Unix ms, how many), of the last day: for keys whose windows Redis has lost. reached: how far
    the journal of each slot is in it."""

    spent: Mapping[tuple[int, int], int]
    correction: int
    open: Sequence[Open]
    tokens: Iterable[tuple[int, int, int]]
    reached: Mapping[int, Position]


async def verify(link: Link, number: int) -> bool:
    """Do all shards say the number, and the server that they are on? Raises LimiterUnavailable."""
    run_ids = await _run_ids(link)
    told = await _answers(link.ask(shard, "HMGET", batch.incarnation(shard), "n", "r") for shard in _shards())
    return told == [[str(number).encode(), run_id.encode()] for run_id in run_ids]


async def seen(link: Link, number: int, place: str) -> Seen:
    """What the counters of a number were filled with of a process. Raises LimiterUnavailable."""
    slot = place.partition(".")[0]
    (told,) = await _answers([link.ask("0", "HGET", batch.incarnation("0"), f"s{slot}")])
    claims = await _answers(
        link.ask(shard, "HKEYS", batch.under_way(number, shard, place)) for shard in _shards()
    )
    under_way = frozenset(claim.decode() for some in claims for claim in some)
    if told is None:
        return Seen(number, NOWHERE, under_way)
    segment, position = map(int, told.split())
    return Seen(number, (segment, position), under_way)


async def halt(link: Link) -> None:
    """From here on every script answers that its counters are others. Raises LimiterUnavailable."""
    await _answers(link.ask(shard, "DEL", batch.incarnation(shard)) for shard in _shards())


async def rebuild(link: Link, number: int, state: State) -> None:
    """Write everything under the number, and the number last. Raises LimiterUnavailable."""
    names = [(shard, batch.next_incarnation(number, shard), batch.incarnation(shard)) for shard in _shards()]
    run_ids = await _run_ids(link)
    await _answers(
        link.ask(shard, "HSET", name, "n", number, "r", run_id)
        for (shard, name, _), run_id in zip(names, run_ids, strict=True)
    )
    places = [word for slot, at in state.reached.items() for word in (f"s{slot}", f"{at[0]} {at[1]}")]
    if places:
        await _answers([link.ask("0", "HSET", batch.next_incarnation(number, "0"), *places)])
    await _write_money(link, number, state)
    await _fill_tokens(link, state.tokens)
    await load(link)
    # Should Redis have been emptied meanwhile, there is nothing to rename, and this fails.
    await _answers(link.ask(shard, "RENAME", name, final) for shard, name, final in names)


async def load(link: Link) -> None:
    """Have every server know the scripts, so that none is run later than what was asked for after it."""
    for script in SCRIPTS:
        await _bounded(link.everywhere("SCRIPT", "LOAD", Script(script).text))


async def _write_money(link: Link, number: int, state: State) -> None:
    reserved: dict[tuple[int, int], int] = {}
    calls: dict[int, int] = {}
    for each in state.open:
        place = each.key_id, each.window
        reserved[place] = reserved.get(place, 0) + each.worst_nanodollars
        calls[each.key_id] = calls.get(each.key_id, 0) + 1
    await _answers(
        link.ask(
            *(batch.tag(key_id), "HSET", batch.budget(number, key_id, window)),
            *("c", state.spent.get((key_id, window), 0)),
            *("r", reserved.get((key_id, window), 0), "x", state.correction),
        )
        for key_id, window in {**state.spent, **reserved}
    )
    await _answers(
        link.ask(
            *(batch.tag(each.key_id), "HSET"),
            batch.under_way(number, batch.tag(each.key_id), each.place),
            *(each.claim_id, f"{each.key_id} {each.window} {each.worst_nanodollars}"),
        )
        for each in state.open
    )
    await _answers(
        link.ask(batch.tag(key_id), "HSET", batch.windows(key_id), f"p{number}", count)
        for key_id, count in calls.items()
    )


async def _fill_tokens(link: Link, tokens: Iterable[tuple[int, int, int]]) -> None:
    by_key: dict[int, dict[int, int]] = {}
    for key_id, at_ms, amount in tokens:
        buckets = by_key.setdefault(key_id, {})
        bucket = at_ms // TOKEN_BUCKET_MS
        buckets[bucket] = buckets.get(bucket, 0) + amount
    for some in batch.chunks(list(by_key), AT_ONCE):
        known = await _answers(link.ask(batch.tag(key), "HEXISTS", batch.windows(key), "th") for key in some)
        lost = [key_id for key_id, is_known in zip(some, known, strict=True) if not is_known]
        await _answers(link.ask(batch.tag(key), "HSET", *_token_words(key, by_key[key])) for key in lost)
        await _answers(link.ask(batch.tag(key), "PEXPIRE", batch.windows(key), WINDOW_MS) for key in lost)


def _token_words(key_id: int, buckets: Mapping[int, int]) -> list[str | int]:
    last = max(buckets)
    words: list[str | int] = [batch.windows(key_id), "tn", sum(buckets.values()), "th", last, "tl", last]
    for bucket, amount in buckets.items():
        words += (f"t{bucket}", amount)
    return words


async def remove_earlier(link: Link, number: int) -> None:
    """Remove what is left of earlier numbers; later ones are being written by another process.

    Raises LimiterUnavailable.
    """
    for pattern in ("rooya:{*}:*:budget:*", "rooya:{*}:*:open:*", "rooya:{*}:*:incarnation"):
        async for names in _scan(link, pattern):
            old = [name for name in names if _is_earlier(name.split(":")[2], number)]
            await _answers(link.ask(_tag_of(name), "UNLINK", name) for name in old)


def _is_earlier(word: str, number: int) -> bool:
    return word.isdecimal() and int(word) < number


async def recovered(link: Link, number: int, place: str, costs: Mapping[str, int]) -> None:
    """Settle what a process that died had under way: at its cost, and what was never sent at none.

    May be repeated. Raises LimiterUnavailable; Redis with other counters is filled from a ledger that has it.
    """
    script = Script("settle")
    for shard in _shards():
        name = batch.under_way(number, shard, place)
        held = await _bounded(link.ask(shard, "HGETALL", name))
        pairs = list(zip(held[::2], held[1::2], strict=True))
        for some in batch.chunks(pairs, 128):
            keys: list[str | int] = []
            arguments: list[str | int] = [number]
            for claim, what in some:
                key_id, window, *_ = map(int, what.split())
                keys += (batch.incarnation(shard), batch.windows(key_id))
                keys += (batch.budget(number, key_id, window), name)
                cost = costs.get(claim.decode())
                arguments += (claim.decode(), *((0, 0, 1) if cost is None else (cost, -1, 0)))
            asked = link.ask(shard, "EVAL", script.text, len(keys), *keys, *arguments)
            for answer in await _bounded(asked):
                if isinstance(answer, bytes):
                    raise LimiterUnavailable(answer.decode("utf-8", "replace"))


async def check(link: Link) -> None:
    """Can this Redis do what is needed? Raises LimiterUnavailable with what it cannot."""
    for line in (await _bounded(link.ask("0", "INFO", "server"))).decode().splitlines():
        if line.startswith("redis_version:"):
            version = tuple(int(part) for part in line[14:].strip().split(".")[:2])
            if version < OLDEST_VERSION:
                raise LimiterUnavailable(f"Redis {line[14:].strip()} is too old: 6.2 is needed")
    await load(link)
    trial = f"rooya:{{test}}:{secrets.token_hex(8)}"  # other processes may be starting at this moment
    names = [f"{trial}:{name}" for name in ("incarnation", "key", "budget", "open", "address")]
    keys = names[:4]
    await _bounded(link.ask("test", "HSET", names[0], "n", TEST_NUMBER))
    claim = ("claim", 0, 0, 1, 10, 5, 100, 1, 1000, 600, 600)
    steps: tuple[tuple[str, tuple[Any, ...], Any], ...] = (
        ("admit", (4, *keys, "", TEST_NUMBER, "take", *claim), lambda answer: answer[0][0] == 0),
        ("admit", (4, *keys, "", TEST_NUMBER, "take", *claim), lambda answer: answer[0][0] == 1),
        ("settle", (4, *keys, TEST_NUMBER, "claim", 200, 5, 0), lambda answer: answer == [1]),
        ("correct", (2, names[0], names[2], TEST_NUMBER, 1, -50), lambda answer: answer == 1),
        ("count", (1, names[4], "", 1), lambda answer: answer == [0]),
    )
    try:
        for name, words, is_right in steps:
            answer = await _bounded(link.ask("test", "EVALSHA", Script(name).digest, *words))
            if not is_right(answer):
                raise LimiterUnavailable(f"the script '{name}' does not do what it should here: {answer}")
    finally:
        await _bounded(link.ask("test", "DEL", *names))


async def warnings(link: Link) -> list[str]:
    """What the operator should know. Raises LimiterUnavailable."""
    try:
        found = await _bounded(link.everywhere("CONFIG", "GET", "maxmemory*"))
    except LimiterUnavailable:
        return []  # it may be forbidden
    for pairs in found:
        told = {name.decode(): value.decode() for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
        policy = told.get("maxmemory-policy", "noeviction")
        if told.get("maxmemory", "0") != "0" and policy != "noeviction":
            return [f"Redis may evict counters of limits (maxmemory-policy {policy}): set noeviction"]
    return []


def _shards() -> Iterable[str]:
    return map(str, range(SHARDS))


def _tag_of(name: str) -> str:
    return name.partition("{")[2].partition("}")[0]


async def _scan(link: Link, pattern: str) -> AsyncIterator[list[str]]:
    for server in link.servers():
        cursor = b"0"
        while True:
            cursor, names = await _bounded(server.ask("SCAN", cursor, "MATCH", pattern, "COUNT", 1000))
            yield [name.decode() for name in names]
            if cursor == b"0":
                break


async def _answers(asked: Iterable[asyncio.Future[Any]]) -> list[Any]:
    """To what is asked while this is iterated over: not all of it at once."""
    asking = iter(asked)
    found: list[Any] = []
    while some := list(islice(asking, AT_ONCE)):
        found += await _bounded(asyncio.gather(*some))
    return found


async def _run_ids(link: Link) -> list[str]:
    """Of each shard's server."""
    found: dict[int, str] = {}
    run_ids = []
    for shard in _shards():
        server = id(link.server_of(shard))
        if server not in found:
            found[server] = await _bounded(link.run_id(shard))
        run_ids.append(found[server])
    return run_ids


async def _bounded(awaitable: Any) -> Any:
    try:
        async with asyncio.timeout(STEP_SECONDS):
            return await awaitable
    except TimeoutError as error:
        raise LimiterUnavailable("no answer in time") from error
