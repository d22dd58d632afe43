"""A provider's kind -> the class that speaks to it. Only here does a vendor's name lead to code.

A vendor without a file of its own is a row in `vendors.py` and nothing else. Only known kinds are looked
for, so no word of a settings file ever names a module.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from providers.adapter import Adapter
from providers.openai import OpenAIAdapter
from providers.repairs import RepairingAdapter
from providers.types import ProviderSpec
from providers.vendors import ROWS, Vendor

HERE: Final = Path(__file__).parent


def load(kind: str) -> Callable[[ProviderSpec, Vendor], Adapter]:
    """The adapter class of a kind: its own file's, else by its row. Raises KeyError for an unknown kind."""
    row = ROWS[kind]
    if (HERE / f"{kind}.py").is_file():
        module = importlib.import_module(f"providers.{kind}")
        for candidate in vars(module).values():
            is_own = getattr(candidate, "__module__", None) == module.__name__
            if is_own and isinstance(candidate, type) and issubclass(candidate, Adapter):
                return candidate
        raise TypeError(f"{module.__name__} defines no adapter")
    return RepairingAdapter if row.repairs else OpenAIAdapter


def build(spec: ProviderSpec) -> Adapter:
    """The adapter of a configured provider. Raises KeyError (kind), ValueError (base_url or a secret)."""
    return load(spec.kind)(spec, ROWS[spec.kind])
