"""What an attempt at a provider costs, written down before it is sent and before its answer ends.

An Account is opened for each attempt and closed exactly once, by what came of it: `settle`, `fail` or
`abandon`; a further closing changes nothing. Closing is synchronous: no await stands between an outcome
and its record. It is charged at the terms it was opened under, whatever changes while the call runs.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from handlers.errors import Refused
from handlers.terms import Terms, TermsBook
from limits.windows import TOTAL, Windows
from providers import errors as vendor
from providers.errors import ProviderError
from providers.estimate import TOKENS_A_MESSAGE, Estimator
from providers.pricing import cost
from providers.types import EMBEDDINGS, Call, Target, Usage
from store.errors import LedgerFull
from store.journal import Journal
from store.records import MOST_MONEY
from store.types import NEVER, ApiKey, LedgerRecord

MAX_VARIANT: Final = 40
MAX_SAMPLE_BYTES: Final = 65_536  # of a call that is learned from; more would hold up the others
UNRECORDED: Final = 0  # the ticket of a call that there was no room to write down
NOTHING: Final = Usage(source="none")


class Account(LedgerRecord):
    """One attempt. usage: what the vendor has reported so far. text_bytes: of generated text seen so far."""

    __slots__ = (
        "_accounts",
        "_call",
        "_terms",
        "_told_bytes",
        "is_open",
        "is_refused",
        "text_bytes",
        "usage",
    )

    def __init__(self, accounts: Accounts, call: Call, terms: Terms) -> None:
        self._accounts = accounts
        self._call = call
        self._terms = terms
        self.place = terms.place
        self.request_id = call.request_id
        self.client_request_id = call.client_request_id
        self.is_stream = call.stream
        self.worst_nanodollars = terms.worst(call)
        self.first_byte_ms = NEVER
        self.is_open = True
        self.is_refused = False  # the vendor's status says that there is no answer
        self.usage: Usage | None = None
        self.text_bytes = 0
        self._told_bytes = 0  # of text that had been seen when the usage was reported

    @property
    def sync(self) -> Callable[[], Awaitable[None]] | None:
        """Waits until what was written down is on the disk; None where nobody has to wait for that."""
        return self._accounts.sync

    def price(self, usage: Usage) -> int:
        """What this usage costs at the account's terms, in nano-dollars; the vendor's own word goes first."""
        price = self._terms.price
        return (usage.cost_nanodollars or 0) if price is None else cost(price, usage)

    def note_first_byte(self) -> None:
        """The vendor has begun to answer."""
        if self.first_byte_ms == NEVER:
            self.first_byte_ms = self._accounts.since(self.started_at_ms)

    def settle(self, usage: Usage | None, body: bytes = b"") -> None:
        """The answer is whole. usage: as reported, None = estimate it, from the body where there is one."""
        if not self.is_open:
            return
        accounts = self._accounts
        if usage is None or not usage.output_tokens or accounts.wants_sample():
            usage = self._compared(usage, body)
        self._close("ok", usage)

    def note_usage(self, usage: Usage) -> None:
        """The vendor says in mid-stream what was used so far; `text_bytes` is up to date."""
        self.usage = usage
        self._told_bytes = self.text_bytes

    def fail(self, failure: ProviderError) -> None:
        """The vendor, or its connection, failed. What it reported or was seen is charged, nothing else."""
        if not self.is_open:
            return
        is_own = failure.kind == vendor.TIMEOUT and failure.status is None and not self.is_refused
        is_late = is_own and failure.dispatched
        self._close("timeout" if is_late else "error", self._so_far(is_charged=is_late))

    def abandon(self, *, is_sent: bool) -> None:
        """Nobody waits for the answer any more. is_sent: may the vendor have seen the request?"""
        if self.is_open:
            self._close("client_gone", self._so_far(is_charged=is_sent and not self.is_refused))

    def _so_far(self, *, is_charged: bool) -> Usage:
        """Of an answer that was cut. is_charged: may the vendor charge for it, though nothing was seen?"""
        if self.usage is None:
            return self._estimate() if is_charged or self.text_bytes else NOTHING
        if self.text_bytes > self._told_bytes or not self.usage.output_tokens:
            return self._completed(self.usage)  # what came after the vendor's word for it counts too
        return self.usage

    def _completed(self, usage: Usage) -> Usage:
        """With the output that was seen, where the vendor told less, or nothing that can be meant."""
        if not usage.input_tokens and not usage.output_tokens and usage.cost_nanodollars is None:
            return self._estimate()
        seen = self._accounts.estimator.output_tokens(self._terms.family, self.text_bytes)
        if seen <= usage.output_tokens:
            return usage
        return replace(usage, output_tokens=seen, source="estimated")

    def _compared(self, usage: Usage | None, body: bytes) -> Usage:
        """An estimate where nothing is reported; else the text teaches what a token is."""
        estimator = self._accounts.estimator
        if usage is None or not usage.output_tokens:
            if body and self._call.operation != EMBEDDINGS:
                self.text_bytes = estimator.output_text_bytes(body)
            return self._estimate() if usage is None else self._completed(usage)
        if len(body) + len(self._call.body) <= MAX_SAMPLE_BYTES:
            if body:
                self.text_bytes = estimator.output_text_bytes(body)
            self._accounts.learn(self._terms.family, self._call.payload, usage, self.text_bytes)
        return usage

    def _estimate(self) -> Usage:
        estimator, family = self._accounts.estimator, self._terms.family
        return Usage(
            estimator.input_tokens(family, self._call.payload),
            estimator.output_tokens(family, self.text_bytes),
            source="estimated",
        )

    def _close(self, status: str, usage: Usage) -> None:
        self.is_open = False
        self.status = status
        self.used = usage
        charge = 0 if usage is NOTHING else min(self.price(usage), MOST_MONEY)
        self.cost_nanodollars = charge
        accounts = self._accounts
        self.total_ms = accounts.since(self.started_at_ms)
        is_usual = charge <= self.worst_nanodollars and not usage.has_rare_parts
        self.details = "" if is_usual else details(usage, self)
        if self.ticket != UNRECORDED:
            accounts.journal.settle(self)


class Accounts:
    """Opens accounts. clock: Unix seconds.

    is_required: refuse calls that cannot be written down; else those of keys without a budget are made
    without a record. sync: waits for the disk; None = the system writes the journal there in its own time.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        terms: TermsBook,
        estimator: Estimator,
        clock: Callable[[], float],
        is_required: bool = True,
        sync: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.journal = journal
        self._terms = terms
        self._clock = clock
        self._is_required = is_required
        self._windows = Windows()
        self.estimator = estimator
        self.wants_sample = estimator.wants_sample
        self.sync = sync

    def open(self, call: Call, key: ApiKey, target: Target, number: int) -> Account | None:
        """Write down that an attempt begins, the first is 0; None where that takes time: then `open_slowly`.

        Raises LedgerFull, Refused(`model_not_priced`).
        """
        terms = self._terms.find(call, target)
        return None if terms is None or self.sync is not None else self._begin(call, key, terms, number)

    async def open_slowly(self, call: Call, key: ApiKey, target: Target, number: int) -> Account:
        """As `open`, looking up the price first, waiting for the disk afterwards."""
        terms = self._terms.find(call, target) or await self._terms.learn(call, target)
        account = self._begin(call, key, terms, number)
        if self.sync is not None:
            try:
                await self.sync()
            except BaseException:
                account.abandon(is_sent=False)
                raise
        return account

    def _begin(self, call: Call, key: ApiKey, terms: Terms, number: int) -> Account:
        if terms.price is None and key.budget_nanodollars is not None:
            raise Refused("model_not_priced", f"The model '{call.model}' has no price.", param="model")
        now = self._clock()
        account = Account(self, call, terms)
        account.key_id = key.id
        account.attempt = number
        if key.budget_period == TOTAL:
            account.window = key.spend_reset_at or 0
        else:
            account.window = self._windows.start(key.budget_period, key.spend_reset_at, now)
        account.started_at_ms = int(now * 1000)
        try:
            self.journal.begin(account)
        except LedgerFull:
            if self._is_required or key.budget_nanodollars is not None:
                raise
            account.ticket = UNRECORDED
        return account

    def since(self, at_ms: int) -> int:
        """Milliseconds since then; the clock may have been set back meanwhile."""
        elapsed = int(self._clock() * 1000) - at_ms
        return elapsed if elapsed > 0 else 0

    def learn(self, family: str, payload: dict[str, Any], usage: Usage, text_bytes: int) -> None:
        """From one answer: how many bytes of text a token is in this family of models."""
        text, fixed = self.estimator.input_bytes(payload)
        messages = payload.get("messages")  # of no meaning outside of chat, and then of any type
        if fixed == TOKENS_A_MESSAGE * (len(messages) if isinstance(messages, list) else 0):  # text alone
            self.estimator.learn_input(family, text, usage.input_tokens - fixed)
        if text_bytes and not usage.reasoning_tokens and not usage.audio_output_tokens:
            self.estimator.learn_output(family, text_bytes, usage.output_tokens)


def details(usage: Usage, record: LedgerRecord) -> str:
    """What is rare, as a JSON object; empty if there is nothing of it."""
    found: dict[str, object] = {}
    if usage.variant:
        found["variant"] = usage.variant[:MAX_VARIANT].encode("ascii", "replace").decode()
    if usage.cost_nanodollars is not None:
        found["cost_by"] = "provider"
    if usage.is_unclear:
        found["is_reasoning_unclear"] = True
    if 0 < record.worst_nanodollars < record.cost_nanodollars:
        found["overrun_nanodollars"] = record.cost_nanodollars - record.worst_nanodollars
    for name in ("cache_write_1h_tokens", "cached_audio_tokens", "image_input_tokens", "image_output_tokens"):
        count = getattr(usage, name)
        if count:
            found[name] = count
    return json.dumps(found) if found else ""
