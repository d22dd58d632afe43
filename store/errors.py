"""What the store's room can refuse or fail at."""

from __future__ import annotations


class SettingsError(Exception):
    """A configuration that must not be started with: which file, which key, which value, why."""

    def __init__(self, source: str, key: str, reason: str) -> None:
        super().__init__(f"{source}: {key}: {reason}" if key else f"{source}: {reason}")
        self.source = source
        self.key = key
        self.reason = reason


class StoreUnavailable(Exception):
    """The database cannot answer now (locked, read-only, full, gone). Never means "no such row"."""


class KeyRefused(Exception):
    """An API key that is not good for a call. `code` is one of unknown, inactive, expired."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class SchemaError(Exception):
    """The database's schema is not one this version can serve; the message says what to do."""


class NotFound(Exception):
    """No row of that id. `what` names it: "API key 7"."""

    def __init__(self, what: str) -> None:
        super().__init__(f"there is no {what}")
        self.what = what


class Invalid(Exception):
    """A value that must not be stored; the message says why."""


class LedgerFull(Exception):
    """What a call costs cannot be written down now: no room, or the disk refuses."""


class DataDirectoryTaken(Exception):
    """Another process serves this data directory, and without Redis only one may."""

    def __init__(self, data_dir: object) -> None:
        super().__init__(
            f"another process serves the data directory {data_dir}. Stop it first; for several processes "
            "on one directory set limits.redis_url and server.processes."
        )


class TookTooLong(Exception):
    """A report was given up after its time. Asking for less of it helps."""


class Overloaded(Exception):
    """Too many reports are being made at once. Asking again in a moment helps."""
