"""API keys as rows.

A key's secret (`sk-` and 48 letters and digits) is known to its holder alone; the table holds its
SHA-256. Secrets live in a table of their own, so that a rotation keeps the key's id, limits, budget
and spend, and the old secret may go on until its grace ends. Changes bump `keys_version` by trigger.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import string
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from store.audit import OPERATOR, Actor, Change, note
from store.database import Database, Transaction
from store.errors import Invalid, NotFound, StoreUnavailable
from store.types import ApiKey

ALPHABET: Final = string.ascii_letters + string.digits
SECRET_LENGTH: Final = 48
LONGEST_NAME: Final = 200
PERIODS: Final = ("total", "day", "week", "month")
MOST: Final = 2**53 - 1  # what a Redis script, counting in doubles, and a JSON number hold exactly

COLUMNS: Final = """k.id, k.user_id, k.name, s.prefix, s.last4, s.digest, k.tier, k.rpm, k.tpd,
    k.budget_nanodollars, k.budget_period, k.models, k.expires_at, k.disabled_at, k.created_at,
    k.spend_reset_at, k.max_parallel, s.expires_at, u.disabled_at"""
FROM: Final = (
    """FROM api_keys k JOIN api_key_secrets s ON s.key_id = k.id LEFT JOIN users u ON u.id = k.user_id"""
)
SELECT: Final = f"SELECT {COLUMNS} {FROM}"
# One statement is one read transaction, and one trip to the connection's thread where a snapshot takes four.
LOOK_UP: Final = f"""SELECT v.version, {COLUMNS} FROM versions v LEFT JOIN api_key_secrets s ON s.digest = ?
    LEFT JOIN api_keys k ON k.id = s.key_id LEFT JOIN users u ON u.id = k.user_id WHERE v.name = 'keys'"""

NO_VERSION: Final = "the table `versions` has lost its row 'keys': restore the database from a copy"

# What `update` may set: the column's name and nothing else ever reaches the SQL text.
CHANGEABLE: Final = frozenset(
    {
        "name",
        "tier",
        "rpm",
        "tpd",
        "budget_nanodollars",
        "budget_period",
        "models",
        "expires_at",
        "disabled_at",
        "disabled_by",
        "spend_reset_at",
        "max_parallel",
    }
)


FACTS: Final = (
    "name",
    "user_id",
    "tier",
    "rpm",
    "tpd",
    "budget_nanodollars",
    "budget_period",
    "models",
    "expires_at",
    "disabled_at",
    "spend_reset_at",
    "max_parallel",
)


class Tier(Protocol):
    """What a tier's name stands for."""

    @property
    def rpm(self) -> int: ...

    @property
    def tpd(self) -> int: ...


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key is created with. rpm, tpd: None = the tier's. models, max_parallel: None = any."""

    name: str
    tier: str = "free"
    user_id: int | None = None
    rpm: int | None = None
    tpd: int | None = None
    budget_nanodollars: int | None = None
    budget_period: str = "total"
    models: frozenset[str] | None = None
    expires_at: int | None = None
    max_parallel: int | None = None


class ApiKeys:
    """The table of API keys. tiers: what the names of tiers stand for now."""

    def __init__(
        self, database: Database, tiers: Mapping[str, Tier], clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._tiers = tiers
        self._clock = clock

    async def create(
        self, new: NewKey, *, by: Actor = OPERATOR, most: int | None = None
    ) -> tuple[ApiKey, str]:
        """Store a key; its row and its plaintext, which nobody can ask for again. Raises Invalid.

        most: keys that its account may have, None = any number.
        """
        self._check(vars_of(new))
        plaintext, digest = draw_secret()
        now = int(self._clock())
        try:
            async with self._database.transaction() as transaction:
                if most is not None:
                    await _check_count(transaction, new.user_id, most)
                key_id = await _insert_key(transaction, new, now)
                await _insert_secret(transaction, key_id, plaintext, digest, now)
                after = await _facts(transaction, key_id)
                await note(transaction, by, Change("key.create", f"key {key_id}", None, after), now)
        except sqlite3.IntegrityError as error:
            raise Invalid(f"there is no account {new.user_id}") from error
        return await self.find(key_id), plaintext

    async def find(self, key_id: int) -> ApiKey:
        """Raises NotFound."""
        async with self._database.snapshot() as snapshot:
            row = await snapshot.fetch_one(
                f"{SELECT} WHERE k.id = ? ORDER BY s.expires_at IS NULL DESC, s.created_at DESC", (key_id,)
            )
        if row is None:
            raise NotFound(f"API key {key_id}")
        return self._key(row, with_secret_expiry=False)

    async def list(self) -> list[ApiKey]:
        """Every key, by id, with its current secret."""
        async with self._database.snapshot() as snapshot:
            rows = await snapshot.fetch_all(f"{SELECT} WHERE s.expires_at IS NULL ORDER BY k.id")
        return [self._key(row, with_secret_expiry=False) for row in rows]

    async def list_of(self, user_id: int) -> Sequence[ApiKey]:
        """As `list`, of one account."""
        rows = await self._database.fetch_all(
            f"{SELECT} WHERE s.expires_at IS NULL AND k.user_id = ? ORDER BY k.id", (user_id,)
        )
        return [self._key(row, with_secret_expiry=False) for row in rows]

    async def disabled_by(self, key_id: int) -> int | None:
        """The account that deactivated a key; None where none did."""
        row = await self._database.fetch_one("SELECT disabled_by FROM api_keys WHERE id = ?", (key_id,))
        return None if row is None else row[0]

    async def uses(self) -> dict[int, int]:
        """key -> when it was last used, Unix seconds: to ten minutes on the last day, else to the day."""
        rows = await self._database.fetch_all(
            """SELECT key_id, max(at) FROM (
                   SELECT key_id, max(slice) * 600 + 599 AS at FROM key_tokens GROUP BY key_id
                   UNION ALL SELECT key_id, max(day) * 86400 FROM usage_daily GROUP BY key_id
               ) GROUP BY key_id"""
        )
        return dict(rows)

    async def spend(self, key_id: int, window: int) -> int:
        """What a key has spent in a window of its budget, nano-dollars, as far as calls are in the ledger."""
        row = await self._database.fetch_one(
            "SELECT cost_nanodollars FROM key_spend WHERE key_id = ? AND window = ?", (key_id, window)
        )
        return 0 if row is None else int(row[0])

    async def look_up(self, digest: bytes) -> tuple[ApiKey | None, int]:
        """The key of a secret and the `keys_version` at which that was so, read in one transaction.

        `expires_at` is the earlier one of the key's and the secret's, `disabled_at` also the owner's.
        """
        row = await self._database.fetch_one(LOOK_UP, (digest,))
        if row is None:
            raise StoreUnavailable(NO_VERSION)
        version, *fields = row
        return (None if fields[0] is None else self._key(fields, with_secret_expiry=True)), version

    async def version(self) -> int:
        """The current `keys_version`. Raises StoreUnavailable."""
        row = await self._database.fetch_one("SELECT version FROM versions WHERE name = 'keys'")
        if row is None:
            raise StoreUnavailable(NO_VERSION)
        return int(row[0])

    async def update(
        self, key_id: int, changes: Mapping[str, Any], *, by: Actor = OPERATOR, action: str = "key.update"
    ) -> ApiKey:
        """Set columns (see CHANGEABLE; models as a frozenset). Raises NotFound, Invalid."""
        unknown = set(changes) - CHANGEABLE
        if unknown:
            raise Invalid(f"these cannot be changed: {', '.join(sorted(unknown))}")
        if not changes:
            raise Invalid("nothing to change was given")
        self._check(changes)
        values = {**changes}
        if "models" in values:
            values["models"] = models_text(values["models"])
        settings = ", ".join(f"{column} = ?" for column in values)
        async with self._database.transaction() as transaction:
            before = await _facts(transaction, key_id)
            await transaction.execute(
                f"UPDATE api_keys SET {settings} WHERE id = ?", (*values.values(), key_id)
            )
            after = await _facts(transaction, key_id)
            await note(transaction, by, Change(action, f"key {key_id}", before, after), int(self._clock()))
        return await self.find(key_id)

    async def deactivate(self, key_id: int, *, by: Actor = OPERATOR) -> ApiKey:
        """Refuse the key from now on. Raises NotFound."""
        changes = {"disabled_at": int(self._clock()), "disabled_by": by.user_id}
        return await self.update(key_id, changes, by=by, action="key.deactivate")

    async def activate(self, key_id: int, *, by: Actor = OPERATOR) -> ApiKey:
        """Take a deactivation back. Raises NotFound."""
        changes = {"disabled_at": None, "disabled_by": None}
        return await self.update(key_id, changes, by=by, action="key.activate")

    async def rotate(self, key_id: int, grace_seconds: int, *, by: Actor = OPERATOR) -> tuple[ApiKey, str]:
        """A new secret; the old ones are good for grace_seconds more, 0 = no longer. Raises NotFound."""
        plaintext, digest = draw_secret()
        now = int(self._clock())
        async with self._database.transaction() as transaction:
            found = await transaction.fetch_one("SELECT id FROM api_keys WHERE id = ?", (key_id,))
            if found is None:
                raise NotFound(f"API key {key_id}")
            await transaction.execute(
                "DELETE FROM api_key_secrets WHERE key_id = ? AND expires_at <= ?", (key_id, now)
            )
            if grace_seconds:
                ends = now + grace_seconds
                await transaction.execute(
                    "UPDATE api_key_secrets SET expires_at = min(coalesce(expires_at, ?), ?) "
                    "WHERE key_id = ?",
                    (ends, ends, key_id),
                )
            else:
                await transaction.execute("DELETE FROM api_key_secrets WHERE key_id = ?", (key_id,))
            await _insert_secret(transaction, key_id, plaintext, digest, now)
            after = {"last4": plaintext[-4:], "grace_seconds": grace_seconds}
            await note(transaction, by, Change("key.rotate", f"key {key_id}", None, after), now)
        return await self.find(key_id), plaintext

    def _check(self, values: Mapping[str, Any]) -> None:
        if "name" in values and not values["name"].strip():
            raise Invalid("a key needs a name")
        if "name" in values and not values["name"].isprintable():
            raise Invalid("a key's name is of printable characters")
        if "name" in values and len(values["name"]) > LONGEST_NAME:
            raise Invalid(f"a key's name has at most {LONGEST_NAME} characters")
        if "tier" in values and values["tier"] not in self._tiers:
            raise Invalid(f"there is no tier '{values['tier']}' (there are {', '.join(self._tiers)})")
        if "budget_period" in values and values["budget_period"] not in PERIODS:
            raise Invalid(f"a budget's period is one of {', '.join(PERIODS)}")
        for name in ("rpm", "tpd", "max_parallel"):
            if values.get(name) is not None and not 1 <= values[name] <= MOST:
                raise Invalid(f"{name} must be at least 1 and at most {MOST}")
        if not 0 <= (values.get("budget_nanodollars") or 0) <= MOST:
            raise Invalid(f"a budget is 0 to {MOST} nano-dollars")

    def _key(self, row: Sequence[Any], *, with_secret_expiry: bool) -> ApiKey:
        *fields, secret_expires_at, owner_disabled_at = row
        tier, rpm, tpd = fields[6:9]
        usual = self._tiers.get(tier)
        if usual is not None:
            fields[7] = usual.rpm if rpm is None else rpm
            fields[8] = usual.tpd if tpd is None else tpd
        else:  # a tier that has left rooya.toml leaves its keys the least there is
            fields[7], fields[8] = rpm or 1, tpd or 1
        fields[11] = models_of(fields[11])
        if with_secret_expiry:
            ends = [at for at in (fields[12], secret_expires_at) if at is not None]
            fields[12] = min(ends, default=None)
            fields[13] = owner_disabled_at if fields[13] is None else fields[13]
        return ApiKey(*fields)


def vars_of(new: NewKey) -> dict[str, Any]:
    """A NewKey's fields by name."""
    return {name: getattr(new, name) for name in NewKey.__slots__}


def draw_secret() -> tuple[str, bytes]:
    """A fresh plaintext and its SHA-256."""
    plaintext = "sk-" + "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))
    return plaintext, hashlib.sha256(plaintext.encode()).digest()


def models_text(models: frozenset[str] | None) -> str | None:
    """The `models` column."""
    return None if models is None else json.dumps(sorted(models))


def models_of(text: str | None) -> frozenset[str] | None:
    """The column's value. One that somebody wrote by hand and nobody can read allows no model."""
    if text is None:
        return None
    try:
        names = json.loads(text)
    except (ValueError, TypeError):
        return frozenset()
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return frozenset(names) if is_list else frozenset()


async def _facts(transaction: Transaction, key_id: int) -> dict[str, Any]:
    """A key's columns by name, none of them secret. Raises NotFound."""
    row = await transaction.fetch_one(
        """SELECT name, user_id, tier, rpm, tpd, budget_nanodollars, budget_period, models, expires_at,
           disabled_at, spend_reset_at, max_parallel FROM api_keys WHERE id = ?""",
        (key_id,),
    )
    if row is None:
        raise NotFound(f"API key {key_id}")
    return dict(zip(FACTS, row, strict=True))


async def _check_count(transaction: Transaction, user_id: int | None, most: int) -> None:
    row = await transaction.fetch_one("SELECT count(*) FROM api_keys WHERE user_id = ?", (user_id,))
    if row is None or row[0] >= most:
        raise Invalid(f"an account has at most {most} keys")


async def _insert_key(transaction: Transaction, new: NewKey, now: int) -> int:
    return await transaction.execute(
        """INSERT INTO api_keys (user_id, name, tier, rpm, tpd, budget_nanodollars, budget_period,
           models, expires_at, created_at, max_parallel) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            new.user_id,
            new.name,
            new.tier,
            new.rpm,
            new.tpd,
            new.budget_nanodollars,
            new.budget_period,
            models_text(new.models),
            new.expires_at,
            now,
            new.max_parallel,
        ),
    )


async def _insert_secret(
    transaction: Transaction, key_id: int, plaintext: str, digest: bytes, now: int
) -> None:
    await transaction.execute(
        "INSERT INTO api_key_secrets (digest, key_id, prefix, last4, created_at) VALUES (?, ?, ?, ?, ?)",
        (digest, key_id, plaintext[:7], plaintext[-4:], now),
    )
