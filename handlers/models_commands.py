"""`rooya.py models`: what can be asked for and what it costs; fetching newer lists of models, newer prices.

A provider's list that cannot be read leaves the one before in place. New prices are fetched and checked by a
child, compared with those that hold, shown, and put in place in one step. What looks like a slip (ten times
the price, or none where there was one) takes a --yes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from handlers import command_values as values
from handlers.catalog_keeping import CatalogSync, Outcome, load
from handlers.price_keeping import row_of
from handlers.verbs import Result, Tables
from providers import price_edition
from providers.catalog import PublicModel
from providers.model_fetch import ListReader
from providers.price_edition import Edition
from providers.price_list import COMMAND, ROOT, PriceList, Served
from providers.pricing import Price, Tariff
from providers.router import Router
from providers.transport import Transport
from providers.types import Target
from store.catalog import Changes
from store.errors import Invalid

FETCH: Final = (sys.executable, "-m", "providers.price_fetch")
SUSPICIOUS: Final = 10  # times dearer or cheaper
DESCRIBED: Final = ("type", "provider", "model", "context", "max_output")
PRICED: Final = ("input_usd", "cached_input_usd", "output_usd", "price_source")  # USD per million tokens

Tariffs = dict[Served, Tariff | None]


async def list_models(options: argparse.Namespace, tables: Tables) -> Result:
    """`models list`: every model that is listed, where it is served, and its price per million tokens."""
    router = await _router(tables)
    held = await _held(tables, router)
    rows = []
    for model in router.models().values():
        target = router.first_target(model.id)
        tariff = held.get(Served(target.kind, target.base_url, target.model))
        spec = router.model_spec(model.id)
        price = (spec.price if spec is not None else None) or target.adapter.price
        if price is None and tariff is not None:
            price = tariff.at(values.now())
        rows.append({**_described(model, target), **_priced(price)})
    heads = ("id", *DESCRIBED, *PRICED)
    table = [heads, *(tuple(values.cell(row[head]) for head in heads) for row in rows)]
    return Result(rows, values.aligned(table))


async def _router(tables: Tables) -> Router:
    """As a running gateway has it: by the lists that were read last."""
    router = tables.router()
    lists, _ = await load(tables.catalog, router.listing_providers())
    router.use(lists)
    return router


def _described(model: PublicModel, target: Target) -> dict[str, Any]:
    known = target.known
    sizes = (None, None) if known is None else (known.context, known.max_output)
    facts = (model.type, target.provider, target.model, *sizes)
    return {"id": model.id, **dict(zip(DESCRIBED, facts, strict=True))}


def _priced(price: Price | None) -> dict[str, Any]:
    if price is None:
        return dict.fromkeys(PRICED)
    rates = (price.rates.input, price.rates.cached_input, price.rates.output)
    return dict(zip(PRICED, (*map(values.usd, rates), price.source), strict=True))


async def _held(tables: Tables, router: Router) -> Tariffs:
    """The prices that hold now, of all that is listed: as the table has them, else looked up."""
    edition = price_edition.current(tables.settings.server.data_dir)
    rows, _ = await tables.prices.load()
    known = PriceList(edition.command)
    for row in rows:
        if row.source == edition.source:
            tariff = Tariff.from_json(row.tariff) if row.tariff else None
            known.preset(Served(row.kind, row.base_url, row.model), tariff)
    return await _resolved(known, [*router.served(), *(Served(*row[:3]) for row in rows)])


async def _resolved(prices: PriceList, wanted: Sequence[Served]) -> Tariffs:
    try:
        return await prices.resolve(dict.fromkeys(wanted))
    finally:
        await prices.close()


async def sync(options: argparse.Namespace, tables: Tables) -> Result:
    """`models sync [--prices]`. Raises Invalid, StoreUnavailable."""
    if options.prices:
        return await _sync_prices(options, tables)
    if options.source or options.dry_run or options.yes:
        raise Invalid("--from, --dry-run and --yes are about prices: say --prices too")
    providers = tables.router().listing_providers()
    transport = Transport()
    try:
        reading = CatalogSync(lists=tables.catalog, reader=ListReader(transport), clock=time.time)
        outcomes = await reading.all(providers)
    finally:
        await transport.close()
    lines = [line for outcome in outcomes for line in _told(outcome)]
    is_in_vain = bool(outcomes) and all(outcome.failure for outcome in outcomes)
    return Result(
        [_outcome_row(outcome) for outcome in outcomes],
        lines or ["No provider that is configured has a list of its models."],
        int(is_in_vain),
    )


def _outcome_row(outcome: Outcome) -> dict[str, Any]:
    changes = outcome.changes or Changes([], [], [])
    return {"provider": outcome.provider, "failure": outcome.failure or None, **changes._asdict()}


def _told(outcome: Outcome) -> Iterator[str]:
    if outcome.changes is None:
        yield f"{outcome.provider}: could not be read, the list of before still holds: {outcome.failure}"
        return
    changes = outcome.changes._asdict()
    yield f"{outcome.provider}: {', '.join(f'{len(names)} {word}' for word, names in changes.items())}"
    yield from (f"  {word} {name}" for word, names in changes.items() for name in names)


async def _sync_prices(options: argparse.Namespace, tables: Tables) -> Result:
    """`models sync --prices`: fetch, compare, show, put in place. Raises Invalid, StoreUnavailable."""
    data_dir = tables.settings.server.data_dir
    target = price_edition.fetched_path(data_dir)
    draft = target.with_suffix(".new")
    try:
        await _fetch(options.source or "published", draft)
        edition = Edition(
            (*COMMAND, "--data", str(draft.absolute())), price_edition.source_of(draft.read_bytes())
        )
        before = await _held(tables, await _router(tables))
        after = await _resolved(PriceList(edition.command), list(before))
        changes = [served for served in before if _text(before[served]) != _text(after[served])]
        odd = [served for served in changes if _is_odd(before[served], after[served])]
        lines = [_change(served, before[served], after[served]) for served in changes]
        document = {"source": edition.source, "changes": lines, "is_applied": False}
        if odd and not options.yes:
            names = ", ".join(f"{served.kind} {served.model}" for served in odd)
            raise Invalid("\n".join([*lines, f"nothing was changed: look at {names}, then say --yes"]))
        if not options.dry_run:
            os.replace(draft, target)
            await tables.prices.save([row_of(served, after[served], edition.source) for served in after])
            document["is_applied"] = True
    finally:
        draft.unlink(missing_ok=True)
    done = "would change" if options.dry_run else "changed"
    return Result(document, [*lines, f"{len(changes)} of {len(before)} prices {done} ({edition.source})."])


async def _fetch(source: str, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    child = await asyncio.create_subprocess_exec(
        *FETCH, source, str(target.absolute()), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, words = await child.communicate()
    if child.returncode:
        reason = words.decode(errors="replace").strip().rpartition("\n")[2]
        raise Invalid(f"prices could not be fetched, those of before still hold: {reason}")


def _text(tariff: Tariff | None) -> str:
    """All that decides what a call costs, without where it comes from."""
    return "" if tariff is None else "; ".join(map(str, _rates(tariff)))


def _rates(tariff: Tariff) -> Iterator[object]:
    for period in tariff.periods:
        price = period.price
        variants = {name: (each.rates, each.tiers) for name, each in price.variants.items()}
        yield period.start, period.window, price.rates, price.tiers, variants


def _is_odd(before: Tariff | None, after: Tariff | None) -> bool:
    """Is it rather a slip than a new price?"""
    if before is None or after is None:
        return after is None
    old, new = before.at(values.now()).rates, after.at(values.now()).rates
    pairs = ((old.input, new.input), (old.output, new.output))
    return any(max(a, b) > SUSPICIOUS * min(a, b) for a, b in pairs)


def _change(served: Served, before: Tariff | None, after: Tariff | None) -> str:
    old, new = (None if tariff is None else tariff.at(values.now()) for tariff in (before, after))
    shown = [
        f"{name.removesuffix('_usd')} {values.cell(was)} -> {values.cell(becomes)}"
        for (name, was), becomes in zip(_priced(old).items(), _priced(new).values(), strict=True)
        if was != becomes and name != "price_source"
    ]
    return f"{served.kind} {served.model}: {', '.join(shown) or 'other rates, or other times'}"


def add_options(models: argparse.ArgumentParser, output: argparse.ArgumentParser) -> None:
    """The grammar. output: the options that every verb takes."""
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", parents=[output], help="all models, and what they cost")
    update = actions.add_parser("sync", parents=[output], help="fetch what is newer")
    update.add_argument("--prices", action="store_true", help="the published prices, not the lists of models")
    update.add_argument("--from", dest="source", metavar="URL|FILE")
    update.add_argument("--dry-run", action="store_true", help="only show what would change")
    update.add_argument("--yes", action="store_true", help="also take what looks like a slip")
