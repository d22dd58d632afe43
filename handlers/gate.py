"""What stands before every route: requests of an address are counted, and what a key has left is told.

The address comes first and its refusal replaces any other answer. `X-RateLimit-*` and OpenAI's names for the
same say what the decision about this very request left; an answer that no admission came before tells what
is left now.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from handlers.errors import AddressRefused, LimitRefused
from handlers.exchange import Exchange
from handlers.refusals import Refusals
from limits.errors import LimiterUnavailable
from limits.types import Claim, Limiter, Rules
from limits.windows import Windows
from store.errors import StoreUnavailable
from store.types import ApiKey

MOST_NAMES: Final = 4096  # remembered, then forgotten all at once
MOST_LIMITS: Final = 256
IPV6_PREFIX: Final = 64  # what one customer of a provider usually holds
FIELDS: Final = (
    b"X-RateLimit-Limit-RPM: %d\r\nX-RateLimit-Remaining-RPM: %%d\r\n"
    b"X-RateLimit-Limit-TPD: %d\r\nX-RateLimit-Remaining-TPD: %%d\r\n"
    b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %%d\r\n"
    b"x-ratelimit-reset-requests: %%ds\r\n"
    b"x-ratelimit-limit-tokens: %d\r\nx-ratelimit-remaining-tokens: %%d\r\n"
    b"x-ratelimit-reset-tokens: %%ds\r\n"
)


class Addresses:
    """How addresses are counted: a name for each that counts, an empty one for the exempt."""

    def __init__(self, exempt: Sequence[IPv4Network | IPv6Network]) -> None:
        self._exempt = tuple(exempt)
        self._names: dict[str, str] = {}

    def name(self, address: str) -> str:
        """An IPv4 address itself, of an IPv6 address its network, `unix` where nobody said more."""
        found = self._names.get(address)
        if found is None:
            if len(self._names) >= MOST_NAMES:
                self._names.clear()
            found = self._names[address] = self._find(address)
        return found

    def _find(self, address: str) -> str:
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return address
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        if any(parsed in network for network in self._exempt):
            return ""
        if isinstance(parsed, IPv6Address):
            return str(IPv6Network((parsed, IPV6_PREFIX), strict=False))
        return str(parsed)


class Gate:
    """ip_rpm: 0 = addresses are not counted. is_for_all: else only requests without a valid key are.

    clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        limiter: Limiter,
        refusals: Refusals,
        addresses: Addresses,
        ip_rpm: int,
        is_for_all: bool,
        clock: Callable[[], float],
    ) -> None:
        self._limiter = limiter
        self._refusals = refusals
        self._addresses = addresses
        self._ip_rpm = ip_rpm
        self.is_for_all = is_for_all
        self._clock = clock
        self._windows = Windows()
        self._fields: dict[tuple[int, int], bytes] = {}

    def enter(self, exchange: Exchange) -> None:
        """Count a request that came with what may be a key. Raises AddressRefused, now or by `passing`."""
        if self._ip_rpm and self.is_for_all:
            exchange.passing = self._count(exchange)

    async def enter_without_key(self, exchange: Exchange) -> None:
        """Count a request that came without one. Raises AddressRefused, LimiterUnavailable."""
        if self._ip_rpm:
            await pass_(self._count(exchange))

    async def explain(self, exchange: Exchange, error: Exception) -> tuple[Exception, bytes]:
        """What a request fails with after all, and the header lines that tell what its key has left."""
        if isinstance(error, LimitRefused) and exchange.key is not None:
            self._refusals.note(exchange.key.id, error.claim.refusal)
        try:
            if exchange.passing is not None:
                await pass_(exchange.passing)
            elif exchange.key is None and not self.is_for_all:
                await self.enter_without_key(exchange)
        except AddressRefused as refused:
            return refused, b""
        except (LimiterUnavailable, StoreUnavailable):
            return error, b""
        return error, b"" if exchange.key is None else await self.fields_of(exchange.key)

    async def fields_of(self, key: ApiKey) -> bytes:
        """The header lines that tell what a key has left now; none where nobody can tell."""
        try:
            return self.fields(await self.left(key))
        except (LimiterUnavailable, StoreUnavailable):
            return b""

    def _count(self, exchange: Exchange) -> Awaitable[int] | None:
        name = self._addresses.name(exchange.client_address)
        verdict = self._limiter.count(name, self._ip_rpm) if name else 0
        if verdict == 0:
            return None
        if isinstance(verdict, int):
            raise AddressRefused(verdict)
        return verdict

    async def left(self, key: ApiKey) -> Claim:
        """What a key has left; nothing is taken. Raises LimiterUnavailable."""
        claim = Claim()
        claim.claim_id = ""
        claim.key_id = key.id
        claim.rules = key
        claim.requests = claim.tokens = claim.incarnation = 0
        claim.worst_nanodollars = claim.least_nanodollars = 0
        claim.window = self._windows.start(key.budget_period, key.spend_reset_at, self._clock())
        waiting = self._limiter.peek(claim)
        if waiting is not None:
            await waiting
        return claim

    def reset_at(self, key: ApiKey) -> int | None:
        """When the budget's window ends, Unix seconds; None if never."""
        return self._windows.end(key.budget_period, self._clock())

    def fields(self, claim: Claim) -> bytes:
        """The header lines that tell what is left."""
        rules = claim.rules
        limits = rules.rpm, rules.tpd
        fields = self._fields.get(limits)
        if fields is None:
            if len(self._fields) >= MOST_LIMITS:
                self._fields.clear()
            fields = self._fields[limits] = _rendered(rules)
        requests, tokens = claim.requests_left, claim.tokens_left
        return fields % (
            requests,
            tokens,
            requests,
            -(-claim.requests_reset_ms // 1000),
            tokens,
            -(-claim.tokens_reset_ms // 1000),
        )


async def pass_(passing: Awaitable[int] | None) -> None:
    """Raises AddressRefused."""
    if passing is not None and (wait_ms := await passing):
        raise AddressRefused(wait_ms)


def _rendered(rules: Rules) -> bytes:
    return FIELDS % (rules.rpm, rules.tpd, rules.rpm, rules.tpd)
