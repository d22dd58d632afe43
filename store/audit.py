"""Who changed what: a row for every change, written in the transaction of the change itself.

`before` and `after` hold only what differs, never a secret, a digest or a password.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from store.database import Database, Transaction

PAGE: Final = "page"
API: Final = "api"
COMMAND: Final = "command line"
MOST_ROWS: Final = 100


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change, and by which way. user_id: None = no account."""

    name: str
    way: str
    user_id: int | None = None


OPERATOR: Final = Actor("operator", COMMAND)


@dataclass(frozen=True, slots=True)
class Change:
    """action: a noun and a verb, such as `key.update`. subject: which row, such as `key 7`."""

    action: str
    subject: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A change as it is shown. at: Unix seconds; before, after: JSON."""

    id: int
    at: int
    actor: str
    way: str
    action: str
    subject: str
    before: str | None
    after: str | None


class AuditLog:
    """What has been written, the newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, *, below: int | None = None, subject: str = "") -> list[AuditRow]:
        """below: only rows older than that one. subject: only changes of that row."""
        rows = await self._database.fetch_all(
            """SELECT id, at, actor, way, action, subject, before, after FROM audit
               WHERE id < coalesce(?, 9223372036854775807) AND (? = '' OR subject = ?)
               ORDER BY id DESC LIMIT ?""",
            (below, subject, subject, MOST_ROWS),
        )
        return [AuditRow(*row) for row in rows]


async def note(transaction: Transaction, by: Actor, change: Change, now: int) -> None:
    """Write a change down, with the change."""
    before, after = change.before, change.after
    if before is not None and after is not None:
        same = {name for name in before if name in after and before[name] == after[name]}
        before = {name: value for name, value in before.items() if name not in same}
        after = {name: value for name, value in after.items() if name not in same}
    await transaction.execute(
        """INSERT INTO audit (at, user_id, actor, way, action, subject, before, after)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
        (now, by.user_id, by.name, by.way, change.action, change.subject, _text(before), _text(after)),
    )


def _text(values: Mapping[str, Any] | None) -> str | None:
    return None if values is None else json.dumps(values, ensure_ascii=False, sort_keys=True)
