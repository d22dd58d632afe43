"""The key check on a memory hit, the ledger, routing, a translated chunk: nanoseconds each.

    python tests/bench/micro.py [--calls N] [--json]

The gateway's own code on a real database. A key is created, looked up once, and then found in memory, from
the header's bytes to the ApiKey. Calls are written to a journal and moved into the ledger. Figures are the
best of several rounds, since noise only ever adds; the loop's own cost is taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the rooms, when started as a program

from handlers.inference import Authenticator
from ledger_cost import ledger_ns
from store.database import Database
from store.keyring import Keyring
from store.keys import ApiKeys, NewKey
from translation_cost import EVENTS, chunk_ns, routing_ns

ROUNDS = 15
LEDGER_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """A tier of the settings."""

    rpm: int
    tpd: int


def ns_per_call(function: Callable[[bytes], object], argument: bytes, calls: int) -> float:
    """The best round's average."""
    best = empty = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter_ns()
        for _ in itertools.repeat(None, calls):
            function(argument)
        called = time.perf_counter_ns()
        for _ in itertools.repeat(None, calls):
            pass
        best = min(best, called - started)
        empty = min(empty, time.perf_counter_ns() - called)
    return (best - empty) / calls


async def key_check_ns(folder: Path, calls: int) -> float:
    """Create a key, have it looked up once, measure how it is found again."""
    database = await Database.open(folder / "rooya.db")
    try:
        keys = ApiKeys(database, {"free": Limits(60, 100_000)})
        key, plaintext = await keys.create(NewKey("bench"))
        keyring = Keyring(keys)
        await keyring.start()
        try:
            authenticator = Authenticator(keyring)
            header = b"Bearer " + plaintext.encode()
            digest, _ = authenticator.find(header)
            await keyring.lookup(digest, time.time())
            assert authenticator.find(header) == (digest, key)
            return ns_per_call(authenticator.find, header, calls)
        finally:
            await keyring.close()
    finally:
        await database.close()


def main() -> None:
    """Print the figure, as JSON for the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="a round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rooya-bench-") as folder:
        figures = {"key_check_ns": asyncio.run(key_check_ns(Path(folder), options.calls))}
    costs = []
    for _ in range(LEDGER_ROUNDS):
        with tempfile.TemporaryDirectory(prefix="rooya-bench-") as folder:
            costs.append(ledger_ns(Path(folder), options.calls))
    figures["routing_ns"] = routing_ns(options.calls)
    figures["chunk_ns"] = max(map(chunk_ns, EVENTS))
    figures |= min(costs, key=lambda cost: cost["ledger_loop_ns"])
    print(json.dumps(figures) if options.json else "\n".join(f"{n}: {ns:.0f}" for n, ns in figures.items()))


if __name__ == "__main__":
    main()
