"""What an attempt at a provider costs, written down before it is sent and before its answer ends.

An Account is admitted and opened for each attempt, and closed exactly once, by what came of it: `settle`,
`fail` or `abandon`; a further closing changes nothing. Closing is synchronous: no await stands between an
outcome and its record. It is charged at the terms it was opened under, whatever changes while the call runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from handlers.details import details
from handlers.errors import AddressRefused, LimitRefused, Refused
from handlers.terms import Terms, TermsBook, answer_count, capped, is_capped, output_cap
from limits.errors import LimiterUnavailable
from limits.types import Claim, Limiter
from limits.windows import TOTAL, Windows
from providers import errors as vendor
from providers.bounds import Unbounded, input_tokens
from providers.errors import ProviderError
from providers.estimate import TOKENS_A_MESSAGE, Estimator
from providers.health import Lane
from providers.pricing import cost
from providers.types import CHAT, EMBEDDINGS, Call, Target, Usage
from store.errors import LedgerFull
from store.journal import Journal
from store.records import MOST_MONEY
from store.types import NEVER, ApiKey, Place, Tokens

MAX_SAMPLE_BYTES: Final = 65_536  # of a call that is learned from; more would hold up the others
UNRECORDED: Final = 0  # the ticket of a call that there was no room to write down
BYTES_A_TOKEN: Final = 4  # of a whole body, its syntax included
LARGE_BODY_BYTES: Final = 32_768  # may hold an image, which is few tokens in many bytes
EXPECTED_OUTPUT: Final = 1024  # tokens, of a call that names no cap: a window of tokens heals by itself
LEAST_OUTPUT: Final = 64  # tokens worth a call where a budget cannot pay for more
NOTHING: Final = Usage(source="none")


class Account(Claim):
    """One attempt, as the limiter admits it and the journal has it. It is open once it is written down.

    call: as it is sent, with the cap that holds. usage: what the vendor has reported so far. text_bytes: of
    generated text seen so far. lowered_to: the cap, in tokens, that the rest of a budget affords; 0 = none.
    """

    __slots__ = (
        "attempt", "client_request_id", "cost_nanodollars", "details", "first_byte_ms", "is_stream", "place",
        "request_id", "started_at_ms", "status", "ticket", "total_ms", "used",
        "_accounts", "_answers", "_input_bound", "_told_bytes", "wanted_nanodollars",
        "call", "is_open", "is_refused", "lane", "lowered_to", "terms", "text_bytes", "usage",
    )  # fmt: skip

    rules: ApiKey
    attempt: int
    client_request_id: str
    cost_nanodollars: int
    details: str
    first_byte_ms: int
    is_stream: bool
    lane: Lane
    place: Place
    request_id: str
    started_at_ms: int
    status: str
    ticket: int
    total_ms: int
    used: Tokens

    def __init__(self, accounts: Accounts, call: Call, terms: Terms, key: ApiKey, number: int) -> None:
        self._accounts = accounts
        self.terms = terms
        self.place = terms.place
        self.request_id = self.claim_id = call.request_id
        if number:
            self.claim_id = f"{call.request_id}/{number}"
        self.attempt = number
        self.requests = 0 if number else 1
        self.key_id = key.id
        self.rules = key
        self.client_request_id = call.client_request_id
        self.is_stream = call.stream
        self.first_byte_ms = NEVER
        self.incarnation = 0
        self.refusal = ""
        self.is_open = False
        self.is_refused = False  # the vendor's status says that there is no answer
        self.usage: Usage | None = None
        self.lowered_to = 0
        self.text_bytes = 0
        self._told_bytes = 0  # of text that had been seen when the usage was reported
        self.call = call
        self._measure(call, key.budget_nanodollars is not None)

    def divide(self, parts: list[Call]) -> None:
        """Reserve for a call that goes to the vendor as several requests, all or none of them."""
        is_bounded = self.rules.budget_nanodollars is not None
        most = sum(
            input_tokens(part, self.terms.an_image) if is_bounded else len(part.body) for part in parts
        )
        answers = self._answers * (output_cap(self.call.payload) or self.terms.max_output)
        self.tokens += most // BYTES_A_TOKEN
        self.wanted_nanodollars = self.terms.worst(most, answers, len(parts))
        self.worst_nanodollars = self.least_nanodollars = self.wanted_nanodollars

    def _measure(self, call: Call, is_bounded: bool) -> None:
        """What is to be reserved: the worst case in money, what may be expected in tokens. Raises Unbounded.

        is_bounded: is there a budget that must not be overspent? Then every call has a cap.
        """
        terms, payload = self.terms, call.payload
        cap = output_cap(payload)
        most_output = cap or terms.max_output
        is_plain = call.operation == CHAT and "n" not in payload and "best_of" not in payload
        answers = self._answers = 1 if is_plain else answer_count(payload)
        most = len(call.body)  # no text has more tokens than bytes
        expected = most // BYTES_A_TOKEN + 1 if most < LARGE_BODY_BYTES else self._estimated_input()
        self.tokens = expected + answers * (cap or min(terms.max_output, EXPECTED_OUTPUT))
        beside = most if payload.get("prediction") else 0  # what was predicted and rejected is output too
        if is_bounded:
            most = input_tokens(call, terms.an_image)
            if terms.max_output and not is_capped(call):
                self.call = capped(call, most_output)
        self._input_bound = most
        self.worst_nanodollars = self.wanted_nanodollars = terms.worst(most, answers * most_output + beside)
        if is_bounded and not beside:
            least = min(most_output, LEAST_OUTPUT)
            self.least_nanodollars = terms.worst(most, answers * least)
        else:
            self.least_nanodollars = self.wanted_nanodollars

    def ask(self) -> None:
        """Ask for all of it, as at first."""
        self.worst_nanodollars = self.wanted_nanodollars

    def lower(self) -> None:
        """Ask for no more than the limiter has granted."""
        affordable = self.terms.affordable(self._input_bound, self.worst_nanodollars)
        self.lowered_to = affordable // self._answers
        self.call = capped(self.call, self.lowered_to)

    @property
    def sync(self) -> Callable[[], Awaitable[None]] | None:
        """Waits until what was written down is on the disk; None where nobody has to wait for that."""
        return self._accounts.sync

    def price(self, usage: Usage) -> int:
        """What this usage costs at the account's terms, in nano-dollars; the vendor's own word goes first."""
        price = self.terms.price
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
        if self.usage is None and failure.usage is not None:
            self.note_usage(failure.usage)
        is_own = failure.kind == vendor.TIMEOUT and failure.status is None and not self.is_refused
        is_late = is_own and failure.dispatched
        why = failure.kind if failure.status is None else f"{failure.kind} {failure.status}"
        self._close("timeout" if is_late else "error", self._so_far(is_charged=is_late), why)

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
        seen = self._accounts.estimator.output_tokens(self.terms.family, self.text_bytes)
        if seen <= usage.output_tokens:
            return usage
        is_summed = usage.requests > 1  # then the cost is ours, of what the parts had told
        cost_nanodollars = None if is_summed else usage.cost_nanodollars
        return replace(usage, output_tokens=seen, source="estimated", cost_nanodollars=cost_nanodollars)

    def _compared(self, usage: Usage | None, body: bytes) -> Usage:
        """An estimate where nothing is reported; else the text teaches what a token is."""
        estimator = self._accounts.estimator
        if usage is None or not usage.output_tokens:
            if body and self.call.operation != EMBEDDINGS:
                self.text_bytes = estimator.output_text_bytes(body)
            return self._estimate() if usage is None else self._completed(usage)
        if len(body) + len(self.call.body) <= MAX_SAMPLE_BYTES:
            if body:
                self.text_bytes = estimator.output_text_bytes(body)
            self._accounts.sample(self.terms.family, self.call.payload, usage, self.text_bytes)
        return usage

    def _estimated_input(self) -> int:
        return self._accounts.estimator.input_tokens(self.terms.family, self.call.payload)

    def _estimate(self) -> Usage:
        estimator, family = self._accounts.estimator, self.terms.family
        return Usage(
            estimator.input_tokens(family, self.call.payload),
            estimator.output_tokens(family, self.text_bytes),
            source="estimated",
        )

    def _close(self, status: str, usage: Usage, why: str = "") -> None:
        self.is_open = False
        self.lane.in_flight -= 1
        self.status = status
        self.used = usage
        charge = 0 if usage is NOTHING else self.price(usage)
        if charge > MOST_MONEY:
            charge = MOST_MONEY
        self.cost_nanodollars = charge
        accounts = self._accounts
        self.total_ms = accounts.since(self.started_at_ms)
        is_usual = charge <= self.worst_nanodollars and not why and usage.is_common
        self.details = "" if is_usual else details(usage, self, why)
        if self.ticket != UNRECORDED:
            accounts.journal.settle(self)
        # Only now: until its end is on record, a call may still turn out to have cost all that it reserved.
        accounts.limiter.settle(self, usage.input_tokens + usage.output_tokens, charge)


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """Where calls are written down. is_required: refuse calls that cannot be; else those of keys without a
    budget are made without a record. sync: waits for the disk; None = the system writes in its own time."""

    journal: Journal
    is_required: bool = True
    sync: Callable[[], Awaitable[None]] | None = None


class Accounts:
    """Opens accounts. clock: Unix seconds."""

    def __init__(
        self,
        *,
        books: Bookkeeping,
        limiter: Limiter,
        terms: TermsBook,
        estimator: Estimator,
        clock: Callable[[], float],
    ) -> None:
        self.journal = books.journal
        self.limiter = limiter
        self._terms = terms
        self._clock = clock
        self._is_required = books.is_required
        self._windows = Windows()
        self.estimator = estimator
        self.wants_sample = estimator.wants_sample
        self.sync = books.sync

    def prepare(self, call: Call, key: ApiKey, target: Target, number: int) -> Account | None:
        """An account of an attempt, the first is 0; None where its price is not known yet: then `learn`.

        Raises Refused(`model_not_priced`, `unbounded_cost`).
        """
        terms = self._terms.find(call, target)
        return None if terms is None else self._account(call, key, target, terms, number)

    async def learn(self, call: Call, key: ApiKey, target: Target, number: int) -> Account:
        """As `prepare`, looking up the price first."""
        return self._account(call, key, target, await self._terms.learn(call, target), number)

    def begin(self, account: Account) -> Awaitable[None] | None:
        """Have it admitted, and write down that it begins; what is returned has to be awaited first.

        Raises LimitRefused, LedgerFull.
        """
        waiting = self.limiter.admit(account)
        if waiting is not None or self.sync is not None:
            return self._begin_slowly(account, waiting)
        try:
            self._open(account)
        except BaseException:
            self.limiter.release(account)
            raise
        return None

    def _account(self, call: Call, key: ApiKey, target: Target, terms: Terms, number: int) -> Account:
        has_budget = key.budget_nanodollars is not None
        if terms.price is None and has_budget:
            raise Refused("model_not_priced", f"The model '{call.model}' has no price.", param="model")
        now = self._clock()
        try:
            account = Account(self, call, terms, key, number)
        except Unbounded as error:
            raise Refused("unbounded_cost", param=error.param) from error
        account.lane = target.lane
        if key.budget_period == TOTAL:
            account.window = key.spend_reset_at or 0
        else:
            account.window = self._windows.start(key.budget_period, key.spend_reset_at, now)
        account.started_at_ms = int(now * 1000)
        return account

    async def _begin_slowly(self, account: Account, waiting: Awaitable[None] | None) -> None:
        limiter = self.limiter
        try:
            if waiting is not None:
                await waiting
            if account.call.passing is not None and (wait_ms := await account.call.passing):
                raise AddressRefused(wait_ms)
            while not limiter.is_current(account):  # the counters were rebuilt without it
                account.ask()
                again = limiter.admit(account)
                if again is not None:
                    await again
            self._open(account)
        except BaseException:
            if not account.refusal:
                limiter.release(account)
            raise
        try:
            if not (limiter.is_current(account) or limiter.keep(account)):  # rebuilt in between
                raise LimiterUnavailable("the counters of limits were rebuilt")
            if self.sync is not None:
                await self.sync()
        except BaseException:
            account.abandon(is_sent=False)
            raise

    def _open(self, account: Account) -> None:
        if account.refusal:
            key = account.rules
            raise LimitRefused(account, self._windows.end(key.budget_period, self._clock()))
        if account.worst_nanodollars < account.wanted_nanodollars:  # the limiter has granted less
            account.lower()
        try:
            self.journal.begin(account)
        except LedgerFull:
            if self._is_required or account.rules.budget_nanodollars is not None:
                raise
            account.ticket = UNRECORDED
        account.is_open = True
        account.lane.in_flight += 1

    def since(self, at_ms: int) -> int:
        """Milliseconds since then; the clock may have been set back meanwhile."""
        elapsed = int(self._clock() * 1000) - at_ms
        return elapsed if elapsed > 0 else 0

    def sample(self, family: str, payload: dict[str, Any], usage: Usage, text_bytes: int) -> None:
        """From one answer: how many bytes of text a token is in this family of models."""
        text, fixed = self.estimator.input_bytes(payload)
        messages = payload.get("messages")  # of no meaning outside of chat, and then of any type
        if fixed == TOKENS_A_MESSAGE * (len(messages) if isinstance(messages, list) else 0):  # text alone
            self.estimator.learn_input(family, text, usage.input_tokens - fixed)
        if text_bytes and not usage.reasoning_tokens and not usage.audio_output_tokens:
            self.estimator.learn_output(family, text_bytes, usage.output_tokens)
