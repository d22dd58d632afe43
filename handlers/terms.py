"""The terms of calls: where they go, what that costs now, and the most that could come of it.

Found once for each model, provider and price, and then the same object for every call. `forget` drops them
all when prices have changed; calls that are under way keep the terms they began under.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from providers.estimate import Estimator
from providers.price_list import PriceList, Served
from providers.pricing import Price, Rates, Tariff
from providers.router import Router
from providers.types import CHAT, EMBEDDINGS, Call, Target
from store.types import Place

MAX_TERMS: Final = 4096  # then forgotten all at once: clients may choose names
USUAL_MAX_OUTPUT: Final = 4096  # tokens, where nobody says how long a model's answers may be
MILLION: Final = 1_000_000


class Terms:
    """price: None where none is known. max_output: tokens of one answer of a call that names no cap."""

    __slots__ = ("_fee", "_input", "_output", "family", "max_output", "place", "price")

    def __init__(self, place: Place, price: Price | None, family: str, max_output: int) -> None:
        self.place = place
        self.price = price
        self.family = family
        self.max_output = max_output
        rates = [] if price is None else list(_all_rates(price))
        self._input = max((_dearest_input(each) for each in rates), default=0)
        self._output = max((_dearest_output(each) for each in rates), default=0)
        self._fee = max((each.request for each in rates), default=0)

    def worst(self, call: Call) -> int:
        """Nano-dollars that the call may cost at the very most: no text has more tokens than bytes."""
        if self.price is None:
            return 0
        payload = call.payload
        if call.operation == CHAT and "n" not in payload and "max_completion_tokens" not in payload:
            output = payload.get("max_tokens") or self.max_output  # as output_bound says for most calls
        else:
            output = output_bound(call, self.max_output)
        return -(-(len(call.body) * self._input + output * self._output) // MILLION) + self._fee


def output_bound(call: Call, max_output: int) -> int:
    """Tokens that all answers of a call may have together. max_output: of one, if the call names no cap."""
    payload = call.payload
    cap: int = payload.get("max_tokens") or 0
    if "max_completion_tokens" in payload:
        cap = max(cap, payload["max_completion_tokens"] or 0)
    if "n" in payload or call.operation != CHAT:
        return (cap or max_output) * _answers(payload)
    return cap or max_output


def _answers(payload: dict[str, Any]) -> int:
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
        return Terms(place, price, family, self._max_output(call, target))

    def _max_output(self, call: Call, target: Target) -> int:
        if call.operation == EMBEDDINGS:
            return 0
        spec = self._router.model_spec(call.model)
        if spec is not None and spec.max_output_tokens is not None:
            return spec.max_output_tokens
        return self._router.max_output(target.kind, target.model) or USUAL_MAX_OUTPUT


def _all_rates(price: Price) -> Iterator[Rates]:
    yield price.rates
    for _, rates in price.tiers:
        yield rates
    for variant in price.variants.values():
        yield from _all_rates(variant)


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
