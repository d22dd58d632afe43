"""Prices, tariffs and cost(): each token once, never less for more, and as genai-prices itself calculates."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from datetime import UTC, date, datetime, time
from decimal import Decimal
from random import Random
from types import MappingProxyType
from typing import Any, Final

import genai_prices
import pytest
from genai_prices import data_snapshot, types
from hypothesis import given
from hypothesis import strategies as st

from providers.price_lookup import tariff_of
from providers.pricing import NAMES, Period, Price, Rates, Tariff, cost, from_usd, nanodollars
from providers.types import Usage

MONDAY: Final = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
INPUT_PARTS: Final = ("input", "cached_input", "cache_write", "cache_write_1h", "audio_input", "cached_audio")
INPUTS: Final = (*INPUT_PARTS, "image_input")
OUTPUTS: Final = ("output", "reasoning", "audio_output", "image_output")
COUNTS: Final = [each.name for each in fields(Usage) if each.name.endswith("_tokens")]

rates = st.builds(
    lambda base, parts: Rates.from_known({"input": base, **parts}),
    st.integers(0, 10**12),
    st.dictionaries(st.sampled_from(sorted(NAMES - {"input"})), st.integers(0, 10**12)),
)
tiers = st.lists(st.tuples(st.integers(0, 10**6), rates), max_size=3, unique_by=lambda tier: tier[0])
plain_prices = st.builds(
    lambda source, of, above: Price(source, of, tuple(sorted(above, key=lambda tier: tier[0]))),
    st.text(max_size=20),
    rates,
    tiers,
)
prices = st.builds(
    lambda price, variants: Price(price.source, price.rates, price.tiers, MappingProxyType(variants)),
    plain_prices,
    st.dictionaries(st.text(max_size=20), plain_prices, max_size=2),
)
usages = st.builds(Usage, **{name: st.just(0) | st.integers(0, 10**6) for name in COUNTS})
SECONDS: Final = st.integers(0, 86_400)
tariffs = st.builds(
    lambda pool, rows: Tariff(
        tuple(Period(pool[index % len(pool)], start, window) for index, start, window in rows)
    ),
    st.lists(prices, min_size=1, max_size=3),
    st.lists(
        st.tuples(
            st.integers(0, 9), st.none() | st.integers(0, 2**32), st.none() | st.tuples(SECONDS, SECONDS)
        ),
        min_size=1,
        max_size=4,
    ),
)


def decoding(names: tuple[str, ...]) -> Price:
    """A price whose costs tell how many tokens were billed at which of these rates."""
    each = {name: 10 ** (6 + 8 * names.index(name)) if name in names else 0 for name in NAMES - {"request"}}
    return Price("decoding", Rates(**each, request=0))


def billed(names: tuple[str, ...], usage: Usage) -> dict[str, int]:
    whole = cost(decoding(names), usage)
    return {name: whole // 10 ** (8 * index) % 10**8 for index, name in enumerate(names)}


@given(usages)
def test_every_token_is_billed_once_whatever_the_parts_say(usage: Usage) -> None:
    inputs, outputs = billed(INPUTS, usage), billed(OUTPUTS, usage)
    assert sum(inputs.values()) == usage.input_tokens
    assert sum(outputs.values()) == usage.output_tokens
    assert inputs["cached_input"] + inputs["cached_audio"] == min(usage.cached_tokens, usage.input_tokens)
    assert inputs["cached_audio"] <= usage.cached_audio_tokens
    assert inputs["cache_write"] + inputs["cache_write_1h"] <= usage.cache_write_tokens
    assert inputs["cache_write_1h"] <= usage.cache_write_1h_tokens
    assert inputs["audio_input"] <= usage.audio_input_tokens
    assert inputs["image_input"] <= usage.image_input_tokens
    assert outputs["reasoning"] <= usage.reasoning_tokens
    assert outputs["audio_output"] <= usage.audio_output_tokens
    assert outputs["image_output"] <= usage.image_output_tokens


def usage_with(parts: dict[str, int]) -> Usage:
    """What a vendor reports for these disjoint parts."""
    return Usage(
        input_tokens=sum(parts[name] for name in INPUTS),
        output_tokens=sum(parts[name] for name in OUTPUTS),
        cached_tokens=parts["cached_input"] + parts["cached_audio"],
        cached_audio_tokens=parts["cached_audio"],
        cache_write_tokens=parts["cache_write"] + parts["cache_write_1h"],
        cache_write_1h_tokens=parts["cache_write_1h"],
        audio_input_tokens=parts["audio_input"] + parts["cached_audio"],
        image_input_tokens=parts["image_input"],
        reasoning_tokens=parts["reasoning"],
        audio_output_tokens=parts["audio_output"],
        image_output_tokens=parts["image_output"],
    )


@given(st.fixed_dictionaries({name: st.integers(0, 10**6) for name in (*INPUTS, *OUTPUTS)}))
def test_every_token_is_billed_at_its_most_specific_rate(parts: dict[str, int]) -> None:
    usage = usage_with(parts)
    assert billed(INPUTS, usage) | billed(OUTPUTS, usage) == parts


@given(plain_prices, usages, st.sampled_from(["input_tokens", "output_tokens"]), st.integers(0, 10**6))
def test_more_tokens_never_cost_less(price: Price, usage: Usage, side: str, more: int) -> None:
    """Within one tier: a vendor could let a long prompt cost less."""
    flat = Price(price.source, price.rates)
    before = cost(flat, usage)
    setattr(usage, side, getattr(usage, side) + more)
    assert 0 <= before <= cost(flat, usage)


@given(prices, usages)
def test_a_cost_is_the_exact_sum_rounded_up(price: Price, usage: Usage) -> None:
    of = next((of for above, of in reversed(price.tiers) if usage.input_tokens > above), price.rates)
    counts = billed(INPUTS, usage) | billed(OUTPUTS, usage)
    exact = sum(Decimal(tokens * getattr(of, name)) / 1_000_000 for name, tokens in counts.items())
    assert cost(price, usage) == math.ceil(exact) + of.request


def test_a_tier_reprices_every_token_from_the_first_one_above() -> None:
    low, middle, high = (
        Rates.from_known({"input": rate, "output": rate}) for rate in (10**6, 2 * 10**6, 10**7)
    )
    price = Price("it", low, ((100, middle), (200, high)))
    sizes = (0, 100, 101, 200, 201)
    assert [cost(price, Usage(size, 1)) for size in sizes] == [1, 101, 204, 402, 2020]


def test_what_the_vendor_charges_goes_before_every_price() -> None:
    price = from_usd({"input": 1})
    assert cost(price, Usage(1000, cost_nanodollars=7)) == 7
    assert cost(price, Usage(1000, cost_nanodollars=0)) == 0
    assert cost(price, Usage(1000)) == 1_000_000


def test_a_variant_has_its_own_price_and_an_unknown_one_the_standard() -> None:
    flex, standard = from_usd({"input": 1}), from_usd({"input": 2})
    price = Price("it", standard.rates, variants={"service_tier=flex": flex})
    costs = [cost(price, Usage(1, variant=variant)) for variant in ("", "service_tier=flex", "speed=fast")]
    assert costs == [2000, 1000, 2000]


def test_what_is_not_priced_apart_costs_what_it_is_a_part_of() -> None:
    of = Rates.from_known({"input": 2, "output": 3})
    assert {name: getattr(of, name) for name in INPUTS} == dict.fromkeys(INPUTS, 2)
    assert {name: getattr(of, name) for name in OUTPUTS} == dict.fromkeys(OUTPUTS, 3)
    assert of.request == 0
    assert Rates.from_known({"input": 2, "cache_write": 5}).cache_write_1h == 5
    assert Rates.from_known({"input": 2, "cache_write": 5, "cache_write_1h": 9}).cache_write_1h == 9
    assert Rates.from_known({"input": 2, "cached_input": 1}).cached_audio == 1
    assert Rates.from_known({"input": 2, "audio_input": 40}).cached_audio == 40
    assert Rates.from_known({"input": 2, "cached_input": 1, "audio_input": 40}).cached_audio == 40
    assert Rates.from_known({"input": 0, "cached_input": 0}).cached_input == 0
    with pytest.raises(ValueError, match="input has no price"):
        Rates.from_known({"output": 3})


def test_dollars_are_read_as_they_are_written() -> None:
    usd: dict[str, Decimal | float | int] = {
        "input": 0.1,
        "cached_input": Decimal("0.0375"),
        "cache_write": 3,
        "output": 1e-9,
        "reasoning": 0.3,
    }
    price = from_usd(usd)
    assert price.source == "rooya.toml"
    assert price.rates.input == 100_000_000
    assert price.rates.cached_input == 37_500_000
    assert price.rates.cache_write == 3_000_000_000
    assert price.rates.output == 1
    assert price.rates.reasoning == 300_000_000
    assert nanodollars(0.0000000001) == 1
    assert nanodollars(Decimal("12345678.123456789")) == 12_345_678_123_456_789


@pytest.mark.parametrize(
    "usd", [{}, {"output": 1}, {"input": -1}, {"input": float("nan")}, {"input": 1, "x": 1}]
)
def test_what_is_no_price_is_refused(usd: dict[str, Decimal | float | int]) -> None:
    with pytest.raises(ValueError):
        from_usd(usd)


def contents(price: Price) -> tuple[Any, ...]:
    variants = [(name, contents(variant)) for name, variant in price.variants.items()]
    return price.source, price.rates, price.tiers, variants


@given(prices)
def test_a_price_survives_its_json(price: Price) -> None:
    assert contents(Price.from_json(price.to_json())) == contents(price)


@given(tariffs)
def test_a_tariff_survives_its_json(tariff: Tariff) -> None:
    again = Tariff.from_json(tariff.to_json())
    rows = [
        [(contents(each.price), each.start, each.window) for each in one.periods] for one in (tariff, again)
    ]
    assert rows[0] == rows[1]
    shared = [[one.periods.index(each) for each in one.periods] for one in (tariff, again)]
    assert shared[0] == shared[1]
    assert len({each.price for each in tariff.periods}) == len({each.price for each in again.periods})


def test_a_rate_that_an_old_text_does_not_have_is_filled_in() -> None:
    assert Price.from_json('{"source":"old","rates":{"input":2}}').rates.cache_write_1h == 2


GARBAGE: Final = [
    "",
    "null",
    "7",
    "[]",
    "{}",
    "[" * 100_000,
    '{"source":7,"rates":{"input":1}}',
    '{"source":"x"}',
    '{"source":"x","rates":{}}',
    '{"source":"x","rates":{"input":1.5}}',
    '{"source":"x","rates":{"input":true}}',
    '{"source":"x","rates":{"input":-1}}',
    '{"source":"x","rates":{"input":NaN}}',
    '{"source":"x","rates":{"input":1,"tea":1}}',
    '{"source":"x","rates":{"input":1},"tiers":[[5,{"input":1}],[4,{"input":1}]]}',
    '{"source":"x","rates":{"input":1},"tiers":[[5]]}',
    '{"source":"x","rates":{"input":1},"variants":[]}',
    '{"prices":[],"periods":[]}',
    '{"prices":[{"source":"x","rates":{"input":1}}],"periods":[]}',
    '{"prices":[{"source":"x","rates":{"input":1}}],"periods":[[null,null,1]]}',
    '{"prices":[{"source":"x","rates":{"input":1}}],"periods":[[null,null,-1]]}',
    '{"prices":[{"source":"x","rates":{"input":1}}],"periods":[[null,[1],0]]}',
    '{"prices":[{"source":"x","rates":{"input":1}}],"periods":[["x",null,0]]}',
]


@pytest.mark.parametrize("text", GARBAGE, ids=lambda text: text[:60])
def test_garbage_is_a_value_error(text: str) -> None:
    for kind in (Price, Tariff):
        with pytest.raises(ValueError):
            kind.from_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["source", "rates", "tiers", "variants", "prices", "periods", "input"]), inner
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_a_price_or_a_value_error(value: Any) -> None:
    text = json.dumps(value)
    for kind in (Price, Tariff):
        try:
            read = kind.from_json(text)
        except ValueError:
            continue
        assert isinstance(read, kind)


def test_the_last_period_that_holds_counts() -> None:
    first, later, peak, night = (from_usd({"input": each}) for each in (1, 2, 3, 4))
    tariff = Tariff(
        (
            Period(first),
            Period(later, start=int(MONDAY)),
            Period(peak, window=(3600, 14_400)),
            Period(night, window=(82_800, 1800)),
        )
    )
    moments = {
        MONDAY - 43_200: first,  # noon on Sunday
        MONDAY - 3600: night,  # 23:00, the window goes over midnight
        MONDAY - 3600.001: first,
        MONDAY: night,
        MONDAY + 1799.999: night,
        MONDAY + 1800: later,
        MONDAY + 3600: peak,
        MONDAY + 14_399.999: peak,
        MONDAY + 14_400: later,
    }
    assert {moment: tariff.at(moment) for moment in moments} == moments


def test_where_no_period_holds_the_first_counts() -> None:
    early, late = from_usd({"input": 1}), from_usd({"input": 2})
    tariff = Tariff((Period(early, start=200), Period(late, start=100)))
    assert [tariff.at(moment) for moment in (99, 100, 200)] == [early, late, late]
    only = Tariff((Period(early, start=200),))
    assert only.at(0) is only.at(300) is early
    with pytest.raises(ValueError):
        Tariff(())


SNAPSHOT: Final = data_snapshot.get_snapshot()
VARIANTS: Final = ("", "service_tier=flex", "service_tier=priority", "service_tier=fast", "speed=fast")
PROVIDERS: Final = ("openai", "anthropic", "google", "deepseek", "x-ai", "mistral")


def theirs(parts: dict[str, int]) -> types.Usage:
    """The same usage in the library's terms, which wants every overlap spelled out."""
    usage = usage_with(parts)
    return genai_prices.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        cache_write_5m_tokens=parts["cache_write"],
        input_audio_tokens=usage.audio_input_tokens,
        cache_audio_read_tokens=usage.cached_audio_tokens,
        cache_audio_write_tokens=0,
        input_image_tokens=usage.image_input_tokens,
        cache_image_read_tokens=0,
        output_tokens=usage.output_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        output_audio_tokens=usage.audio_output_tokens,
        output_image_tokens=usage.image_output_tokens,
    )


def moments(model: types.ModelInfo, random: Random) -> list[float]:
    """Some times, and those just before and just after the price may change."""
    found = [MONDAY + random.randrange(-500, 500) * 86_400 + random.randrange(86_400) for _ in range(3)]
    for each in model.prices if isinstance(model.prices, list) else ():
        if isinstance(each.constraint, types.StartDateConstraint):
            start = datetime.combine(each.constraint.start_date, time(), UTC).timestamp()
            found += [start - 1, start]
        elif isinstance(each.constraint, types.TimeOfDateConstraint):
            for moment in (each.constraint.start_time, each.constraint.end_time):
                start = datetime.combine(date(2026, 11, 23), moment).timestamp()
                found += [start - 1, start]
    return found


@pytest.mark.parametrize("provider_id", PROVIDERS)
def test_costs_are_those_of_the_library(provider_id: str) -> None:
    """Over all its models that cost by the token, every size, every time, every way of serving."""
    random, compared = Random(provider_id), 0
    provider = next(each for each in SNAPSHOT.providers if each.id == provider_id)
    for model in provider.models:
        tariff = tariff_of(model, "it")
        for now in moments(model, random) if tariff else ():
            for variant in VARIANTS:
                most = random.choice((3, 1000, 10**6))
                parts = {name: random.choice((0, random.randrange(most))) for name in (*INPUTS, *OUTPUTS)}
                key, _, value = variant.partition("=")
                expected = model.calc_price(
                    theirs(parts),
                    provider,
                    genai_request_timestamp=datetime.fromtimestamp(now, UTC),
                    price_context={key: value} if variant else None,
                )
                usage = usage_with(parts)
                usage.variant = variant
                assert tariff is not None
                assert cost(tariff.at(now), usage) == math.ceil(expected.total_price * 10**9), (model.id, now)
                compared += 1
    assert compared >= 100


def test_the_sizes_of_all_rates_are_the_tiers_of_the_price() -> None:
    prices = types.ModelPrice(
        input_mtok=types.TieredPrices(Decimal(1), [types.Tier(10, Decimal(2)), types.Tier(30, Decimal(4))]),
        output_mtok=types.TieredPrices(Decimal(1), [types.Tier(20, Decimal(9))]),
    )
    tariff = tariff_of(types.ModelInfo("it", types.ClauseEquals("it"), prices=prices), "it")
    assert tariff is not None
    rates = [(above, of.input // 10**9, of.output // 10**9) for above, of in tariff.at(MONDAY).tiers]
    assert rates == [(10, 2, 1), (20, 2, 9), (30, 4, 9)]
