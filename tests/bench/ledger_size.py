"""A ledger of ten million rows: what a row takes on the disk, and what still costs as little as at the start.

    python tests/bench/ledger_size.py [--rows 10000000] [--keys 200] [--models 5] [--days 30] [--dir /var/tmp]

The rows are spread evenly over the days up to now and written as the mover writes them, through LedgerWriter,
so that the sums are the real ones. Batches at the end of it and at the end of a ledger of a hundredth are
written in turns: the noise of the machine is on both. The pages are those of `pages.py`. Ends with 1 where a
bound is broken; --unjudged bounds no time, only whether the sums agree. What it fills (1.6 GB at ten million
rows) is deleted afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the rooms

import pages
from limits.windows import window
from processes import Server, ServerFailed, free_ports
from store.database import Database, prepare
from store.keys import ApiKeys, NewKey
from store.ledger import LedgerWriter, transaction
from store.types import LedgerRow, Place
from store.usage import UsageReader

CHECKOUT = Path(__file__).resolve().parents[2]
DAY_MS = 86_400_000
START = "0123456789"  # of a serving process, in a request id: here of one that never restarted
SLOT = 9
FILL_ROWS = 10_000  # a batch of the filling, which nobody measures
BATCH_ROWS = 1000
BATCHES = 30
OUTCOMES = 9973

READY_MOST_S = 2.0
REPORT_MOST_S = 0.1
PAGE_MOST_S = 0.15
CROWD_RATIO_MOST = 1.5
RATIO_MOST = 1.5

SETTINGS = """\
[server]
address = "127.0.0.1"
port = {port}
data_dir = "{data}"
[limits]
ip_rpm = 0
[ledger]
retention_days = 3650
retention_bytes = 1000000000000
"""


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier of the settings."""

    rpm: int = 60
    tpd: int = 100_000


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the table. is_broken: the bound it has does not hold."""

    name: str
    value: str
    bound: str = ""
    is_broken: bool = False


class Traffic:
    """Calls evenly in time: every hundredth fails and is tried again, every tenth has a client's own id."""

    def __init__(self, begin_ms: int, step_ms: float, keys: int, models: int) -> None:
        self._begin_ms = begin_ms
        self._step_ms = step_ms
        self._keys = keys
        self._random = random.Random(20260101)
        self._places = [self._place(number) for number in range(models)]
        self._outcomes = [self._outcome() for _ in range(OUTCOMES)]

    def rows(self, first: int, count: int) -> list[LedgerRow]:
        """`count` rows from number `first` on; both even, as the two attempts of a call stay together."""
        found: list[LedgerRow] = []
        for number in range(first, first + count, 2):
            if number % 200:
                found += (self._row(number, number, 0), self._row(number + 1, number + 1, 0))
            else:
                again = self._row(number, number + 1, 1)
                failed = again._replace(attempt=0, status="error", usage_source="none", cost_nanodollars=0)
                found += (failed._replace(input_tokens=0, output_tokens=0, cached_tokens=0), again)
        return found

    def _row(self, call: int, number: int, attempt: int) -> LedgerRow:
        drawn = self._random.random()
        key = int(drawn * self._keys)
        place = self._places[int(drawn * 1e6) % len(self._places)]
        tokens, cost, source, first_byte_ms, total_ms = self._outcomes[number % OUTCOMES]
        called_ms = self._begin_ms + int(call * self._step_ms)
        started_ms = self._begin_ms + int(number * self._step_ms)
        begun = window("month", called_ms // 1000)[0] if key % 2 else 0
        return LedgerRow._make(
            (
                f"{called_ms:012x}{START}{call & 0xFFFFFFFF:08x}",
                attempt,
                key + 1,
                begun,
                place.model,
                place.provider,
                place.upstream_model,
                place.endpoint,
                number % 3 != 0,
                "ok",
                *tokens,
                cost,
                source,
                place,
                started_ms,
                first_byte_ms,
                total_ms,
                None if number % 10 else f'{{"client_request_id": "order-{number}"}}',
            )
        )

    def _place(self, number: int) -> Place:
        model = f"model-{number}"
        price = f'{{"input": {number + 1}00, "output": {number + 1}000, "cached": {number + 1}0}}'
        return Place(model, f"provider-{number % 3}", f"{model}-2026-01-31", "chat", "list 2026-01-31", price)

    def _outcome(self) -> tuple[tuple[int, ...], int, str, int, int]:
        draw = self._random.randrange
        asked, answered = draw(20, 8000), draw(1, 2000)
        tokens = (asked, answered, draw(asked), 0, draw(answered) if draw(4) == 0 else 0, 0)
        cost = asked * 2500 + answered * 10_000
        source = "estimated" if draw(50) == 0 else "reported"
        return tokens, cost, source, draw(100, 3000), draw(3000, 60_000)


class Ledger:
    """A data directory with a ledger, as full as told."""

    def __init__(self, folder: Path, keys: int) -> None:
        folder.mkdir()
        self.folder = folder
        self.path = folder / "rooya.db"
        prepare(self.path)
        asyncio.run(self._create_keys(keys))

    @contextlib.contextmanager
    def connected(self, synchronous: str = "FULL") -> Iterator[sqlite3.Connection]:
        """As the mover is, who writes with FULL."""
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=5)
        with contextlib.closing(connection):
            connection.execute(
                "PRAGMA synchronous = OFF" if synchronous == "OFF" else "PRAGMA synchronous = FULL"
            )
            yield connection
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def fill(self, traffic: Traffic, first: int, last: int) -> None:
        """Rows from number `first` to `last`; nothing of it needs to outlive a crash."""
        with self.connected("OFF") as connection:
            with transaction(connection):
                query = "INSERT INTO journal_slots (slot, starts, segment, position) VALUES (?, 1, 1, 0)"
                connection.execute(query, (SLOT,))
            writer = LedgerWriter(connection)
            started = time.monotonic()
            for at in range(first, last, FILL_ROWS):
                writer.write(traffic.rows(at, min(FILL_ROWS, last - at)), SLOT, 1, at)
                if (at - first) % (100 * FILL_ROWS) == 0:
                    per_s = (at - first) / (time.monotonic() - started)
                    tell(f"{at - first:,} of {last - first:,} rows, {per_s:,.0f} a second")

    def bytes(self) -> int:
        """Of the database file; the log beside it is empty by now."""
        return self.path.stat().st_size

    def ledger_bytes(self) -> int:
        """Of the pages that hold rows, without the sums."""
        with self.connected() as connection:
            query = "SELECT pgsize FROM dbstat WHERE name = ? AND aggregate = TRUE"
            return int(connection.execute(query, ("ledger",)).fetchone()[0])

    async def _create_keys(self, count: int) -> None:
        database = await Database.open(self.path)
        try:
            keys = ApiKeys(database, {"free": Tier()})
            for number in range(count):
                await keys.create(NewKey(name=f"key {number}"))
        finally:
            await database.close()


def append_ms(ledgers: list[Ledger], traffic: Traffic, first: int) -> list[list[float]]:
    """What batches at the end of each cost, written in turns."""
    times: list[list[float]] = [[] for _ in ledgers]
    with contextlib.ExitStack() as stack:
        writers = [LedgerWriter(stack.enter_context(ledger.connected())) for ledger in ledgers]
        for number in range(BATCHES + 1):
            rows = traffic.rows(first + number * BATCH_ROWS, BATCH_ROWS)
            for writer, found in zip(writers, times, strict=True):
                started = time.perf_counter()
                writer.write(rows, SLOT, 1, number)
                found.append((time.perf_counter() - started) * 1000)
    return [found[1:] for found in times]  # the first one opens the database


def start_s(ledger: Ledger, times: int) -> list[float]:
    """From the start of the process to the first 200 of /health."""
    port = free_ports(1)[0]
    command = [sys.executable, "rooya.py", "serve", *settings_of(ledger, port)]
    found = []
    for _ in range(times):
        with Server("rooya", command, log=ledger.folder / "serve.log", cwd=CHECKOUT) as server:
            found.append(server.wait_until_ready(port, "/health"))
    return found


def settings_of(ledger: Ledger, port: int) -> tuple[str, ...]:
    """Options of the command line; the settings keep every row."""
    path = ledger.folder / "rooya.toml"
    path.write_text(SETTINGS.format(port=port, data=ledger.folder))
    return ("--config", str(path), "--data-dir", str(ledger.folder))


def command_s(ledger: Ledger) -> float | None:
    """Of the whole `rooya.py usage`; None where this version has no such command."""
    arguments = ("--by", "model", "--since", "30d", "--json")
    command = [sys.executable, "rooya.py", "usage", *arguments, *settings_of(ledger, 1)]
    started = time.monotonic()
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode == 2 and "invalid choice" in done.stderr:
        return None
    if done.returncode:
        raise ServerFailed(f"rooya.py usage: {done.stderr[-2000:]}")
    return time.monotonic() - started


async def report_s(ledger: Ledger, times: int) -> list[float]:
    """The month by model."""
    database = await Database.open(ledger.path)
    try:
        reader = UsageReader(database)
        found = []
        for _ in range(times):
            started = time.perf_counter()
            await reader.report("model", int(time.time()) - 30 * 86_400)
            found.append(time.perf_counter() - started)
        return found
    finally:
        await database.close()


async def verified(ledger: Ledger) -> tuple[float, int, int]:
    """How long it took, the rows it counted, and of how many keys the sums differ."""
    database = await Database.open(ledger.path)
    try:
        started = time.perf_counter()
        keys = await UsageReader(database).verify()
        took = time.perf_counter() - started
    finally:
        await database.close()
    return took, sum(key.rows[0] for key in keys), sum(not key.is_equal for key in keys)


def measure(options: argparse.Namespace, folder: Path) -> list[Figure]:
    """Fill two, and look at them."""
    rows = options.rows
    few = rows // 100 // 2 * 2
    begin_ms = int(time.time() * 1000) - options.days * DAY_MS
    traffic = Traffic(begin_ms, options.days * DAY_MS / rows, options.keys, options.models)
    small, full = Ledger(folder / "small", options.keys), Ledger(folder / "full", options.keys)
    small.fill(traffic, rows - few, rows)
    started = time.monotonic()
    full.fill(traffic, 0, rows)
    figures = [Figure("filling", f"{time.monotonic() - started:,.0f} s")]
    figures += [
        Figure("file", f"{full.bytes() / rows:.0f} bytes a row, {full.bytes() / 1e9:.2f} GB"),
        Figure("of which the rows' own pages", f"{full.ledger_bytes() / rows:.0f} bytes a row"),
    ]
    tell("starting it")
    figures.append(timed("start until /health", start_s(full, 3), READY_MOST_S))
    figures.append(timed("report by model, 30 days", asyncio.run(report_s(full, 5)), REPORT_MOST_S))
    took = command_s(full)
    name = "rooya.py usage --by model --since 30d"
    figures.append(Figure(name, "not there") if took is None else timed(name, [took], None))
    tell("appending to it")
    figures += appended(append_ms([small, full], traffic, rows), few, rows)
    tell("verifying it")
    sums = agreed(asyncio.run(verified(full)), rows + (BATCHES + 1) * BATCH_ROWS)
    tell("looking at its pages")
    return [*figures, *seen(pages.Site(full.folder), options), *sums]


def seen(site: pages.Site, options: argparse.Namespace) -> list[Figure]:
    """Its pages, and what calls feel of one that reloads."""
    with site.served():
        found = pages.page_seconds(site).items()
        figures = [timed(name, seconds, PAGE_MOST_S) for name, seconds in found]
        crowd = pages.crowd(site, options.crowds, options.crowd_seconds)
    value = f"{statistics.median(crowd.alone):.2f} ms, beside {statistics.median(crowd.beside):.2f} ms"
    figures.append(Figure("p99 of calls, then beside a page's loop", f"{value} ({crowd.reloads} reloads)"))
    broken = crowd.ratio > CROWD_RATIO_MOST
    figures.append(Figure("ratio of the two p99", f"{crowd.ratio:.2f}", f"<= {CROWD_RATIO_MOST}", broken))
    return figures


def timed(name: str, seconds: list[float], most_s: float | None) -> Figure:
    """The median against its bound; the first may have found nothing in memory."""
    median = statistics.median(seconds)
    value = f"{median * 1000:,.1f} ms (first {seconds[0] * 1000:,.1f}, worst {max(seconds) * 1000:,.1f})"
    if most_s is None:
        return Figure(name, value)
    return Figure(name, value, f"< {most_s * 1000:,.0f} ms", median >= most_s)


def appended(times: list[list[float]], few: int, rows: int) -> list[Figure]:
    """Batches at the end of either."""
    medians = [statistics.median(found) for found in times]
    ratio = medians[1] / medians[0]
    means = " and ".join(f"{statistics.mean(found):.1f}" for found in times)
    return [
        Figure(f"1,000 rows more at {few:,}", f"{medians[0]:.1f} ms"),
        Figure(f"1,000 rows more at {rows:,}", f"{medians[1]:.1f} ms (means {means})"),
        Figure("ratio of the two", f"{ratio:.2f}", f"<= {RATIO_MOST}", ratio > RATIO_MOST),
    ]


def agreed(found: tuple[float, int, int], rows: int) -> list[Figure]:
    """Judged always."""
    took, counted, differing = found
    return [
        Figure("usage verify", f"{took:,.1f} s"),
        Figure("rows counted", f"{counted:,}", f"{rows:,}", counted != rows),
        Figure("keys whose sums differ", str(differing), "0", differing > 0),
    ]


def table(figures: list[Figure], is_unjudged: bool) -> str:
    """One line a figure; what is broken says so."""
    width = max(len(figure.name) for figure in figures)
    lines = []
    for figure in figures:
        bound = f"  [{figure.bound}]" if figure.bound else ""
        broken = "  BROKEN" if figure in broken_ones(figures, is_unjudged) else ""
        lines.append(f"{figure.name:<{width}}  {figure.value}{bound}{broken}")
    return "\n".join(lines)


def broken_ones(figures: list[Figure], is_unjudged: bool) -> list[Figure]:
    """Of an unjudged run, the sums alone."""
    return [figure for figure in figures[-2 if is_unjudged else 0 :] if figure.is_broken]


def tell(what: str) -> None:
    """Progress."""
    print(what, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """0, or 1 where a bound is broken."""
    parser = argparse.ArgumentParser(description="Fill a ledger, and measure it.")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--crowds", type=int, default=pages.RUNS, help="runs of calls beside a page")
    parser.add_argument("--crowd-seconds", type=float, default=pages.SECONDS)
    parser.add_argument("--unjudged", action="store_true", help="bound no time")
    options = parser.parse_args(arguments)
    options.rows = max(400, options.rows // 2 * 2)
    with tempfile.TemporaryDirectory(prefix="rooya-ledger-", dir=options.dir) as folder:
        figures = measure(options, Path(folder))
    print(table(figures, options.unjudged))
    return 1 if broken_ones(figures, options.unjudged) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
