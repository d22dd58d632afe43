"""What settings are made of: a value for each table of rooya.toml, as frozen dataclasses.

The fields are those of `options.py`, read and checked by `settings.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

Networks = tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class Tier:
    """What a tier's name stands for: requests per minute, tokens per day."""

    rpm: int
    tpd: int


USUAL_TIERS: Final[Mapping[str, Tier]] = {
    "free": Tier(60, 100_000),
    "pro": Tier(300, 1_000_000),
    "enterprise": Tier(10_000, 100_000_000),
}


@dataclass(frozen=True, slots=True)
class Server:
    address: str
    unix: str
    port: int
    data_dir: Path
    public_url: str
    trusted_proxies: Networks
    max_body_bytes: int
    max_upload_bytes: int
    registration: str
    public_catalog: bool
    sync_catalog: bool
    processes: int


@dataclass(frozen=True, slots=True)
class Limits:
    redis_url: str = field(repr=False)  # may hold a password
    ip_rpm: int
    ip_scope: str
    ip_exempt: Networks
    tiers: Mapping[str, Tier]


@dataclass(frozen=True, slots=True)
class Timeouts:
    request_s: float
    stream_s: float
    connect_s: float
    first_byte_s: float
    idle_s: float


@dataclass(frozen=True, slots=True)
class Retry:
    retries: int


@dataclass(frozen=True, slots=True)
class Compat:
    strict_params: bool


@dataclass(frozen=True, slots=True)
class Ledger:
    journal_sync: str
    journal_required: bool
    retention_days: int
    retention_bytes: int


@dataclass(frozen=True, slots=True)
class Metrics:
    address: str


@dataclass(frozen=True, slots=True)
class Health:
    paid_probe_usd_per_day: float


@dataclass(frozen=True, slots=True)
class Oidc:
    """issuer: empty = nobody signs in that way."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name: str


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """A `[[providers]]` entry; api_keys are the secrets themselves."""

    name: str
    kind: str
    base_url: str | None
    api_keys: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TargetEntry:
    provider: str
    model: str
    weight: int = 1
    priority: int = 1


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A `[[models]]` entry; price in USD per million tokens; None = not given."""

    id: str
    targets: tuple[TargetEntry, ...]
    price: Mapping[str, float] | None
    max_output_tokens: int | None
    max_image_tokens: int | None
    request_s: float | None
    stream_s: float | None
    connect_s: float | None
    first_byte_s: float | None
    idle_s: float | None
