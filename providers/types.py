"""The values of the providers' room.

What is built once (specs, targets, endpoints) is frozen. What is built per call is slotted only:
a frozen dataclass costs an `object.__setattr__` per field, which is measurable on the hot path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from providers.health import Condition, Lane

if TYPE_CHECKING:
    from providers.adapter import Adapter
    from providers.catalog import CatalogModel
    from providers.pricing import Price

CHAT = "chat"
COMPLETIONS = "completions"
EMBEDDINGS = "embeddings"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds of one attempt in seconds, 0 = none of its own (the call's deadline always holds)."""

    connect_s: float = 5.0
    first_byte_s: float = 0.0
    idle_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A `[[providers]]` entry, or a provider switched on by the environment. Secrets never show in a repr."""

    name: str
    kind: str
    base_url: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """One entry of a model's `targets`: lower priority first; weights share calls among equals."""

    provider: str
    model: str
    weight: int = 1
    priority: int = 1


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A `[[models]]` entry: a public name and where it is served."""

    id: str
    targets: tuple[TargetSpec, ...]
    max_output_tokens: int | None = None
    max_image_tokens: int | None = None
    price: Price | None = None
    request_s: float | None = None
    stream_s: float | None = None
    timeouts: Timeouts | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a call goes, rendered once: origin and request head up to the value of Content-Length.

    `head` ends with `Content-Length: `, so that a request is head + decimal length + CRLF CRLF + body.
    It holds the vendor's secret and therefore never shows in a repr.
    """

    scheme: str
    host: str
    port: int
    head: bytes = field(repr=False)

    @classmethod
    def from_url(cls, method: str, url: str, headers: tuple[tuple[str, str], ...]) -> Endpoint:
        """Render an absolute http(s) URL and headers. Raises ValueError on what would not be HTTP."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an http(s) URL")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        authority = host if parts.port is None else f"{host}:{port}"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        own = (("Host", authority), ("User-Agent", "rooya"), ("Accept-Encoding", "identity"))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (*own, *headers))]
        if any(char in line for line in lines for char in "\r\n\0"):
            raise ValueError("a control character in a URL or header")
        head = "\r\n".join([*lines, "Content-Length: "]).encode("latin-1")
        return cls(parts.scheme, parts.hostname, port, head)


def join(base_url: str, path: str) -> str:
    """A path below a base URL; a query of the base URL stays at the end. Raises ValueError."""
    if not base_url.isascii() or any(char <= " " for char in base_url):
        raise ValueError("a URL is printable ASCII")
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path, fragment=""))


@dataclass(frozen=True, slots=True)
class Target:
    """A chosen destination: one model of one provider with one of its secrets.

    known: what the catalogue says of the model, None where it has no such row. lane: how it feels.
    """

    provider: str
    adapter: Adapter
    base_url: str
    model: str
    secret: str = field(repr=False)
    timeouts: Timeouts = Timeouts()
    kind: str = ""
    known: CatalogModel | None = None
    lane: Lane = field(default_factory=lambda: Lane(Condition("", ""), 0), compare=False, repr=False)


@dataclass(slots=True)
class Call:
    """One validated request of a client, in OpenAI's shape.

    payload: the parsed body, in which no key occurs twice. body: the bytes as received. verbatim: True
    where no key is written with escapes, so that a field can be found and spliced in the bytes; only
    then may they go up themselves. request_id: the gateway's own; client_request_id: the client's. passing:
    None, or what says whether the client's address may call: 0 or milliseconds to wait. first_choice: None,
    or the call is one of the parts that answer a client's call together, and this its first choice's index.
    is_extended: the client spoke another format, and the payload may say more than OpenAI's has words for.
    """

    operation: str
    model: str
    payload: dict[str, Any]
    body: bytes
    stream: bool
    verbatim: bool
    request_id: str
    client_request_id: str = ""
    passing: Awaitable[int] | None = None
    first_choice: int | None = None
    is_extended: bool = False

    @property
    def created(self) -> int:
        """Unix seconds; request ids begin with twelve hex digits of their millisecond."""
        return int(self.request_id[:12], 16) // 1000

    @property
    def wants_usage(self) -> bool:
        """Did the client ask for the usage chunk of a stream?"""
        options = self.payload.get("stream_options")
        return options is not None and (options.get("include_usage") is True or self.wants_cost)

    @property
    def wants_cost(self) -> bool:
        """Did the client ask for what a stream costs, in its usage chunk? (The gateway's own option.)"""
        options = self.payload.get("stream_options")
        return options is not None and options.get("include_cost") is True

    def __repr__(self) -> str:
        return f"Call({self.operation}, {self.model!r}, stream={self.stream}, {self.request_id})"


@dataclass(slots=True)
class UpstreamRequest:
    """What the transport sends: a prepared endpoint and a body."""

    endpoint: Endpoint
    body: bytes = field(repr=False)
    dropped: tuple[str, ...] = ()  # sampling hints the vendor does not take, named to the client
    is_sent: bool = False  # the transport has begun to write it


@dataclass(slots=True)
class Usage:
    """Tokens of a call, in OpenAI's accounting: what follows the first two is a part of its side.

    cache_write_tokens include cache_write_1h_tokens (entries that live an hour), audio_input_tokens include
    cached_audio_tokens, which are part of cached_tokens too. source: "reported" by the vendor or "estimated".
    variant: what the vendor says changes the price, such as "service_tier=flex"; empty if nothing does.
    cost_nanodollars: what the vendor says it charges, None where it does not say. is_unclear: the sums
    do not tell whether reasoning is part of the output. requests: to the vendor, of a call in several parts.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cached_audio_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    source: str = "reported"
    variant: str = ""
    cost_nanodollars: int | None = None
    is_unclear: bool = False
    requests: int = 1

    def plus(self, other: Usage) -> Usage:
        """Of two requests together. The cost is left out: prices depend on the size of each."""
        return Usage(
            **{name: getattr(self, name) + getattr(other, name) for name in COUNTS},
            source=self.source if self.source == other.source else "estimated",
            variant=self.variant or other.variant,
            is_unclear=self.is_unclear or other.is_unclear,
        )

    @property
    def is_common(self) -> bool:
        """Is there nothing in it that most answers never have?"""
        return not (
            self.variant
            or self.cost_nanodollars is not None
            or self.is_unclear
            or self.cache_write_1h_tokens
            or self.cached_audio_tokens
            or self.image_input_tokens
            or self.image_output_tokens
        )


COUNTS: Final = tuple(each.name for each in fields(Usage) if each.type == "int")  # of tokens


class Reply:
    """A whole answer: OpenAI-shaped JSON bytes, and the usage it reports.

    find_usage: finds the usage in the body when somebody asks, None = `usage` is all there is to know.
    """

    __slots__ = ("_find_usage", "_usage", "body")

    def __init__(
        self,
        body: bytes,
        usage: Usage | None = None,
        find_usage: Callable[[bytes], Usage | None] | None = None,
    ) -> None:
        self.body = body
        self._usage = usage
        self._find_usage = find_usage

    @property
    def usage(self) -> Usage | None:
        """None where the vendor reported none."""
        if self._find_usage is not None:
            self._usage = self._find_usage(self.body)
            self._find_usage = None
        return self._usage


@dataclass(slots=True)
class Chunk:
    """A piece of a streamed answer: whole SSE events ready for the client, and the usage they report."""

    data: bytes = field(repr=False)
    usage: Usage | None = None
