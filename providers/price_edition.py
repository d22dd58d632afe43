"""Which edition of the published prices holds: the bundled one of genai-prices, or one fetched since.

A fetched edition lies in the data directory under the number of the bundled one, which it is newer than;
once an upgrade brings another bundled edition, that one holds again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from providers.price_list import COMMAND


@dataclass(frozen=True, slots=True)
class Edition:
    """command: answers questions by this edition (see price_lookup). source: what rows say they come from."""

    command: tuple[str, ...]
    source: str


def fetched_path(data_dir: Path) -> Path:
    """Where an edition newer than the bundled one is kept."""
    return data_dir / f"prices-{version('genai-prices')}.json"


def current(data_dir: Path) -> Edition:
    """Raises OSError."""
    path = fetched_path(data_dir)
    if not path.exists():
        return Edition(COMMAND, f"genai-prices {version('genai-prices')}")
    return Edition((*COMMAND, "--data", str(path.absolute())), source_of(path.read_bytes()))


def source_of(data: bytes) -> str:
    """The name of a fetched edition."""
    return f"genai-prices data {hashlib.sha256(data).hexdigest()[:12]}"
