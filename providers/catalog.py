"""What the vendors serve: the bundled catalogue and aliases, and each provider's own list where it is known.

The bundle (catalogue.json, aliases.json) is read once, by whoever builds a router; lists join it by `using`.
It is no list of what may be called: names that it does not know still resolve by `provider/id` or to the only
provider. A provider's own list decides what is listed of it, and takes no name from the vendor who owns it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib import resources
from typing import Any, Final, NamedTuple

import ujson

from providers.model_lists import ListedModel, type_by_name
from providers.vendors import ROWS

LISTED_TYPES: Final = frozenset(("chat", "embedding", "completion"))  # what the endpoints can call
DATED: Final = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2})\Z")  # a name of a fixed version


class PublicModel(NamedTuple):
    """A model as GET /v1/models shows it. created: Unix seconds."""

    id: str
    created: int
    owned_by: str
    type: str = "chat"


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

    def is_over(self, today: date) -> bool:
        return self.retires is not None and today >= self.retires


@dataclass(frozen=True, slots=True)
class ProviderList:
    """A provider's own list as it was read last, and how reading it goes. Times are Unix seconds.

    undated: the names of its dated versions without their dates. read_at: None = never yet. failing_since:
    None = the last try went well. is_outage: the provider was not reached or failed, rather than refused.
    """

    models: Mapping[str, ListedModel]
    undated: frozenset[str] = frozenset()
    read_at: int | None = None
    latency_ms: int | None = None
    failing_since: int | None = None
    is_outage: bool = False

    def holds(self, model_id: str) -> bool:
        """Is it listed, by itself or by a dated version of it?"""
        return model_id in self.models or model_id in self.undated


def provider_list(models: Sequence[ListedModel], **facts: Any) -> ProviderList:
    """Of the rows of a list."""
    undated = frozenset(DATED.sub("", model.id) for model in models if model.id[-1].isdigit())
    return ProviderList({model.id: model for model in models}, undated, **facts)


class Catalog:
    """The rows, by name; several vendors may serve a model of the same name.

    aliases: public name -> kinds and their models that may stand for it, in order. lists: by provider's name.
    """

    def __init__(
        self,
        models: tuple[CatalogModel, ...],
        created: int,
        aliases: Mapping[str, Sequence[tuple[str, str]]],
        lists: Mapping[str, ProviderList],
    ) -> None:
        self.models = models
        self.created = created
        self.aliases = aliases
        self.lists = lists
        self._by_id: dict[str, list[CatalogModel]] = {}
        for model in models:
            self._by_id.setdefault(model.id, []).append(model)

    @classmethod
    def bundled(cls) -> Catalog:
        content = _bundle("catalogue.json")
        models = tuple(_from_row(row) for row in content["models"])
        generated = datetime.fromisoformat(content["generated"]).replace(tzinfo=UTC)
        aliases = {
            name: [(choice["provider"], choice["model"]) for choice in choices]
            for name, choices in _bundle("aliases.json").items()
        }
        return cls(models, int(generated.timestamp()), aliases, {})

    def using(self, lists: Mapping[str, ProviderList]) -> Catalog:
        """The same bundle beside other lists of the providers' own."""
        return Catalog(self.models, self.created, self.aliases, lists)

    def owners(self, model_id: str, today: date) -> list[str]:
        """The kinds of provider that serve a model of this name still."""
        return [model.provider for model in self._by_id.get(model_id, ()) if not model.is_over(today)]

    def find(self, kind: str, model_id: str) -> CatalogModel | None:
        """A vendor's model, None where the bundle has no such row."""
        return next((model for model in self._by_id.get(model_id, ()) if model.provider == kind), None)

    def known(self, provider: str, kind: str, model_id: str) -> CatalogModel | None:
        """All that is known of a provider's model: by its own list, then by the bundle."""
        bundled = self.find(kind, model_id)
        own = self.lists.get(provider)
        listed = None if own is None else own.models.get(model_id)
        if listed is None:
            return bundled
        retires = None if listed.retires is None else date.fromisoformat(listed.retires)
        quirks = ujson.loads(listed.quirks)
        if bundled is None:
            return CatalogModel(
                kind, model_id, listed.type, listed.context, listed.max_output, retires, quirks
            )
        return CatalogModel(
            kind,
            model_id,
            bundled.type,
            listed.context or bundled.context,
            listed.max_output or bundled.max_output,
            retires or bundled.retires,
            {**quirks, **bundled.quirks},
        )

    def type_of(self, provider: str, kind: str, model_id: str) -> str:
        """Chat, embedding, …; guessed by the name where nobody says."""
        known = self.known(provider, kind, model_id)
        return type_by_name(model_id) if known is None else known.type

    def lists_it(self, provider: str, model_id: str) -> bool:
        """Has the provider itself a model of this name?"""
        own = self.lists.get(provider)
        return own is not None and own.holds(model_id)

    def has(self, provider: str, kind: str, model_id: str, today: date) -> bool:
        """Is a model there for this provider, by its own list or, where that is not known, by the bundle?"""
        if self._has_list(provider):
            return self.lists_it(provider, model_id)
        bundled = self.find(kind, model_id)
        if bundled is None:
            # An alias may name it; but what a server at home has, only its list knows.
            return ROWS[kind].needs_secret
        return not bundled.is_over(today)

    def listed(self, provider: str, kind: str, today: date) -> Iterator[PublicModel]:
        """What can be called of a provider: the bundle's part of it first."""
        own = self.lists[provider].models if self._has_list(provider) else {}
        for row in self.models:
            if row.provider == kind and row.type in LISTED_TYPES and self.has(provider, kind, row.id, today):
                listed = own.get(row.id)
                created = (listed and listed.created) or self.created
                yield PublicModel(row.id, created, provider, row.type)
        for model in own.values():
            if model.type in LISTED_TYPES and self.find(kind, model.id) is None:
                yield PublicModel(model.id, model.created or self.created, provider, model.type)

    def _has_list(self, provider: str) -> bool:
        own = self.lists.get(provider)
        return own is not None and own.read_at is not None


def _bundle(name: str) -> dict[str, Any]:
    text = resources.files("providers").joinpath(name).read_text(encoding="utf-8")
    content: dict[str, Any] = ujson.loads(text)
    return content


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
