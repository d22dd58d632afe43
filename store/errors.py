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
