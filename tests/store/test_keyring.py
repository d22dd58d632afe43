"""The keyring: never wrong about a revocation, and no victim of floods or outages (P8, R-33, R-37)."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from store.errors import KeyRefused, StoreUnavailable
from store.keyring import Keyring, decoded, encoded, redis_name
from store.keys import ApiKeys, NewKey
from store.types import ApiKey
from store.users import Users
from tests.store.stores import opened, run, until


@asynccontextmanager
async def ringed(directory: Path, **options: object) -> AsyncIterator[tuple[ApiKeys, Keyring]]:
    async with opened(directory) as (_, keys):
        keyring = Keyring(keys, **options)  # type: ignore[arg-type]
        await keyring.start()
        try:
            yield keys, keyring
        finally:
            await keyring.close()


async def ask(keyring: Keyring, digest: bytes, now: float | None = None) -> ApiKey:
    now = time.time() if now is None else now
    return keyring.find(digest, now) or await keyring.lookup(digest, now)


async def refusal(keyring: Keyring, digest: bytes, now: float | None = None) -> str:
    try:
        await ask(keyring, digest, now)
    except KeyRefused as refused:
        return refused.code
    return "good"


def test_a_known_key_is_in_memory_from_the_second_request_on(tmp_path: Path) -> None:
    async def test() -> None:
        async with ringed(tmp_path) as (keys, keyring):
            key, _ = await keys.create(NewKey(name="k"))
            await keyring.refresh()
            assert keyring.find(key.digest, time.time()) is None
            assert (await keyring.lookup(key.digest, time.time())).id == key.id
            found = keyring.find(key.digest, time.time())
            assert found is not None
            assert found.id == key.id

    run(test)


def test_refusals_say_which_kind(tmp_path: Path) -> None:
    async def test() -> None:
        async with ringed(tmp_path) as (keys, keyring):
            gone, _ = await keys.create(NewKey(name="gone"))
            await keys.deactivate(gone.id)
            late, _ = await keys.create(NewKey(name="late", expires_at=5000))
            await keyring.refresh()
            for _ in range(2):  # from the database, then from memory
                assert await refusal(keyring, b"x" * 32) == "unknown"
                assert await refusal(keyring, gone.digest) == "inactive"
                assert await refusal(keyring, late.digest, 4999) == "good"
                assert await refusal(keyring, late.digest, 5000) == "expired"

    run(test)


def test_a_revocation_from_elsewhere_counts_within_a_second(tmp_path: Path) -> None:
    async def test() -> None:
        async with ringed(tmp_path) as (keys, keyring):
            key, _ = await keys.create(NewKey(name="k"))
            assert await refusal(keyring, key.digest) == "good"
            other = sqlite3.connect(tmp_path / "rooya.db")  # the sqlite3 shell, say
            other.execute("UPDATE api_keys SET disabled_at = 1")
            other.commit()
            other.close()
            began = time.monotonic()
            while await refusal(keyring, key.digest) == "good":
                assert time.monotonic() - began < 1
                await asyncio.sleep(0.01)

    run(test)


def test_a_new_key_works_though_it_was_asked_for_before_it_existed(tmp_path: Path) -> None:
    async def test() -> None:
        async with ringed(tmp_path) as (keys, keyring):
            digest = hashlib.sha256(b"sk-later").digest()
            assert await refusal(keyring, digest) == "unknown"
            other = sqlite3.connect(tmp_path / "rooya.db")
            other.execute("INSERT INTO api_keys (name, tier, created_at) VALUES ('k', 'free', 1)")
            columns = "(digest, key_id, prefix, last4, created_at)"
            other.execute(f"INSERT INTO api_key_secrets {columns} VALUES (?, 1, '', '', 1)", (digest,))
            other.commit()
            other.close()
            await keyring.refresh()
            assert await refusal(keyring, digest) == "good"

    run(test)


def test_a_look_up_in_flight_never_brings_a_revoked_key_back(tmp_path: Path) -> None:
    rng = random.Random(3)

    async def test() -> None:
        async with ringed(tmp_path) as (keys, keyring):
            key, _ = await keys.create(NewKey(name="k"))
            for _ in range(1500):
                await keys.activate(key.id)
                await keyring.refresh()
                asking = [asyncio.create_task(refusal(keyring, key.digest)) for _ in range(3)]
                for _ in range(rng.randrange(6)):
                    await asyncio.sleep(0)
                await keys.deactivate(key.id)
                await keyring.refresh()
                assert await refusal(keyring, key.digest) == "inactive"
                await asyncio.gather(*asking)
                assert await refusal(keyring, key.digest) == "inactive"

    run(test)


class SlowKeys(ApiKeys):
    """Counts look-ups and can hold their answers back after they were read."""

    def __init__(self, keys: ApiKeys) -> None:
        super().__init__(keys._database, keys._tiers)
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def look_up(self, digest: bytes) -> tuple[ApiKey | None, int]:
        self.count += 1
        found = await super().look_up(digest)
        await self.gate.wait()
        return found


def test_an_answer_older_than_the_version_is_not_kept(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (_, keys):
            slow = SlowKeys(keys)
            keyring = Keyring(slow)
            await keyring.start()
            key, _ = await keys.create(NewKey(name="k"))
            await keyring.refresh()
            slow.gate.clear()
            early = asyncio.create_task(refusal(keyring, key.digest))
            await until(lambda: slow.count == 1)
            await asyncio.sleep(0.05)  # the row is read, its answer held
            await keys.deactivate(key.id)
            await keyring.refresh()
            slow.gate.set()
            assert await early == "good"  # it was, when it was asked
            assert await refusal(keyring, key.digest) == "inactive"
            await keyring.close()

    run(test)


def test_those_who_ask_at_once_share_one_look_up_and_leave_alone(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (_, keys):
            slow = SlowKeys(keys)
            keyring = Keyring(slow)
            await keyring.start()
            key, _ = await keys.create(NewKey(name="k"))
            await keyring.refresh()
            slow.gate.clear()
            asking = [asyncio.create_task(refusal(keyring, key.digest)) for _ in range(50)]
            await until(lambda: slow.count == 1)
            asking[0].cancel()
            slow.gate.set()
            assert await asyncio.gather(*asking[1:]) == ["good"] * 49
            assert slow.count == 1
            await keyring.close()

    run(test)


def test_a_flood_of_random_keys_evicts_no_good_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with ringed(tmp_path, size=10, unknown_size=10) as (keys, keyring):
            key, _ = await keys.create(NewKey(name="k"))
            await keyring.refresh()
            assert await refusal(keyring, key.digest) == "good"
            for number in range(200):
                assert await refusal(keyring, number.to_bytes(32, "big")) == "unknown"
            assert keyring.find(key.digest, time.time()) is not None
            assert len(keyring._unknown) <= 10

    run(test)


def test_the_keys_used_last_are_kept_and_memory_is_bounded(tmp_path: Path) -> None:
    async def test() -> None:
        async with ringed(tmp_path, size=4) as (keys, keyring):
            made = [(await keys.create(NewKey(name="k")))[0].digest for _ in range(20)]
            await keyring.refresh()
            for at, digest in enumerate(made):
                await keyring.lookup(digest, time.time())
                for recent in made[max(0, at - 1) : at + 1] + made[:1]:
                    assert keyring.find(recent, time.time()) is not None
                held = [digest for digest in made if keyring.find(digest, time.time())]
                assert len(held) <= 8
            # A new version empties all of it.
            await keys.deactivate(1)
            await keyring.refresh()
            assert not [digest for digest in made if keyring.find(digest, time.time())]

    run(test)


def test_keys_of_a_disabled_owner_stop_though_nobody_told_this_process(tmp_path: Path) -> None:
    async def test() -> None:
        async with ringed(tmp_path) as (keys, keyring), opened(tmp_path) as (elsewhere, _):
            users = Users(elsewhere)
            user = await users.create("a@example.org")
            key, _ = await keys.create(NewKey(name="k", user_id=user.id))
            await keyring.refresh()
            assert await refusal(keyring, key.digest) == "good"
            await users.disable("a@example.org")
            began = time.monotonic()
            while await refusal(keyring, key.digest) == "good":
                assert time.monotonic() - began < 1
                await asyncio.sleep(0.01)

    run(test)


@pytest.mark.expects_log("cannot be asked")
@pytest.mark.expects_log("is back")
def test_revocations_arrive_again_after_the_database_was_unfit(tmp_path: Path) -> None:
    async def test() -> None:
        async with ringed(tmp_path) as (keys, keyring):
            key, _ = await keys.create(NewKey(name="k"))
            await keyring.refresh()
            assert await refusal(keyring, key.digest) == "good"
            other = sqlite3.connect(tmp_path / "rooya.db", isolation_level=None)
            row = other.execute("SELECT name, version FROM versions WHERE name = 'keys'").fetchone()
            other.execute("DELETE FROM versions")
            await until(lambda: not keyring.is_database_up)
            assert await refusal(keyring, key.digest) == "good"
            other.execute("INSERT INTO versions VALUES (?, ?)", row)
            other.execute("UPDATE api_keys SET disabled_at = 1")
            other.close()
            await until(lambda: keyring.is_database_up)
            assert await refusal(keyring, key.digest) == "inactive"

    run(test)


@pytest.mark.expects_log("cannot be asked")
@pytest.mark.expects_log("is back")
def test_without_the_database_known_keys_go_on_and_others_are_unavailable_not_unknown(tmp_path: Path) -> None:
    class Failing(ApiKeys):
        is_down = False

        async def look_up(self, digest: bytes) -> tuple[ApiKey | None, int]:
            if self.is_down:
                raise StoreUnavailable("disk I/O error")
            return await super().look_up(digest)

        async def version(self) -> int:
            if self.is_down:
                raise StoreUnavailable("disk I/O error")
            return await super().version()

    async def test() -> None:
        async with opened(tmp_path) as (database, keys):
            failing = Failing(database, keys._tiers)
            keyring = Keyring(failing)
            await keyring.start()
            key, _ = await keys.create(NewKey(name="k"))
            await keyring.refresh()
            assert await refusal(keyring, key.digest) == "good"
            failing.is_down = True
            await until(lambda: not keyring.is_database_up)
            assert await refusal(keyring, key.digest) == "good"
            with pytest.raises(StoreUnavailable):
                await ask(keyring, b"y" * 32)
            failing.is_down = False
            await until(lambda: keyring.is_database_up)
            assert await refusal(keyring, b"y" * 32) == "unknown"
            await keyring.close()

    run(test)


@pytest.fixture
def redis_socket(tmp_path: Path) -> Iterator[Path]:
    """A real redis-server of the test's own."""
    path = tmp_path / "redis.sock"
    arguments = [
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]
    server = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    yield path
    server.terminate()
    server.wait(10)


def test_redis_spares_the_database_and_is_believed_at_the_current_version_only(
    tmp_path: Path, redis_socket: Path
) -> None:
    async def test() -> None:
        redis = Redis(unix_socket_path=str(redis_socket))
        async with opened(tmp_path / "data") as (_, keys):
            first, second = SlowKeys(keys), SlowKeys(keys)
            rings = [Keyring(first, redis=redis), Keyring(second, redis=redis)]
            for ring in rings:
                await ring.start()
            key, plaintext = await keys.create(NewKey(name="k", models=frozenset({"a"})))
            for ring in rings:
                await ring.refresh()
            assert await refusal(rings[0], key.digest) == "good"
            while not await redis.exists(redis_name(key.digest)):  # written behind the answer
                await asyncio.sleep(0.005)
            assert (await ask(rings[1], key.digest)).models == frozenset({"a"})
            assert (first.count, second.count) == (1, 0)
            entry = await redis.get(redis_name(key.digest))
            assert plaintext.encode() not in entry
            await keys.deactivate(key.id)
            for ring in rings:
                await ring.refresh()
                assert await refusal(ring, key.digest) == "inactive"
            for ring in rings:
                await ring.close()
        await redis.aclose()

    run(test)


def test_the_word_spreads_by_redis_before_the_next_poll(
    tmp_path: Path, redis_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        redis = Redis(unix_socket_path=str(redis_socket))
        async with ringed(tmp_path / "data", redis=redis) as (keys, keyring):
            key, _ = await keys.create(NewKey(name="k"))
            assert await refusal(keyring, key.digest) == "good"
            monkeypatch.setattr("store.keyring.POLL_SECONDS", 60)
            await asyncio.sleep(0.3)  # the poll that was under way passes; the next is a minute off
            await keys.deactivate(key.id)
            end = time.monotonic() + 5
            while await refusal(keyring, key.digest) == "good":
                assert time.monotonic() < end
                await redis.publish("rooya:keys", "1")
                await asyncio.sleep(0.02)
        await redis.aclose()

    run(test)


def test_a_redis_that_is_gone_costs_nothing_but_a_database_look_up(tmp_path: Path) -> None:
    async def test() -> None:
        redis = Redis(unix_socket_path=str(tmp_path / "nobody.sock"))
        async with ringed(tmp_path / "data", redis=redis) as (keys, keyring):
            key, _ = await keys.create(NewKey(name="k"))
            assert await refusal(keyring, key.digest) == "good"
        await redis.aclose()

    run(test)


def test_a_redis_that_does_not_answer_holds_nobody_up_for_long_and_is_then_left_alone(tmp_path: Path) -> None:
    async def test() -> None:
        silent = await asyncio.start_unix_server(hold, tmp_path / "silent.sock")
        redis = Redis(unix_socket_path=str(tmp_path / "silent.sock"))
        async with ringed(tmp_path / "data", redis=redis) as (keys, keyring):
            waits = []
            for _ in range(3):
                key, _ = await keys.create(NewKey(name="k"))
                began = time.monotonic()
                assert (await keyring.lookup(key.digest, time.time())).id == key.id
                waits.append(time.monotonic() - began)
            assert waits[0] < 0.4
            assert max(waits[1:]) < 0.1
        await redis.aclose()
        silent.close()

    run(test)


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read all and say nothing."""
    while await reader.read(1000):
        pass
    writer.close()


def test_a_broken_redis_client_stops_neither_look_ups_nor_the_poll(tmp_path: Path) -> None:
    class Broken(Redis):
        async def execute_command(self, *words: object, **options: object) -> object:
            raise RuntimeError("unable to perform operation on <UnixTransport closed>")

    async def test() -> None:
        redis = Broken(unix_socket_path=str(tmp_path / "nobody.sock"))
        async with ringed(tmp_path / "data", redis=redis) as (keys, keyring):
            key, _ = await keys.create(NewKey(name="k"))
            assert await refusal(keyring, key.digest) == "good"
            for change, state in ((keys.deactivate, "inactive"), (keys.activate, "good")):
                await change(key.id)  # each is seen by the poll, which then tries to publish it
                began = time.monotonic()
                while await refusal(keyring, key.digest) != state:
                    assert time.monotonic() - began < 1
                    await asyncio.sleep(0.01)
        await redis.aclose()

    run(test)


def test_a_strange_entry_is_no_key() -> None:
    for text in (
        b"",
        b"{}",
        b"null",
        b"[1]",
        b'{"version": 1}',
        b'{"version": 1, "key": {"id": 1}}',
        b"\xff",
    ):
        assert decoded(text, b"d" * 32, 1) is None


def test_an_entry_survives_its_journey() -> None:
    key = ApiKey(
        1, None, "k", "sk-abcd", "wxyz", b"d" * 32, "free", 1, 2, None, "total", frozenset({"m"}), 5, None, 3
    )
    assert decoded(encoded(key, 7), key.digest, 7) == key
    assert decoded(encoded(key, 7), key.digest, 8) is None
