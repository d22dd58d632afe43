"""Every setting of rooya.toml as one table: type, default, bounds, one line of help.

What repeats (`[[providers]]`, `[[models]]`, tiers) has its fields here too. Types check and convert; they
raise ValueError with a reason that never repeats a secret.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

LOCAL: Final = (ip_network("127.0.0.1/32"), ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of value: its name in the documentation, and value of the file -> value of the program."""

    name: str
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. default: as the program has it; REQUIRED where there is none."""

    name: str
    kind: Kind
    default: Any
    doc: str


REQUIRED: Final = object()
MOST: Final = 10**15  # a wider whole number is a slip of the hand, and inexact in a Redis script
WORDS: Final = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array"}


def _typed(value: Any, wanted: type, expected: str) -> Any:
    if type(value) is not wanted:
        got = WORDS.get(type(value), "a table" if isinstance(value, dict) else type(value).__name__)
        raise ValueError(f"expected {expected}, got {got}")
    return value


def whole(low: int, high: int | None = None) -> Kind:
    """A whole number within bounds."""

    def read(value: Any) -> int:
        number: int = _typed(value, int, "an integer")
        if number < low or (high is not None and number > high):
            raise ValueError(f"{number} is not {_bounds(low, high)}")
        if number > MOST:
            raise ValueError(f"{number} is more than {MOST}")
        return number

    return Kind("integer", read)


def decimal(low: float, high: float | None = None) -> Kind:
    """A number within bounds."""

    def read(value: Any) -> float:
        number = float(value if type(value) is int else _typed(value, float, "a number"))
        if not math.isfinite(number) or number < low or (high is not None and number > high):
            raise ValueError(f"{value} is not {_bounds(low, high)}")
        return number

    return Kind("number", read)


def _bounds(low: float, high: float | None) -> str:
    return f"at least {low}" if high is None else f"from {low} to {high}"


def choice(*words: str) -> Kind:
    """One of some words."""

    def read(value: Any) -> str:
        word: str = _typed(value, str, "a string")
        if word not in words:
            raise ValueError(f"'{word}' is none of {', '.join(words)}")
        return word

    return Kind(" | ".join(words), read)


def url(*schemes: str) -> Kind:
    """A URL of one of the schemes, or an empty string."""

    def read(value: Any) -> str:
        text: str = _typed(value, str, "a string")
        if text and not _is_url(text, schemes):
            raise ValueError(f"expected a URL that begins with {', '.join(s + '://' for s in schemes)}")
        if "@" in text and text.startswith("http"):
            raise ValueError("holds a user or password: write secrets where they are kept secret")
        return text

    return Kind("URL", read)


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        if "+" in parts.scheme:  # several servers, for who connects to read
            return parts.scheme in schemes and bool(parts.netloc)
        place = parts.path if parts.scheme == "unix" else parts.hostname
        return parts.scheme in schemes and bool(place) and parts.port != 0
    except ValueError:
        return False


def _networks(value: Any) -> tuple[Any, ...]:
    found = []
    for item in _typed(value, list, "an array of addresses or networks"):
        try:
            found.append(ip_network(_typed(item, str, "an address or network as a string")))
        except ValueError as error:
            raise ValueError(f"'{item}' is no address or network: {error}") from None
    return tuple(found)


def _secrets(value: Any) -> tuple[str, ...]:
    return tuple(_filled(item) for item in _typed(value, list, "an array of strings"))


def _filled(value: Any) -> str:
    text: str = _typed(value, str, "a string")
    if not text:
        raise ValueError("is empty")
    return text


FLAG: Final = Kind("boolean", lambda value: _typed(value, bool, "a boolean"))
TEXT: Final = Kind("string", lambda value: _typed(value, str, "a string"))
NAME: Final = Kind("string", _filled)
PATH: Final = Kind("path", lambda value: value if isinstance(value, Path) else Path(_filled(value)))
NETWORKS: Final = Kind("array of addresses or CIDRs", _networks)
SECRETS: Final = Kind("array of env:NAME, file:PATH or literals", _secrets)
TABLE: Final = Kind("table", lambda value: _typed(value, dict, "a table"))
TABLES: Final = Kind("array of tables", lambda value: _typed(value, list, "an array of tables"))
SECONDS: Final = decimal(0, 86400)
SOME_SECONDS: Final = decimal(0.001, 86400)
REDIS: Final = url(
    *("redis", "rediss", "unix"),
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)

OPTIONS: Final = (
    Option("server.address", NAME, "127.0.0.1", "Where to listen."),
    Option("server.unix", TEXT, "", "Listen on this unix socket instead of address and port."),
    Option("server.port", whole(0, 65535), 8000, "The TCP port; 0 lets the system choose."),
    Option("server.data_dir", PATH, Path("data"), "Where everything lasting is kept; a local disk."),
    Option("server.public_url", url("http", "https"), "", "The address that clients use, behind nginx."),
    Option("server.trusted_proxies", NETWORKS, LOCAL, "Proxies whose X-Forwarded-For is believed."),
    Option("server.max_body_bytes", whole(1024), 33554432, "The largest request body."),
    Option("server.max_upload_bytes", whole(1024), 1073741824, "The largest upload."),
    Option("server.registration", choice("open", "invite", "closed"), "open", "Who may sign up."),
    Option("server.public_catalog", FLAG, True, "List the models to everybody."),
    Option("server.sync_catalog", FLAG, True, "Read the providers' own lists of models."),
    Option("server.processes", whole(1, 1024), 1, "How many processes share data_dir; over 1 needs Redis."),
    Option("limits.redis_url", REDIS, "", "Redis for limits shared by processes; empty: in the process."),
    Option("limits.ip_rpm", whole(0), 120, "Requests per minute of one address; 0 = off."),
    Option("limits.ip_scope", choice("all", "anonymous"), "all", "Whom ip_rpm counts."),
    Option("limits.ip_exempt", NETWORKS, (), "Addresses that ip_rpm does not count."),
    Option("limits.tiers", TABLE, {}, "Tiers: `[limits.tiers.NAME]` with rpm and tpd."),
    Option("timeouts.request_s", SOME_SECONDS, 30.0, "Seconds for a whole answer."),
    Option("timeouts.stream_s", SOME_SECONDS, 300.0, "Seconds for a whole stream."),
    Option("timeouts.connect_s", SOME_SECONDS, 5.0, "Seconds to connect to a provider."),
    Option("timeouts.first_byte_s", SECONDS, 0.0, "Seconds to the first byte; 0 = only the total."),
    Option("timeouts.idle_s", SECONDS, 0.0, "Seconds between two bytes; 0 = only the total."),
    Option("retry.retries", whole(0, 10), 2, "Further attempts after a failure that allows one."),
    Option("compat.strict_params", FLAG, False, "Refuse parameters that would be passed on or left out."),
    Option("ledger.journal_sync", choice("second", "always"), "second", "When the journal reaches the disk."),
    Option("ledger.journal_required", FLAG, True, "Refuse calls that cannot be written down."),
    Option("ledger.retention_days", whole(1), 90, "How long request rows are kept."),
    Option("ledger.retention_bytes", whole(1048576), 1073741824, "How much room request rows may take."),
    Option("metrics.address", TEXT, "", "Where /metrics listens; empty: main address, loopback only."),
    Option("health.paid_probe_usd_per_day", decimal(0, 1000), 0.0, "What paid health probes may cost."),
    Option(
        "oidc.issuer", url("http", "https"), "", "The OpenID provider that people sign in with; empty: none."
    ),
    Option("oidc.client_id", TEXT, "", "What the provider calls this gateway."),
    Option("oidc.client_secret", TEXT, "", "Its secret there: env:NAME, file:PATH, or the secret itself."),
    Option("oidc.name", NAME, "single sign-on", "What the button calls the provider."),
    Option("providers", TABLES, (), "The providers; see below."),
    Option("models", TABLES, (), "Models with names, fallbacks or prices of one's own; see below."),
)
TIER: Final = (
    Option("rpm", whole(1), REQUIRED, "Requests per minute."),
    Option("tpd", whole(1), REQUIRED, "Tokens per day."),
)
PROVIDER: Final = (
    Option("name", NAME, REQUIRED, "What targets and `name/model` call it."),
    Option("kind", NAME, REQUIRED, "openai, openai_compatible, azure, demo or a vendor's name."),
    Option(
        "base_url", url("http", "https"), "", "What precedes /chat/completions; the vendor's own if empty."
    ),
    Option("api_keys", SECRETS, (), "The provider's keys; several share the calls."),
)
MODEL: Final = (
    Option("id", NAME, REQUIRED, "The public name."),
    Option("targets", TABLES, REQUIRED, "Where it is served."),
    Option("price", TABLE, None, "USD per million tokens."),
    Option("max_output_tokens", whole(1), None, "The model's longest answer."),
    Option("max_image_tokens", whole(1), None, "The most that one image takes, for keys with a budget."),
    Option("request_s", SOME_SECONDS, None, "As in [timeouts], for this model."),
    Option("stream_s", SOME_SECONDS, None, "As in [timeouts], for this model."),
    Option("connect_s", SOME_SECONDS, None, "As in [timeouts], for this model."),
    Option("first_byte_s", SECONDS, None, "As in [timeouts], for this model."),
    Option("idle_s", SECONDS, None, "As in [timeouts], for this model."),
)
TARGET: Final = (
    Option("provider", NAME, REQUIRED, "The provider's name."),
    Option("model", NAME, REQUIRED, "The model's name there."),
    Option("weight", whole(1, 1000000), 1, "Its share among targets of one priority."),
    Option("priority", whole(1, 1000000), 1, "Lower is tried first."),
)
USD: Final = decimal(0, 100000)
# What is not priced would be free: input and output have to be given, 0 too.
PRICE: Final = (
    Option("input", USD, REQUIRED, "USD per million tokens."),
    Option("output", USD, REQUIRED, "USD per million tokens."),
    *(
        Option(name, USD, None, "USD per million tokens.")
        for name in ("cached_input", "cache_write", "reasoning", "audio_input", "audio_output")
    ),
)
