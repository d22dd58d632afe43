"""What public names stand for: which providers serve a name, in which order, and under which name of theirs.

A name is looked up in the operator's models, then as `provider/id`, then among the models that vendors own by
the bundled catalogue, then in the providers' own lists, then among the aliases; then it goes to the only
provider. Of several providers the one that is configured first is tried first; a vendor goes before those who
merely list his model's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from providers.catalog import Catalog, PublicModel
from providers.errors import ModelNotFound
from providers.types import ModelSpec, TargetSpec

if TYPE_CHECKING:
    from providers.router import Provider


class Names:
    """Of the configured providers and the operator's models, by the catalogue in use."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        models: Mapping[str, ModelSpec],
        catalog: Catalog,
        today: Callable[[], date],
    ) -> None:
        self._providers = providers
        self._models = models
        self._catalog = catalog
        self._today = today
        self._listing: tuple[date, dict[str, PublicModel]] | None = None
        real = [provider for provider in providers.values() if not provider.adapter.local]
        self._only_provider = real[0] if len(real) == 1 else None
        self._real = real
        self._local = [provider for provider in providers.values() if provider.adapter.local]

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    @catalog.setter
    def catalog(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._listing = None

    def places(self, name: str) -> Sequence[TargetSpec]:
        """Where calls of a name may go; none = there is no such model."""
        spec = self._models.get(name)
        if spec is not None:
            return spec.targets
        prefix, slash, model = name.partition("/")
        if slash and model and prefix in self._providers:
            return self._at(self._providers[prefix], model)
        found = self._serving(name) or self._standing_for(name)
        if found:
            return found
        serving = next((provider for provider in self._local if name in provider.adapter.models), None)
        provider = serving or self._only_provider
        return self._at(provider, name) if provider is not None else ()

    def listing(self) -> Mapping[str, PublicModel]:
        """The operator's models, then the vendors' own, what else providers list, the aliases, the demo's.

        It is the same object until something changes.
        """
        today = self._today()
        if self._listing is None or self._listing[0] != today:
            found: dict[str, PublicModel] = {}
            for model in self._listed(today):
                found.setdefault(model.id, model)
            self._listing = today, found
        return self._listing[1]

    def model(self, model_id: str) -> PublicModel:
        """A listed model, by `provider/id` too. Raises ModelNotFound."""
        listing = self.listing()
        if model_id in listing:
            return listing[model_id]
        prefix, _, inner = model_id.partition("/")
        model = listing.get(inner)
        if model is None or not any(place.provider == prefix for place in self.places(inner)):
            raise ModelNotFound(model_id)
        return model._replace(id=model_id, owned_by=prefix)

    def _at(self, provider: Provider, model: str) -> Sequence[TargetSpec]:
        if provider.adapter.local and model not in provider.adapter.models:
            return ()
        return (TargetSpec(provider.name, model),)

    def _serving(self, name: str) -> list[TargetSpec]:
        kinds = self._catalog.owners(name, self._today())
        owning = [provider for provider in self._real if provider.kind in kinds]
        listing = [
            provider
            for provider in self._real
            if provider.kind not in kinds and self._catalog.lists_it(provider.name, name)
        ]
        return [
            TargetSpec(provider.name, name, priority=priority)
            for priority, provider in enumerate((*owning, *listing), 1)
        ]

    def _standing_for(self, alias: str) -> list[TargetSpec]:
        """The first of an alias's choices that a configured provider has."""
        today = self._today()
        for kind, model in self._catalog.aliases.get(alias, ()):
            for provider in self._real:
                if provider.kind == kind and self._catalog.has(provider.name, kind, model, today):
                    return [TargetSpec(provider.name, model)]
        return []

    def _listed(self, today: date) -> Iterator[PublicModel]:
        catalog, created = self._catalog, self._catalog.created
        for spec in self._models.values():
            yield PublicModel(spec.id, created, spec.targets[0].provider, self._type(spec.targets[0]))
        rows = [
            (provider, model)
            for provider in self._real
            for model in catalog.listed(provider.name, provider.kind, today)
        ]
        for provider, model in rows:
            if catalog.find(provider.kind, model.id) is not None:
                yield model
        yield from (model for _, model in rows)
        for alias in catalog.aliases:
            for place in self._standing_for(alias):
                yield PublicModel(alias, created, place.provider, self._type(place))
        for provider in self._local:
            yield from (PublicModel(name, created, provider.name) for name in provider.adapter.models)

    def _type(self, place: TargetSpec) -> str:
        kind = self._providers[place.provider].kind
        return self._catalog.type_of(place.provider, kind, place.model)
