"""The settings' providers and models as the providers' room knows them: a router of all of them."""

from __future__ import annotations

from typing import Final

from handlers.relay import Conduct
from providers import pricing
from providers.health import Health
from providers.router import Router
from providers.types import ModelSpec, ProviderSpec, TargetSpec, Timeouts
from store.groups import ModelEntry
from store.settings import Settings

DEMO: Final = ProviderSpec(name="demo", kind="demo")


def build_router(settings: Settings, health: Health | None = None) -> Router:
    """Raises ProviderMisconfigured. health: what calls note how the vendors feel in, None = nobody asks."""
    timeouts = Timeouts(settings.timeouts.connect_s, settings.timeouts.first_byte_s, settings.timeouts.idle_s)
    providers = [ProviderSpec(p.name, p.kind, p.base_url, p.api_keys) for p in settings.providers]
    models = [model_spec(entry, timeouts) for entry in settings.models]
    return Router.from_specs(providers or [DEMO], models, timeouts, health=health)


def conduct(settings: Settings) -> Conduct:
    """How calls are made."""
    timeouts = settings.timeouts
    retries, is_strict = settings.retry.retries, settings.compat.strict_params
    return Conduct(timeouts.request_s, timeouts.stream_s, retries, is_strict)


def model_spec(entry: ModelEntry, timeouts: Timeouts) -> ModelSpec:
    """A `[[models]]` entry, its own time-outs over the general ones."""
    targets = tuple(TargetSpec(t.provider, t.model, t.weight, t.priority) for t in entry.targets)
    own = Timeouts(
        timeouts.connect_s if entry.connect_s is None else entry.connect_s,
        timeouts.first_byte_s if entry.first_byte_s is None else entry.first_byte_s,
        timeouts.idle_s if entry.idle_s is None else entry.idle_s,
    )
    price = None if entry.price is None else pricing.from_usd(entry.price)
    return ModelSpec(
        entry.id,
        targets,
        max_output_tokens=entry.max_output_tokens,
        max_image_tokens=entry.max_image_tokens,
        price=price,
        request_s=entry.request_s,
        stream_s=entry.stream_s,
        timeouts=own,
    )
