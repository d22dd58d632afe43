"""What the ledger costs a call: nanoseconds of CPU on the loop's thread, and in the whole process.

A real journal, a real mover on a real database. On the loop: finding the usage in an answer, its cost, both
records. In the whole process also what the mover's thread does until every row is in the database.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

from handlers.accounting import Accounts, Bookkeeping
from handlers.terms import TermsBook
from limits.embedded import EmbeddedLimiter
from limits.types import Claim
from providers import loader
from providers.estimate import Estimator
from providers.price_list import PriceList
from providers.pricing import from_usd
from providers.router import Router
from providers.types import CHAT, Call, ModelSpec, ProviderSpec, TargetSpec, Timeouts
from store.database import prepare
from store.mover import Books, Mover
from store.types import ApiKey

TURN = 64  # calls, as many as a busy gateway has in the air: then the loop would look at its sockets
ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"' + b"word " * 80 + b'"},"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":190,"completion_tokens":80,"total_tokens":270,"prompt_tokens_details":'
    b'{"cached_tokens":128,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,'
    b'"audio_tokens":0}},"service_tier":"default","system_fingerprint":"fp_1"}'
)
BODY = b'{"model":"gpt-4o","max_tokens":500,"messages":[{"role":"user","content":"%b"}]}' % (b"hello " * 120)
KEY = ApiKey(1, None, "bench", "sk-", "0000", b"", "free", 1, 1, None, "total", None, None, None, 0)


class NoLimits(EmbeddedLimiter):
    """Lets every call pass: what limits cost is measured elsewhere."""

    def admit(self, claim: Claim) -> None:
        claim.refusal = ""

    def settle(self, claim: Claim, tokens: int, nanodollars: int) -> None:
        pass


def make_call(number: int) -> Call:
    payload: dict[str, Any] = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hello " * 120}],
        "max_tokens": 500,
    }
    request_id = f"{int(time.time() * 1000):012x}0123456789{number:08x}"
    return Call(CHAT, "gpt-4o", payload, BODY, False, True, request_id)


async def spend(mover: Mover, calls: int) -> int:
    """Make the calls' records; nanoseconds of this thread that they took."""
    spec = ProviderSpec("lab", "openai_compatible", "http://127.0.0.1:9/v1")
    model = ModelSpec("gpt-4o", (TargetSpec("lab", "gpt-4o"),), price=from_usd({"input": 2.5, "output": 10}))
    router = Router.from_specs([spec], [model], Timeouts())
    estimator = Estimator()
    terms = TermsBook(router=router, prices=PriceList(), estimator=estimator, clock=time.time)
    accounts = Accounts(
        books=Bookkeeping(mover.journal),
        limiter=NoLimits(clock=lambda: 0),
        terms=terms,
        estimator=estimator,
        clock=time.time,
    )
    (target,) = router.targets("gpt-4o", CHAT, 0.0)
    codec = loader.build(spec).codec(CHAT)
    assert codec is not None
    made = [make_call(number) for number in range(calls)]
    spent = 0
    for at in range(0, calls, TURN):
        batch = [(call, codec.decode(call, ANSWER)) for call in made[at : at + TURN]]
        started = time.thread_time_ns()
        for call, reply in batch:
            account = accounts.prepare(call, KEY, target, 0)
            if account is None:
                account = await accounts.learn(call, KEY, target, 0)
            accounts.begin(account)
            account.settle(reply.usage, ANSWER)
        spent += time.thread_time_ns() - started
        await asyncio.sleep(0.002)
    return spent


def ledger_ns(folder: Path, calls: int) -> dict[str, float]:
    """Nanoseconds a call, on the loop's thread and in the process."""
    prepare(folder / "rooya.db")
    mover = Mover.start(Books(folder))
    try:
        asyncio.run(spend(mover, 200))  # warms up
        before = time.process_time_ns(), time.thread_time_ns()
        loop = asyncio.run(spend(mover, calls))
        asked = time.thread_time_ns() - before[1] - loop  # the measurement's own
    finally:
        mover.stop()
    whole = time.process_time_ns() - before[0] - asked
    with sqlite3.connect(folder / "rooya.db") as connection:
        (rows,) = connection.execute("SELECT count(*) FROM ledger").fetchone()
    connection.close()
    assert rows == calls + 200, rows
    return {"ledger_loop_ns": loop / calls, "ledger_process_ns": whole / calls}
