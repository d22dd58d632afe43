"""The published prices of models: questions on stdin, tariffs on stdout, one line of JSON each.

    python -m providers.price_lookup [--data FILE]

The only module that imports genai_prices, which takes a quarter of a second: it runs as a child that ends
with its input. Refuses to guess: a question names a provider or its URL beside the upstream's own model name,
and what the library does not know, or prices by anything else than tokens, is null and never zero.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from genai_prices import data_snapshot, types

from providers.pricing import DAY_S, Period, Price, Rates, Tariff, nanodollars

# the library's name -> the rate's name; a later line goes before an earlier one
TOKEN_PRICES: Final = (
    ("input_mtok", "input"),
    ("output_mtok", "output"),
    ("cache_read_mtok", "cached_input"),
    ("cache_write_mtok", "cache_write"),
    ("cache_write_5m_mtok", "cache_write"),
    ("cache_write_1h_mtok", "cache_write_1h"),
    ("output_reasoning_mtok", "reasoning"),
    ("input_audio_mtok", "audio_input"),
    ("cache_audio_read_mtok", "cached_audio"),
    ("output_audio_mtok", "audio_output"),
    ("input_image_mtok", "image_input"),
    ("output_image_mtok", "image_output"),
)
VARIES_BY: Final = ("service_tier", "speed")  # what an answer tells; batches are not served here
LONGEST_NAME: Final = 256
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Lookup:
    """Finds tariffs in the bundled data, or in a published data.json."""

    def __init__(self, data: Path | None = None) -> None:
        if data is None:
            self._snapshot = data_snapshot.get_snapshot()
            self._source = f"genai-prices {version('genai-prices')}"
            return
        raw = data.read_bytes()
        # As UpdatePrices.fetch() does with what it downloads; the library has no public name for it.
        providers = types._providers_from_raw(json.loads(raw))
        self._snapshot = data_snapshot.DataSnapshot(providers, from_auto_update=True)
        self._source = f"genai-prices data {hashlib.sha256(raw).hexdigest()[:12]}"

    def count(self) -> int:
        """Of the models that it has prices of."""
        return sum(len(provider.models) for provider in self._snapshot.providers)

    def answer(self, line: str) -> str:
        """The JSON of a tariff for a JSON question; `null` for what is unknown or no question."""
        try:
            question = json.loads(line)
            provider, api_url, model = (question[name] for name in ("provider", "api_url", "model"))
            tariff = self.find(provider, api_url, model)
        except (LookupError, ValueError, TypeError, AttributeError, RecursionError):
            return "null"
        return "null" if tariff is None else tariff.to_json()

    def find(self, provider_id: str | None, api_url: str | None, model: str) -> Tariff | None:
        """Raises LookupError where provider or model is unknown."""
        if not (provider_id or api_url) or not model or len(model) > LONGEST_NAME:
            return None
        provider, info = self._snapshot.find_provider_model(model, None, provider_id or None, api_url or None)
        # The library prices a model that it takes from another provider without that one's variants.
        is_own = any(each is info for each in provider.models)
        return tariff_of(info, self._source, has_variants=is_own)


def tariff_of(model: types.ModelInfo, source: str, has_variants: bool = True) -> Tariff | None:
    """Every time at which the library could answer otherwise is asked for; None where one has no price.

    A price holds between two dates and between two times of the day, whichever conditions led to it.
    """
    starts, seconds = _changes(model)
    known: dict[str, Price] = {}
    periods: list[Period] = []
    before: list[tuple[Price, int]] = []
    for start in starts:
        day: list[tuple[Price, int]] = []
        for second in seconds:
            price = _price_at(model, start + timedelta(seconds=second), source, has_variants)
            if price is None:
                return None
            price = known.setdefault(price.to_json(), price)
            if not day or day[-1][0] is not price:
                day.append((price, second))
        if day != before:
            since = None if start == LONG_AGO else int(start.timestamp())
            ends = [*(second for _, second in day[1:]), DAY_S]
            windows = [(second, end) for (_, second), end in zip(day, ends, strict=True)]
            periods += [
                Period(price, since, window if len(day) > 1 else None)
                for (price, _), window in zip(day, windows, strict=True)
            ]
        before = day
    return Tariff(tuple(periods))


def _changes(model: types.ModelInfo) -> tuple[list[datetime], list[int]]:
    """The dates, first long ago, and the seconds of the day, first 0, at which prices may change."""
    dates, seconds = {LONG_AGO}, {0}
    conditional = model.prices if isinstance(model.prices, list) else []
    for each in (*conditional, *(model.price_variants or ())):
        match each.constraint:
            case types.StartDateConstraint(start_date=date):
                dates.add(datetime.combine(date, time(), UTC))
            case types.TimeOfDateConstraint(start_time=start, end_time=end):
                seconds |= {_second_of_day(start), _second_of_day(end)}
    return sorted(dates), sorted(seconds)


def _second_of_day(moment: time) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(datetime.combine(LONG_AGO, moment).timestamp()) % DAY_S


def _price_at(model: types.ModelInfo, moment: datetime, source: str, has_variants: bool) -> Price | None:
    standard = _price(model.get_prices(moment), source)
    if standard is None:
        return None
    plain = standard.to_json()
    variants: dict[str, Price] = {}
    for key, value in _contexts(model) if has_variants else ():
        variant = _price(model.get_prices(moment, {key: value}), source)
        if variant is not None and variant.to_json() != plain:
            variants[f"{key}={value}"] = variant
    return Price(source, standard.rates, standard.tiers, MappingProxyType(variants))


def _contexts(model: types.ModelInfo) -> Iterator[tuple[str, str]]:
    for variant in model.price_variants or ():
        if len(variant.when) == 1:
            yield from ((key, value) for key, value in variant.when.items() if key in VARIES_BY)


def _price(prices: types.ModelPrice, source: str) -> Price | None:
    starts: set[int] = set()
    for name, _ in TOKEN_PRICES:
        value = getattr(prices, name)
        if isinstance(value, types.TieredPrices):
            starts |= {tier.start for tier in value.tiers}
    try:
        tiers = tuple((start, _rates(prices, start + 1)) for start in sorted(starts))
        return Price(source, _rates(prices, 0), tiers)
    except ValueError:
        return None


def _rates(prices: types.ModelPrice, input_tokens: int) -> Rates:
    """What a prompt of this size costs. Raises ValueError where tokens have no price."""
    known = {
        rate: nanodollars(usd)
        for name, rate in TOKEN_PRICES
        if (usd := _usd(getattr(prices, name), input_tokens)) is not None
    }
    fee = _usd(prices.requests_kcount, input_tokens)
    if fee is not None:
        known["request"] = nanodollars(fee / 1000)
    return Rates.from_known(known)


def _usd(value: Any, input_tokens: int) -> Decimal | None:
    if not isinstance(value, types.TieredPrices):
        return None if value is None else Decimal(value)
    reached = [tier.price for tier in value.tiers if input_tokens > tier.start]
    return reached[-1] if reached else value.base


def main(arguments: list[str] | None = None) -> None:
    """Answer line by line until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m providers.price_lookup", description=__doc__)
    parser.add_argument("--data", type=Path, help="a published data.json in place of the bundled prices")
    lookup = Lookup(parser.parse_args(arguments).data)
    for line in sys.stdin:
        print(lookup.answer(line), flush=True)


if __name__ == "__main__":
    main()
