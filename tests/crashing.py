"""`rooya.py` that kills itself (SIGKILL) at a chosen point:  python tests/crashing.py POINT NTH serve …

The point is a method and whether to die before or after its NTH call. What lies between the calls is the real
program, but for small segments of the journal where one of them is to be given up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rooya
from handlers.exchange import Exchange
from providers.connection import Connection
from providers.openai import OpenAICodec
from providers.passthrough import PassThrough
from store.journal import Journal
from store.ledger import LedgerWriter, Sums
from store.mover import Books
from store.moving import Moving
from store.segments import Slot

POINTS: dict[str, tuple[type, str, str]] = {
    "before_open": (Journal, "begin", "before"),
    "after_open": (Journal, "begin", "after"),
    "after_dispatch": (Connection, "begin", "later"),
    "at_the_answer": (OpenAICodec, "decode", "before"),
    "at_a_chunk": (PassThrough, "feed", "before"),
    "before_settle": (Journal, "settle", "before"),
    "after_settle": (Journal, "settle", "after"),
    "before_the_reply": (Exchange, "respond", "before"),
    "before_the_end": (Exchange, "end", "before"),
    "after_the_last_byte": (Exchange, "_finished", "later"),
    "before_move": (LedgerWriter, "write", "before"),
    "before_move_sums": (Sums, "write", "before"),
    "after_move_sums": (Sums, "write", "after"),
    "after_move": (LedgerWriter, "write", "after"),
    "before_removal": (Slot, "remove", "before"),
    "after_removal": (Slot, "remove", "after"),
    "before_segment_removal": (Slot, "remove", "before"),
    "after_segment_removal": (Slot, "remove", "after"),
    "before_finish": (Moving, "finish", "before"),
    "after_finish": (Moving, "finish", "after"),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def plant(point: str, nth: int) -> None:
    owner, name, when = POINTS[point]
    really: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def deadly(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        if owner is Exchange and b"chat" not in arguments[0].head.raw:
            return really(*arguments, **options)
        calls += 1
        if calls == nth and when == "before":
            die()
        result = really(*arguments, **options)
        if calls == nth and when == "after":
            die()
        if calls == nth and when == "later":  # when the socket has taken the bytes
            asyncio.get_running_loop().call_later(0.05, die)
        return result

    setattr(owner, name, deadly)
    if "segment" in point:
        rooya.Books = partial(Books, segment_bytes=128 * 1024)  # type: ignore[assignment,misc]


if __name__ == "__main__":
    plant(sys.argv[1], int(sys.argv[2]))
    sys.exit(rooya.main(sys.argv[3:]))
