"""What a verb of the command line is given, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from store.keys import ApiKeys
from store.settings import Settings
from store.usage import UsageReader
from store.users import Users


@dataclass(frozen=True, slots=True)
class Tables:
    """What a verb works on."""

    settings: Settings
    keys: ApiKeys
    users: Users
    usage: UsageReader


class Result(NamedTuple):
    """document: for --json. lines: for people. status: of the process."""

    document: Any
    lines: list[str]
    status: int = 0
