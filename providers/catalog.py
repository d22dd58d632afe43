"""What the vendors serve: the bundled catalogue (catalogue.json), read once, by whoever builds a router.

It says which vendor owns a model name and what is worth listing. It is no list of what may be called:
names that it does not know still resolve by `provider/id` or to the only provider.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib import resources
from typing import Any, Final

import ujson

LISTED_TYPES: Final = frozenset(("chat", "embedding", "completion"))  # what the endpoints can call


@dataclass(frozen=True, slots=True)
class PublicModel:
    """A model as GET /v1/models shows it. created: Unix seconds."""

    id: str
    created: int
    owned_by: str


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A row of the catalogue. provider: the vendor's kind. retires: the day the vendor ends it."""

    provider: str
    id: str
    type: str
    context: int | None
    max_output: int | None
    retires: date | None
    quirks: Mapping[str, Any] = field(default_factory=dict)

    def is_listed(self, today: date) -> bool:
        return self.type in LISTED_TYPES and (self.retires is None or today < self.retires)


class Catalog:
    """The rows, by name; several vendors may serve a model of the same name."""

    def __init__(self, models: tuple[CatalogModel, ...], created: int) -> None:
        self.models = models
        self.created = created
        self._by_id: dict[str, list[CatalogModel]] = {}
        for model in models:
            self._by_id.setdefault(model.id, []).append(model)

    @classmethod
    def bundled(cls) -> Catalog:
        text = resources.files("providers").joinpath("catalogue.json").read_text(encoding="utf-8")
        content = ujson.loads(text)
        models = tuple(_from_row(row) for row in content["models"])
        generated = datetime.fromisoformat(content["generated"]).replace(tzinfo=UTC)
        return cls(models, int(generated.timestamp()))

    def owners(self, model_id: str) -> list[str]:
        """The kinds of provider that serve a model of this name."""
        return [model.provider for model in self._by_id.get(model_id, ())]

    def find(self, kind: str, model_id: str) -> CatalogModel | None:
        """A vendor's model, None where the catalogue has no such row."""
        return next((model for model in self._by_id.get(model_id, ()) if model.provider == kind), None)

    def listed(self, kinds: frozenset[str], today: date) -> Iterator[CatalogModel]:
        """The models of these kinds of provider that are not retired."""
        return (model for model in self.models if model.provider in kinds and model.is_listed(today))


def _from_row(row: dict[str, Any]) -> CatalogModel:
    retires = row["retires"]
    return CatalogModel(
        row["provider"],
        row["id"],
        row["type"],
        row["context"],
        row["max_output"],
        None if retires is None else date.fromisoformat(retires),
        row.get("quirks", {}),
    )
