"""`rooya.py usage`: what was used and what it cost, is it all accounted for, and corrections.

Reports come from the sums, never from the request table. Money is shown with all its decimals.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from handlers import command_values as values
from handlers.verbs import Result, Tables
from store.usage import GROUPS, KeySums, UsageRow

COUNTS: Final = (
    "requests", "errors", "estimated", "unpriced", "input_tokens", "output_tokens", "cached_tokens",
    "cost_nanodollars",
)  # fmt: skip


async def report(options: argparse.Namespace, tables: Tables) -> Result:
    """`usage`: sums by model, key, user, provider, day or hour."""
    rows = await tables.usage.report(options.by, options.since)
    shown = [{**_named(options.by, row), **_counted(row)} for row in rows]
    total = {name: sum(getattr(row, name) for row in rows) for name in COUNTS}
    total["cost_usd"] = values.usd(total["cost_nanodollars"])
    document = {"by": options.by, "since": options.since, "rows": shown, "total": total}
    if options.csv:
        return Result(document, _csv(shown))
    return Result(document, _table(shown, total) if shown else ["Nothing was used."])


def _named(by: str, row: UsageRow) -> dict[str, Any]:
    """The group's own columns."""
    if by == "key":
        return {"key_id": row.group, "name": row.name}
    if by == "user":
        return {"user_id": row.group, "email": row.name}
    if by in ("day", "hour"):
        length = 10 if by == "day" else 16
        return {by: datetime.fromtimestamp(row.group, UTC).isoformat()[:length]}
    return {by: row.group}


def _counted(row: UsageRow) -> dict[str, Any]:
    counts = {name: getattr(row, name) for name in COUNTS}
    return {**counts, "cost_usd": values.usd(row.cost_nanodollars)}


def _csv(rows: Sequence[dict[str, Any]]) -> list[str]:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "cost_usd": exact_usd(row["cost_nanodollars"])} for row in rows)
    return text.getvalue().splitlines()


def _table(rows: Sequence[dict[str, Any]], total: dict[str, Any]) -> list[str]:
    heads = [head for head in rows[0] if head not in ("cost_nanodollars", "estimated", "unpriced")]
    first = heads[0]
    lines = [heads]
    for row in (*rows, {first: "total", **total}):
        shown = {**row, "cost_usd": exact_usd(row["cost_nanodollars"])}
        lines.append([values.cell(shown.get(head)) if head in shown else "" for head in heads])
    return values.aligned(lines)


def exact_usd(nanodollars: int) -> str:
    """All nine decimals: a double has fewer digits than a long sum."""
    sign, amount = ("-", -nanodollars) if nanodollars < 0 else ("", nanodollars)
    return f"{sign}{amount // values.NANODOLLARS}.{amount % values.NANODOLLARS:09d}"


async def verify(options: argparse.Namespace, tables: Tables) -> Result:
    """`usage verify`: do the rows, the keys' spend and the sums agree? Status 1 where they do not."""
    sums = await tables.usage.verify()
    different = [one for one in sums if not one.is_equal]
    calls, cost = (sum(one.rows[at] for one in sums) for at in (0, 1))
    document = {
        "is_equal": not different,
        "keys": len(sums),
        "calls": calls,
        "cost_nanodollars": cost,
        "differences": [_difference(one) for one in different],
    }
    if different:
        return Result(document, [line for one in different for line in _explained(one)], 1)
    line = f"All sums agree: {calls} calls, {len(sums)} keys, {exact_usd(cost)} USD."
    return Result(document, [line])


def _difference(sums: KeySums) -> dict[str, Any]:
    parts = {"rows": sums.rows, "spend": sums.spend, "hours": sums.hours, "days": sums.days}
    shown = {name: {"calls": part[0], "cost_nanodollars": part[1]} for name, part in parts.items()}
    return {"key_id": sums.key_id, **shown}


def _explained(sums: KeySums) -> list[str]:
    lines = [f"key {sums.key_id}: {sums.rows[0]} calls, {exact_usd(sums.rows[1])} USD by its rows, but"]
    for name, part in (("its spend", sums.spend), ("hourly sums", sums.hours), ("daily sums", sums.days)):
        if part != sums.rows:
            less = exact_usd(part[1] - sums.rows[1])
            lines.append(f"  {part[0]} calls, {exact_usd(part[1])} USD by {name}: a difference of {less}")
    return lines


async def correct(options: argparse.Namespace, tables: Tables) -> Result:
    """`usage correct`: the operator knows better what a call cost than an estimate."""
    difference = await tables.usage.correct(options.request_id, options.cost_usd)
    document = {
        "request_id": options.request_id,
        "cost_nanodollars": options.cost_usd,
        "difference_nanodollars": difference,
    }
    line = f"{options.request_id} now costs {exact_usd(options.cost_usd)} USD ({exact_usd(difference)} more)."
    return Result(document, [line.replace("(-", "(by -") if difference < 0 else line])


def add_options(usage: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """The grammar. output: the options that every verb takes."""
    usage.add_argument("--by", choices=GROUPS, default="key")
    usage.add_argument("--since", type=values.since, default="30d", metavar="7d|2026-11-01|all")
    usage.add_argument("--csv", action="store_true", help="comma-separated values, to the nano-dollar")
    usage.set_defaults(action="report")
    actions = usage.add_subparsers(metavar="ACTION")
    found = actions.add_parser("verify", parents=[output], help="does everything add up?")
    found.set_defaults(action="verify")
    correction = actions.add_parser("correct", parents=[output], help="set the cost of an estimated call")
    correction.add_argument("request_id", metavar="REQUEST_ID")
    correction.add_argument("--cost-usd", type=values.cost, required=True, metavar="X")
    correction.set_defaults(action="correct")
