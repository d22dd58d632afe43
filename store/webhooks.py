"""Addresses that are told what happens, and the messages to them: written down before they are sent.

A message is sent by whoever claims it first, and is another's again where that one dies before it is done. No
secret is stored: what signs messages is derived from a salt here and the key that signs cookies.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from store.audit import Actor, Change, note
from store.database import Database, Transaction
from store.errors import NotFound

MOST: Final = 20  # addresses
CLAIM_SECONDS: Final = 60  # for an attempt; then another may try
CLAIMED_AT_ONCE: Final = 20
KEPT_SECONDS: Final = 7 * 86400
PREFIX: Final = "whsec_"


@dataclass(frozen=True, slots=True)
class Webhook:
    """told: of the last message, what came of it; empty where there was none."""

    id: int
    url: str
    created_at: int
    told: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """To be sent now. attempts: this one counted."""

    id: int
    webhook_id: int
    url: str
    salt: str
    event: str
    body: str
    attempts: int


class Webhooks:
    """key: the installation's own secret. clock: Unix seconds."""

    def __init__(self, database: Database, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._key = key
        self._clock = clock

    async def create(self, url: str, *, by: Actor) -> tuple[int, str]:
        """Its number, and what it checks signatures with."""
        salt, now = secrets.token_hex(16), int(self._clock())
        async with self._database.transaction() as transaction:
            number = await transaction.execute(
                "INSERT INTO webhooks (url, salt, created_at) VALUES (?, ?, ?)", (url, salt, now)
            )
            change = Change("webhook.create", f"webhook {number}", None, {"url": url})
            await note(transaction, by, change, now)
        return number, self.secret(number, salt)

    async def delete(self, number: int, *, by: Actor) -> None:
        """With its messages. Raises NotFound."""
        async with self._database.transaction() as transaction:
            row = await transaction.fetch_one("SELECT url FROM webhooks WHERE id = ?", (number,))
            if row is None:
                raise NotFound(f"webhook {number}")
            await transaction.execute("DELETE FROM webhooks WHERE id = ?", (number,))
            change = Change("webhook.delete", f"webhook {number}", {"url": row[0]}, None)
            await note(transaction, by, change, int(self._clock()))

    async def all(self) -> list[Webhook]:
        rows = await self._database.fetch_all(
            """SELECT w.id, w.url, w.created_at, coalesce((
                   SELECT event || ': ' || CASE WHEN told = '' THEN 'about to be sent' ELSE told END
                   FROM webhook_messages m WHERE m.webhook_id = w.id ORDER BY m.id DESC LIMIT 1
               ), '') FROM webhooks w ORDER BY w.id"""
        )
        return [Webhook(*row) for row in rows]

    async def tell(self, event: str, data: Mapping[str, Any], *, to: int | None = None) -> None:
        """A message to all, or to one. Raises NotFound."""
        async with self._database.transaction() as transaction:
            if not await self._write(transaction, event, data, to) and to is not None:
                raise NotFound(f"webhook {to}")

    async def tell_once(self, name: str, value: str, event: str | None, data: Mapping[str, Any]) -> bool:
        """A message to all, unless `value` has been told of `name` last. event: None = only remember it."""
        async with self._database.transaction() as transaction:
            row = await transaction.fetch_one("SELECT value FROM webhook_marks WHERE name = ?", (name,))
            if row is not None and row[0] == value:
                return False
            await transaction.execute(
                """INSERT INTO webhook_marks (name, value) VALUES (?, ?)
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value""",
                (name, value),
            )
            if event is not None:
                await self._write(transaction, event, data, None)
            return event is not None

    async def mark(self, name: str) -> str | None:
        """What has been told of it last."""
        row = await self._database.fetch_one("SELECT value FROM webhook_marks WHERE name = ?", (name,))
        return None if row is None else row[0]

    async def claim(self) -> list[Message]:
        """Those that are due, for one attempt each. What is long done goes."""
        now = int(self._clock())
        due = "SELECT 1 FROM webhook_messages WHERE due_at <= ? LIMIT 1"
        if await self._database.fetch_one(due, (now,)) is None:
            return []
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "DELETE FROM webhook_messages WHERE due_at IS NULL AND created_at < ?", (now - KEPT_SECONDS,)
            )
            rows = await transaction.fetch_all(
                """SELECT m.id, w.id, w.url, w.salt, m.event, m.body, m.attempts + 1
                   FROM webhook_messages m JOIN webhooks w ON w.id = m.webhook_id
                   WHERE m.due_at <= ? ORDER BY m.due_at LIMIT ?""",
                (now, CLAIMED_AT_ONCE),
            )
            for row in rows:
                await transaction.execute(
                    "UPDATE webhook_messages SET due_at = ?, attempts = attempts + 1 WHERE id = ?",
                    (now + CLAIM_SECONDS, row[0]),
                )
        return [Message(*row) for row in rows]

    async def done(self, message_id: int, told: str, *, again_in: int | None = None) -> None:
        """What came of an attempt. again_in: seconds until the next, None = there is none."""
        due_at = None if again_in is None else int(self._clock()) + again_in
        async with self._database.transaction() as transaction:
            await transaction.execute(
                "UPDATE webhook_messages SET told = ?, due_at = ? WHERE id = ?", (told, due_at, message_id)
            )

    def secret(self, number: int, salt: str) -> str:
        """As the Standard Webhooks have it: a prefix and base64."""
        digest = hmac.new(self._key, f"webhook {number} {salt}".encode(), hashlib.sha256).digest()
        return PREFIX + base64.b64encode(digest).decode()

    async def _write(
        self, transaction: Transaction, event: str, data: Mapping[str, Any], to: int | None
    ) -> int:
        now = int(self._clock())
        body = json.dumps({"type": event, "timestamp": now, "data": data}, ensure_ascii=False)
        found = await transaction.fetch_all("SELECT id FROM webhooks WHERE ? IS NULL OR id = ?", (to, to))
        for (number,) in found:
            await transaction.execute(
                """INSERT INTO webhook_messages (webhook_id, event, body, created_at, due_at)
                   VALUES (?, ?, ?, ?, ?)""",
                (number, event, body, now, now),
            )
        return len(found)
