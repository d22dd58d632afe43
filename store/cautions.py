"""What a configuration may say but probably does not mean, one line each, for the start and for `check`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from store.settings import Settings

DEAREST_USD: Final = 1000.0  # per million tokens; what is above was meant for something else
LOCAL: Final = ("127.", "::1", "localhost")  # addresses that nobody else reaches
CHEAPEST_USD: Final = 0.001  # below it somebody has typed the price of one token


def cautions(settings: Settings) -> list[str]:
    """All of them."""
    return [*_open_doors(settings), *_unreachable_tiers(settings), *_odd_prices(settings)]


def _open_doors(settings: Settings) -> Iterator[str]:
    server = settings.server
    is_reached = bool(server.public_url) or not server.address.startswith(LOCAL)
    if server.registration == "open" and is_reached and settings.providers:
        yield (
            "anybody who reaches the dashboard can sign up, make keys and spend your providers' money within "
            'the free tier: set server.registration = "invite" if that is not meant'
        )


def _unreachable_tiers(settings: Settings) -> Iterator[str]:
    limits = settings.limits
    if limits.ip_scope != "all" or not limits.ip_rpm:
        return
    for name, tier in limits.tiers.items():
        if tier.rpm > limits.ip_rpm:
            yield (
                f"tier '{name}' allows {tier.rpm} requests a minute, but limits.ip_rpm stops each address at "
                f'{limits.ip_rpm}: raise it, or set limits.ip_scope = "anonymous"'
            )


def _odd_prices(settings: Settings) -> Iterator[str]:
    for model in settings.models:
        for name, usd in (model.price or {}).items():
            if usd > DEAREST_USD or 0 < usd < CHEAPEST_USD:
                yield f"model '{model.id}': price.{name} is {usd:g} USD per million tokens: is that meant?"
