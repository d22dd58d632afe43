"""Public model name -> targets, in the order in which they should be tried.

What a name stands for is said by `names`; what it resolves to is built once, until the catalogue changes; a
call only rotates. The spread among equals is smooth: 3:1 is served a a b a, never a a a b.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from cachetools import FIFOCache

from providers import errors, loader
from providers.adapter import Adapter
from providers.catalog import Catalog, ProviderList, PublicModel
from providers.errors import ModelNotFound, OperationNotOffered, ProviderError, ProviderMisconfigured
from providers.health import Health
from providers.model_lists import DIALECTS, USUAL
from providers.names import Names
from providers.price_list import Served
from providers.types import ModelSpec, ProviderSpec, Target, TargetSpec, Timeouts
from providers.vendors import ROWS, kinds

__all__ = ["PublicModel", "Router"]

MAX_ROUTES = 4096  # of resolved names; clients choose names where there is only one provider
MAX_ROUTED_NAME_CHARS = 256


@dataclass(frozen=True, slots=True)
class Provider:
    """A configured provider, ready to be called."""

    name: str
    kind: str
    adapter: Adapter
    base_url: str
    secrets: tuple[str, ...] = field(repr=False)


class Entry:
    """One entry of a route: a model of a provider, once for each of the provider's secrets."""

    __slots__ = ("_turn", "balance", "priority", "targets", "weight")

    def __init__(self, targets: tuple[Target, ...], weight: int = 1, priority: int = 1) -> None:
        self.targets = targets
        self.weight = weight
        self.priority = priority
        self.balance = 0
        self._turn = 0

    def rotated(self, now: float) -> tuple[Target, ...]:
        """The targets: secrets that do not rest first, and of those the ones with fewer calls under way."""
        if len(self.targets) == 1:
            return self.targets
        turn = self._turn
        self._turn = (turn + 1) % len(self.targets)
        turned = self.targets[turn:] + self.targets[:turn]
        return tuple(sorted(turned, key=lambda each: (not each.lane.is_ready(now), each.lane.in_flight)))


class Route:
    """What a name resolves to for one operation."""

    __slots__ = ("_groups", "_only")

    def __init__(self, entries: Sequence[Entry]) -> None:
        priorities = sorted({entry.priority for entry in entries})
        self._groups = [[e for e in entries if e.priority == priority] for priority in priorities]
        is_single = len(entries) == 1 and len(entries[0].targets) == 1
        self._only = entries[0].targets if is_single else None

    def next(self, now: float) -> tuple[Target, ...]:
        """One target of every entry, by priority and spread, then their further secrets in that order.

        What rests after failures comes last, in the same order; a call is its probe when the rest is over.
        """
        if self._only is not None:
            return self._only
        first: list[Target] = []
        further: list[Target] = []
        for group in self._groups:
            for entry in _spread(group):
                targets = entry.rotated(now)
                first.append(targets[0])
                further += targets[1:]
        ordered = sorted((*first, *further), key=lambda target: not target.lane.is_ready(now))
        ordered[0].lane.probe(now)
        return tuple(ordered)


def _spread(group: list[Entry]) -> list[Entry]:
    """Smooth weighted round robin (as in nginx); the rest follow in the order of their turn."""
    if len(group) == 1:
        return group
    total = 0
    for entry in group:
        entry.balance += entry.weight
        total += entry.weight
    ordered = sorted(group, key=_balance, reverse=True)
    ordered[0].balance -= total
    return ordered


def following(targets: Sequence[Target], tried: Sequence[Target], failure: ProviderError) -> Target | None:
    """Whom to ask after a failure: of an account or a rate limit another secret, of anything else another
    provider or model, then whatever was not asked yet. None = all were."""
    left = [target for target in targets if target not in tried]
    last = tried[-1]
    is_lanes = failure.kind in (errors.AUTH, errors.RATE_LIMIT)
    preferred = [target for target in left if (target.lane.condition is last.lane.condition) == is_lanes]
    return next(iter(preferred or left), None)


def _balance(entry: Entry) -> int:
    return entry.balance


class Router:
    """All configured providers and models. Build it with `from_specs`."""

    def __init__(
        self,
        *,
        providers: dict[str, Provider],
        models: dict[str, ModelSpec],
        timeouts: Timeouts,
        catalog: Catalog,
        today: Callable[[], date],
        health: Health,
    ) -> None:
        self._providers = providers
        self._models = models
        self._timeouts = timeouts
        self._names = Names(providers, models, catalog, today)
        self._health = health
        self._routes: FIFOCache[tuple[str, str], Route] = FIFOCache(MAX_ROUTES)

    @classmethod
    def from_specs(
        cls,
        providers: Sequence[ProviderSpec],
        models: Sequence[ModelSpec],
        timeouts: Timeouts,
        *,
        today: Callable[[], date] = date.today,
        health: Health | None = None,
    ) -> Router:
        """Raises ProviderMisconfigured."""
        built: dict[str, Provider] = {}
        for spec in providers:
            if spec.name in built:
                raise ProviderMisconfigured(f"[[providers]] {spec.name}", "the name is given twice")
            built[spec.name] = _build(spec)
        named: dict[str, ModelSpec] = {}
        for model in models:
            if model.id in named:
                raise ProviderMisconfigured(f"[[models]] {model.id}", "the id is given twice")
            _check(model, built)
            named[model.id] = model
        return cls(
            providers=built,
            models=named,
            timeouts=timeouts,
            catalog=Catalog.bundled(),
            today=today,
            health=health or Health(),
        )

    def targets(self, name: str, operation: str, now: float) -> Sequence[Target]:
        """At least one, the one to try first at the front. now: seconds, by the clock of the calls' health.

        Raises ModelNotFound, OperationNotOffered.
        """
        try:
            route = self._routes[name, operation]
        except KeyError:
            route = self._resolve(name, operation)
        return route.next(now)

    def use(self, lists: Mapping[str, ProviderList]) -> None:
        """Go by these lists of the providers' own from now on, and by what vendors have ended until today."""
        self._names.catalog = self._names.catalog.using(lists)
        self._routes.clear()

    @property
    def lists(self) -> Mapping[str, ProviderList]:
        """The providers' own lists in use, by the provider's name."""
        return self._names.catalog.lists

    def providers(self) -> list[ProviderSpec]:
        """All that are configured."""
        return [
            ProviderSpec(provider.name, provider.kind, provider.base_url, provider.secrets)
            for provider in self._providers.values()
        ]

    def listing_providers(self) -> list[ProviderSpec]:
        """Those who may have a list of their own."""
        return [spec for spec in self.providers() if DIALECTS.get(spec.kind, USUAL) is not None]

    def models(self) -> Mapping[str, PublicModel]:
        """What is listed, by name; the same object until it changes."""
        return self._names.listing()

    def model(self, model_id: str) -> PublicModel:
        """A listed model. Raises ModelNotFound."""
        return self._names.model(model_id)

    def places(self, name: str) -> Sequence[TargetSpec]:
        """Where calls of a name may go, in the order of their priority; none = there is no such model."""
        return self._names.places(name)

    def model_spec(self, name: str) -> ModelSpec | None:
        """The operator's own entry of a model: its price, time-outs and maximum output, where given."""
        return self._models.get(name)

    def first_target(self, name: str) -> Target:
        """Where a listed model is tried first. Raises ModelNotFound."""
        entries = self._entries(name)
        if not entries:
            raise ModelNotFound(name)
        return min(entries, key=lambda entry: entry.priority).targets[0]

    def target_at(self, name: str, place: TargetSpec) -> Target:
        """The target of a model at one of its places, with the secret that has the fewest calls."""
        spec = self._models.get(name)
        targets = self._entry(place, (spec and spec.timeouts) or self._timeouts).targets
        return min(targets, key=lambda target: target.lane.in_flight)

    def served(self) -> list[Served]:
        """What may have a published price: all that is listed, by the words of its providers."""
        found: dict[Served, None] = {}
        for name in self.models():
            for place in self.places(name):
                provider = self._providers[place.provider]
                found[Served(provider.kind, provider.base_url, place.model)] = None
        return [served for served in found if served.kind != "demo"]

    def _resolve(self, name: str, operation: str) -> Route:
        entries = self._entries(name)
        if not entries:
            raise ModelNotFound(name)
        offering = [entry for entry in entries if entry.targets[0].adapter.offers(operation)]
        if not offering:
            raise OperationNotOffered(name, operation)
        route = Route(offering)
        if len(name) <= MAX_ROUTED_NAME_CHARS:
            self._routes[name, operation] = route
        return route

    def _entries(self, name: str) -> list[Entry]:
        spec = self._models.get(name)
        timeouts = (spec and spec.timeouts) or self._timeouts
        return [self._entry(place, timeouts) for place in self.places(name)]

    def _entry(self, spec: TargetSpec, timeouts: Timeouts) -> Entry:
        provider = self._providers[spec.provider]
        known = self._names.catalog.known(provider.name, provider.kind, spec.model)
        targets = tuple(
            Target(
                provider.name,
                provider.adapter,
                provider.base_url,
                spec.model,
                secret,
                timeouts,
                provider.kind,
                known,
                self._health.lane(provider.name, spec.model, number),
            )
            for number, secret in enumerate(provider.secrets)
        )
        return Entry(targets, spec.weight, spec.priority)


def _build(spec: ProviderSpec) -> Provider:
    where = f"[[providers]] {spec.name}"
    if not spec.name or "/" in spec.name:
        raise ProviderMisconfigured(where, "a name is not empty and has no slash")
    row = ROWS.get(spec.kind)
    if row is None:
        near = difflib.get_close_matches(spec.kind, kinds(), 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ProviderMisconfigured(f"{where}: kind", f"'{spec.kind}' is not known{hint}")
    if row.needs_secret and not any(spec.secrets):
        raise ProviderMisconfigured(f"{where}: api_keys", "at least one is needed")
    base_url = spec.base_url or row.base_url
    if base_url is None:
        raise ProviderMisconfigured(f"{where}: base_url", "this kind of provider needs one")
    try:
        adapter = loader.build(spec)
    except ValueError as error:
        # The error may quote what it was given, a secret among it.
        message = "neither is a URL that can be called nor an api_key fit for a header"
        raise ProviderMisconfigured(f"{where}: base_url", message) from error
    secrets = tuple(secret for secret in spec.secrets if secret)
    return Provider(spec.name, spec.kind, adapter, base_url, secrets or ("",))


def _check(model: ModelSpec, providers: dict[str, Provider]) -> None:
    where = f"[[models]] {model.id}"
    if not model.id or not model.targets:
        raise ProviderMisconfigured(where, "an id and at least one target are needed")
    for target in model.targets:
        if target.provider not in providers:
            near = difflib.get_close_matches(target.provider, providers, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ProviderMisconfigured(
                f"{where}: targets", f"no provider is named '{target.provider}'{hint}"
            )
        if target.weight < 1:
            raise ProviderMisconfigured(f"{where}: targets", "a weight is at least 1")
