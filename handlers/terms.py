"""The terms of calls: where they go, what that costs now, and the most that could come of it.

Found once for each model, provider and price, and then the same object for every call. `forget` drops them
all when prices have changed; calls that are under way keep the terms they began under.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import ujson

from providers import bounds
from providers.estimate import Estimator
from providers.price_list import PriceList, Served
from providers.pricing import Price, Rates, Tariff
from providers.router import Router
from providers.types import CHAT, COMPLETIONS, EMBEDDINGS, Call, Target
from store.types import Place

MAX_TERMS: Final = 4096  # then forgotten all at once: clients may choose names
USUAL_MAX_OUTPUT: Final = 4096  # tokens, where nobody says how long a model's answers may be
COMPLETION_TOKENS: Final = 16  # of a legacy completion that names no cap: the API's own default
CAPS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
MILLION: Final = 1_000_000


class Terms:
    """price: None where none is known. max_output: tokens of one answer of a call that names no cap.

    an_image: the most tokens that one image takes, None where nobody says. served_by: the header line for it.
    """

    __slots__ = (
        "_fee", "_input", "_output", "_steps",
        "an_image", "family", "max_output", "place", "price", "served_by",
    )  # fmt: skip

    def __init__(
        self, place: Place, price: Price | None, family: str, max_output: int, an_image: int | None = None
    ) -> None:
        self.place = place
        self.price = price
        self.family = family
        self.max_output = max_output
        self.an_image = an_image
        name = "".join(char if char.isprintable() else "?" for char in place.provider)
        self.served_by = b"X-Rooya-Provider: %b\r\n" % name.encode("ascii", "replace")
        steps = [] if price is None else list(_steps(price))
        self._input = max((_dearest_input(rates) for start, rates in steps if not start), default=0)
        self._output = max((_dearest_output(rates) for start, rates in steps if not start), default=0)
        self._fee = max((rates.request for _, rates in steps), default=0)
        self._steps = [
            (start, _dearest_input(rates), _dearest_output(rates)) for start, rates in steps if start
        ]

    def worst(self, input_tokens: int, output_tokens: int, requests: int = 1) -> int:
        """Nano-dollars that so many tokens may cost at the very most, by the dearest rates they can reach."""
        input_rate, output_rate = self._rates(input_tokens) if self._steps else (self._input, self._output)
        tokens = -(-(input_tokens * input_rate + output_tokens * output_rate) // MILLION)
        return tokens + requests - 1 + self._fee * requests  # each of them is rounded up

    def affordable(self, input_tokens: int, nanodollars: int) -> int:
        """Output tokens that so much money pays for, whatever the input turns out to cost."""
        input_rate, output_rate = self._rates(input_tokens)
        return ((nanodollars - self._fee) * MILLION - input_tokens * input_rate) // output_rate

    def _rates(self, input_tokens: int) -> tuple[int, int]:
        input_rate, output_rate = self._input, self._output
        for start, its_input, its_output in self._steps:
            if input_tokens > start:
                input_rate, output_rate = max(input_rate, its_input), max(output_rate, its_output)
        return input_rate, output_rate


def output_cap(payload: dict[str, Any]) -> int:
    """Tokens that the client allows one answer, by the most generous of the names; 0 = it does not say."""
    cap: int = payload.get("max_tokens") or 0
    if "max_completion_tokens" in payload or "max_output_tokens" in payload:
        cap = max(payload.get(name) or 0 for name in CAPS)
    return cap


def is_capped(call: Call) -> bool:
    """Does it name a cap that whoever serves the operation knows?"""
    payload = call.payload
    return bool(
        payload.get("max_tokens") or (call.operation == CHAT and payload.get("max_completion_tokens"))
    )


def capped(call: Call, tokens: int) -> Call:
    """The call with no answer of more than so many tokens allowed, in the words that every vendor's adapter
    reads or renames."""
    payload = call.payload
    if not any(name in payload for name in CAPS):
        start = call.body.index(b"{") + 1
        body = b'%b"max_tokens":%d,%b' % (call.body[:start], tokens, call.body[start:])
        return replace(call, payload={"max_tokens": tokens, **payload}, body=body)
    fields = {name: value for name, value in payload.items() if name not in CAPS or value is not None}
    for name in CAPS:
        if name in fields:
            fields[name] = min(fields[name], tokens)
    if not is_capped(call):
        fields.setdefault("max_tokens", tokens)
    body = ujson.dumps(fields, ensure_ascii=False, escape_forward_slashes=False).encode()
    return replace(call, payload=fields, body=body, verbatim=True)


def answer_count(payload: dict[str, Any]) -> int:
    """How many answers may be generated, shown or not."""
    choices: int = max(payload.get("n") or 1, payload.get("best_of") or 1)
    prompts = payload.get("prompt")
    if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
        choices *= len(prompts)
    return choices


class TermsBook:
    """Finds the terms of a call at a target. clock: Unix seconds."""

    def __init__(
        self, *, router: Router, prices: PriceList, estimator: Estimator, clock: Callable[[], float]
    ) -> None:
        self._router = router
        self._prices = prices
        self._estimator = estimator
        self._clock = clock
        self._known: dict[tuple[str, str, str, str], tuple[Tariff | None, Terms]] = {}

    def find(self, call: Call, target: Target) -> Terms | None:
        """None while the price is not known yet: `learn` it."""
        key = (call.model, call.operation, target.provider, target.model)
        found = self._known.get(key)
        if found is None:
            return None
        tariff, terms = found
        if tariff is not None and len(tariff.periods) > 1:
            price = tariff.at(self._clock())
            if price is not terms.price:
                terms = self._make(call, target, price)
                self._known[key] = (tariff, terms)
        return terms

    async def learn(self, call: Call, target: Target) -> Terms:
        """Look the price up where prices are published; the terms, with no price where there is none."""
        spec = self._router.model_spec(call.model)
        if spec is not None and spec.price is not None:
            tariff: Tariff | None = Tariff.flat(spec.price)
        elif target.adapter.price is not None:
            tariff = Tariff.flat(target.adapter.price)
        else:
            served = Served(target.kind, target.base_url, target.model)
            await self._prices.resolve([served])
            try:
                tariff = self._prices.find(served)
            except KeyError:  # it could not be asked: a later call asks again
                return self._make(call, target, None)
        price = None if tariff is None else tariff.at(self._clock())
        terms = self._make(call, target, price)
        if len(self._known) >= MAX_TERMS:
            self._known.clear()
        self._known[call.model, call.operation, target.provider, target.model] = (tariff, terms)
        return terms

    def forget(self) -> None:
        """Prices have changed."""
        self._known.clear()

    def _make(self, call: Call, target: Target, price: Price | None) -> Terms:
        source, text = ("unpriced", "") if price is None else (price.source, price.to_json())
        place = Place(call.model, target.provider, target.model, call.operation, source, text)
        family = self._estimator.family(target.kind, target.model)
        return Terms(place, price, family, self._max_output(call, target), self._an_image(call, target))

    def _an_image(self, call: Call, target: Target) -> int | None:
        spec = self._router.model_spec(call.model)
        if spec is not None and spec.max_image_tokens is not None:
            return spec.max_image_tokens
        return bounds.image_tokens(target.kind, target.model)

    def _max_output(self, call: Call, target: Target) -> int:
        if call.operation == EMBEDDINGS:
            return 0
        if call.operation == COMPLETIONS:
            return COMPLETION_TOKENS
        spec = self._router.model_spec(call.model)
        if spec is not None and spec.max_output_tokens is not None:
            return spec.max_output_tokens
        longest = None if target.known is None else target.known.max_output
        return longest or USUAL_MAX_OUTPUT


def _steps(price: Price) -> Iterator[tuple[int, Rates]]:
    """All rates with the input tokens that have to be passed to reach them, 0 for those in any reach."""
    yield 0, price.rates
    yield from price.tiers
    for variant in price.variants.values():
        yield from _steps(variant)


def _dearest_input(rates: Rates) -> int:
    return max(
        rates.input,
        rates.cached_input,
        rates.cache_write,
        rates.cache_write_1h,
        rates.audio_input,
        rates.cached_audio,
        rates.image_input,
    )


def _dearest_output(rates: Rates) -> int:
    return max(rates.output, rates.reasoning, rates.audio_output, rates.image_output)
