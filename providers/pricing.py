"""What a call costs: rates, prices and tariffs, and the one function that multiplies them with usage.

Pure arithmetic in whole nano-dollars, so that nothing is lost to floats: rates are nano-dollars per million
tokens ($2.50 is 2_500_000_000), a cost is rounded up to the next nano-dollar. Every token is billed once, at
its most specific rate. Refuses to guess: without a rate for input there is no price, and text that is not
what `to_json` wrote is a ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from decimal import ROUND_CEILING, Decimal
from types import MappingProxyType
from typing import Any, Final, TypeVar

from providers.types import Usage

MILLION: Final = 1_000_000
DAY_S: Final = 86_400

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars per million tokens of each sort; `request` is nano-dollars per request."""

    input: int
    output: int
    cached_input: int
    cache_write: int
    cache_write_1h: int
    reasoning: int
    audio_input: int
    cached_audio: int
    audio_output: int
    image_input: int
    image_output: int
    request: int

    @classmethod
    def from_known(cls, known: Mapping[str, int]) -> Rates:
        """What is not priced apart costs what it is a part of. Without a price of the input: ValueError.

        Cached audio is audio and cached: if both have a rate and it has none, the dearer counts.
        """
        if "input" not in known:
            raise ValueError("the input has no price")
        base = {"input": known["input"], "output": known.get("output", 0)}
        parts = (known[name] for name in ("cached_input", "audio_input") if name in known)
        filled = {
            "cached_input": base["input"],
            "cache_write": base["input"],
            "cache_write_1h": known.get("cache_write", base["input"]),
            "reasoning": base["output"],
            "audio_input": base["input"],
            "cached_audio": max(parts, default=base["input"]),
            "audio_output": base["output"],
            "image_input": base["input"],
            "image_output": base["output"],
            "request": 0,
        }
        return cls(**{**base, **filled, **known})


NAMES: Final = frozenset(each.name for each in fields(Rates))


@dataclass(frozen=True, slots=True, eq=False)
class Price:
    """What one model costs at one time. Compared by identity: who holds the same object holds the same price.

    tiers: (more input tokens than this, what every token of such a call costs), ascending. variants: what
    other ways of serving cost, by Usage.variant; one that is not there costs what the standard does.
    """

    source: str
    rates: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()
    variants: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType({}))

    def to_json(self) -> str:
        """The price as text, for the ledger."""
        return json.dumps(_plain_price(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Price:
        """The price that `to_json` wrote. Raises ValueError on anything else."""
        return _read(text, _read_price)


@dataclass(frozen=True, slots=True, eq=False)
class Period:
    """When a price holds: from `start` (unix seconds) on, within a daily window of seconds of the UTC day.

    A window whose end is before its start goes over midnight.
    """

    price: Price
    start: int | None = None
    window: tuple[int, int] | None = None

    def holds(self, now: float) -> bool:
        """Does the price hold at this time?"""
        if self.start is not None and now < self.start:
            return False
        if self.window is None:
            return True
        begin, end = self.window
        second = now % DAY_S
        return second >= begin or second < end if end < begin else begin <= second < end


class Tariff:
    """All prices of one model over time: the last period that holds counts, and the first where none does."""

    __slots__ = ("_only", "periods")

    def __init__(self, periods: tuple[Period, ...]) -> None:
        if not periods:
            raise ValueError("a tariff needs a price")
        self.periods = periods
        self._only = periods[0].price if len(periods) == 1 else None

    @classmethod
    def flat(cls, price: Price) -> Tariff:
        """One price for all times."""
        return cls((Period(price),))

    def at(self, now: float) -> Price:
        """The price at a time in unix seconds: always the same object for the same price."""
        if self._only is not None:
            return self._only
        for period in reversed(self.periods):
            if period.holds(now):
                return period.price
        return self.periods[0].price

    def to_json(self) -> str:
        """The tariff as text. Periods that share a price share it after reading, too."""
        prices = list(dict.fromkeys(period.price for period in self.periods))
        periods = [[each.start, each.window, prices.index(each.price)] for each in self.periods]
        whole = {"prices": [_plain_price(price) for price in prices], "periods": periods}
        return json.dumps(whole, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Tariff:
        """The tariff that `to_json` wrote. Raises ValueError on anything else."""
        return _read(text, _read_tariff)


def cost(price: Price, usage: Usage) -> int:
    """Nano-dollars that a call costs, rounded up. What the vendor says that it charges goes before any price.

    Once per call on the hot path: calls without audio, images and cache writes take the short way.
    """
    if usage.cost_nanodollars is not None:
        return usage.cost_nanodollars
    if usage.variant and price.variants:
        price = price.variants.get(usage.variant, price)
    rates = price.rates
    tokens = usage.input_tokens
    for above, of_tier in price.tiers:
        if tokens > above:
            rates = of_tier
    cached = usage.cached_tokens
    if (
        usage.cache_write_tokens
        or usage.audio_input_tokens
        or usage.audio_output_tokens
        or usage.image_input_tokens
        or usage.image_output_tokens
        or cached > tokens
        or (usage.reasoning_tokens and rates.reasoning != rates.output)
    ):
        return _cost_of_parts(rates, usage)
    total = (tokens - cached) * rates.input + cached * rates.cached_input + usage.output_tokens * rates.output
    return -(-total // MILLION) + rates.request


def _cost_of_parts(rates: Rates, usage: Usage) -> int:
    """What a vendor counts in two parts, and more than there is, is billed as the first of them here."""
    cached_audio = min(usage.cached_audio_tokens, usage.cached_tokens)
    written_1h = min(usage.cache_write_1h_tokens, usage.cache_write_tokens)
    total = _bill(
        usage.input_tokens,
        rates.input,
        (
            (cached_audio, rates.cached_audio),
            (usage.cached_tokens - cached_audio, rates.cached_input),
            (written_1h, rates.cache_write_1h),
            (usage.cache_write_tokens - written_1h, rates.cache_write),
            (usage.audio_input_tokens - cached_audio, rates.audio_input),
            (usage.image_input_tokens, rates.image_input),
        ),
    ) + _bill(
        usage.output_tokens,
        rates.output,
        (
            (usage.audio_output_tokens, rates.audio_output),
            (usage.image_output_tokens, rates.image_output),
            (usage.reasoning_tokens, rates.reasoning),
        ),
    )
    return -(-total // MILLION) + rates.request


def _bill(tokens: int, rate: int, parts: tuple[tuple[int, int], ...]) -> int:
    """Each part at its own rate as long as there are tokens left, and the rest at the side's."""
    total = 0
    for count, own in parts:
        if count > 0:
            taken = min(count, tokens)
            tokens -= taken
            total += taken * own
    return total + tokens * rate


def nanodollars(usd: Decimal | float | int) -> int:
    """US dollars in nano-dollars, rounded up; a float counts as it is written. ValueError on nonsense."""
    amount = Decimal(str(usd))
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{usd} is no amount of money")
    return int(amount.scaleb(9).to_integral_value(ROUND_CEILING))


def from_usd(per_million: Mapping[str, Decimal | float | int], source: str = "rooya.toml") -> Price:
    """A price in US dollars per million tokens, by the names of the fields of Rates; `input` is the least."""
    if unknown := sorted(per_million.keys() - NAMES):
        raise ValueError(f"no such rate: {', '.join(unknown)}")
    return Price(source, Rates.from_known({name: nanodollars(usd) for name, usd in per_million.items()}))


def _plain_price(price: Price) -> dict[str, Any]:
    plain: dict[str, Any] = {"source": price.source, "rates": asdict(price.rates)}
    if price.tiers:
        plain["tiers"] = [[above, asdict(rates)] for above, rates in price.tiers]
    if price.variants:
        plain["variants"] = {name: _plain_price(variant) for name, variant in price.variants.items()}
    return plain


def _read(text: str, read: Callable[[Any], T]) -> T:
    try:
        return read(json.loads(text))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a price: {error!r}") from None


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _read_rates(value: Any) -> Rates:
    """A rate that this version knows and the text's did not is filled in as for any price."""
    if unknown := value.keys() - NAMES:
        raise ValueError(f"no such rate: {', '.join(sorted(unknown))}")
    return Rates.from_known({name: _count(rate) for name, rate in value.items()})


def _read_price(value: Any) -> Price:
    source = value["source"]
    if type(source) is not str:
        raise ValueError("the source is no text")
    tiers = tuple((_count(above), _read_rates(rates)) for above, rates in value.get("tiers", ()))
    if list(tiers) != sorted(tiers, key=lambda tier: tier[0]):
        raise ValueError("the tiers are out of order")
    variants = {name: _read_price(variant) for name, variant in value.get("variants", {}).items()}
    return Price(source, _read_rates(value["rates"]), tiers, MappingProxyType(variants))


def _read_tariff(value: Any) -> Tariff:
    prices = [_read_price(price) for price in value["prices"]]
    periods = []
    for start, window, index in value["periods"]:
        if window is not None:
            begin, end = window
            window = (_count(begin), _count(end))
        if _count(index) >= len(prices):
            raise ValueError("a period without its price")
        periods.append(Period(prices[index], None if start is None else _count(start), window))
    return Tariff(tuple(periods))
