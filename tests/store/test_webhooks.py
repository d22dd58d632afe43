"""Webhooks at rest: who is told, once each, and what is tried again."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest

from store.audit import OPERATOR
from store.errors import NotFound
from store.webhooks import CLAIM_SECONDS, KEPT_SECONDS, Webhooks
from tests.store.stores import Clock, opened, run

KEY = b"k" * 32


def test_a_message_goes_to_all_and_to_each_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            webhooks = Webhooks(database, KEY, Clock())
            numbers = [(await webhooks.create(f"https://{n}.example.org", by=OPERATOR))[0] for n in range(3)]
            await webhooks.tell("provider.down", {"provider": "lab"})
            claimed = await asyncio.gather(*(webhooks.claim() for _ in range(4)))
            messages = [message for each in claimed for message in each]
            assert sorted(message.webhook_id for message in messages) == numbers
            body = json.loads(messages[0].body)
            assert (body["type"], body["data"]) == ("provider.down", {"provider": "lab"})
            assert await webhooks.claim() == []
            with pytest.raises(NotFound):
                await webhooks.tell("test", {}, to=99)

    run(test)


def test_what_is_told_once_is_told_by_one_process(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            webhooks = Webhooks(database, KEY, Clock())
            await webhooks.create("https://example.org", by=OPERATOR)
            told = await asyncio.gather(
                *(webhooks.tell_once("provider lab", "down", "provider.down", {}) for _ in range(5))
            )
            assert told.count(True) == 1
            assert not await webhooks.tell_once("provider other", "healthy", None, {})
            assert await webhooks.mark("provider other") == "healthy"
            assert await webhooks.tell_once("provider lab", "healthy", "provider.up", {})
            assert [message.event for message in await webhooks.claim()] == ["provider.down", "provider.up"]

    run(test)


def test_what_failed_is_due_again_and_so_is_what_a_dead_process_had_claimed(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            clock = Clock()
            webhooks = Webhooks(database, KEY, clock)
            await webhooks.create("https://example.org", by=OPERATOR)
            await webhooks.tell("test", {})
            (message,) = await webhooks.claim()
            assert message.attempts == 1
            clock.now += CLAIM_SECONDS
            (message,) = await webhooks.claim()  # who had it has died
            assert message.attempts == 2
            await webhooks.done(message.id, "503", again_in=30)
            clock.now += 29
            assert await webhooks.claim() == []
            clock.now += 1
            (message,) = await webhooks.claim()
            await webhooks.done(message.id, "200")
            clock.now += KEPT_SECONDS
            assert await webhooks.claim() == []
            (webhook,) = await webhooks.all()
            assert webhook.told == "test: 200"

    run(test)


def test_a_deleted_one_takes_its_messages_along(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            webhooks = Webhooks(database, KEY, Clock())
            number, _ = await webhooks.create("https://example.org", by=OPERATOR)
            await webhooks.tell("test", {})
            await webhooks.delete(number, by=OPERATOR)
            assert await webhooks.claim() == [] and await webhooks.all() == []
            with pytest.raises(NotFound):
                await webhooks.delete(number, by=OPERATOR)

    run(test)


def test_no_secret_is_stored(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(tmp_path) as (database, _):
            webhooks = Webhooks(database, KEY)
            secrets = [(await webhooks.create("https://example.org", by=OPERATOR))[1] for _ in range(2)]
            assert len(set(secrets)) == 2 and all(secret.startswith("whsec_") for secret in secrets)
            await webhooks.tell("test", {})
            claimed = await webhooks.claim()
            assert [webhooks.secret(one.webhook_id, one.salt) for one in claimed] == secrets
        for file in tmp_path.iterdir():
            content = file.read_bytes()
            for secret in secrets:
                assert secret.encode() not in content
                assert base64.b64decode(secret.removeprefix("whsec_")) not in content

    run(test)
