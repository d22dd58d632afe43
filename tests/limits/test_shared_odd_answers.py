"""Answers of Redis that have not the shape of any: nobody waits for ever, and it is not trusted further."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from limits.errors import LimiterUnavailable
from limits.shared import SharedLimiter
from limits.types import Claim


class OddLink:
    """Answers anything with the same."""

    is_cluster = False

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.lost = None
        self.is_closed = False

    def ask(self, *_: Any) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(self._answer)
        return future

    def close(self) -> None:
        self.is_closed = True


def claim() -> Claim:
    made = Claim()
    made.claim_id, made.key_id, made.window = "c", 1, 0
    made.rules = type("Rules", (), {"rpm": 1, "tpd": 1, "max_parallel": None, "budget_nanodollars": 1})()
    made.requests = made.tokens = made.incarnation = 1
    made.worst_nanodollars = made.least_nanodollars = 1
    return made


@pytest.mark.parametrize("answer", [None, 7, b"x", [], [1], [[b"a"]], [None], [[]], {b"a": 1}])
def test_an_odd_answer_fails_redis_and_who_waited(answer: Any) -> None:
    async def job() -> None:
        link, reasons = OddLink(answer), []
        limiter = SharedLimiter(link=link, number=lambda: 1, place="1.1")  # type: ignore[arg-type]
        limiter.listen(failed=reasons.append, unsettled=lambda *_: None, count_alone=lambda *_: 0)
        with pytest.raises(LimiterUnavailable):
            async with asyncio.timeout(5):
                await limiter.admit(claim())
        assert len(reasons) == 1 and link.is_closed

    asyncio.run(job())
