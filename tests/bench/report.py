"""From samples to the report: medians, ratios to nginx, the targets, a table and a JSON document."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

Sample = dict[str, float]
Report = dict[str, Any]  # the JSON document, or a part of it
Samples = dict[str, dict[str, list[Sample]]]  # load -> subject -> one sample a run

MIB = 1024 * 1024
FLOOR = "nginx"
QUIET_PERCENT = 5  # above it, latencies say more about the neighbours than about the subjects
TITLES = {
    "plain": "plain, 64 connections",
    "stream": "stream of 50 chunks in one piece, 64 connections",
    "one": "plain, 1 connection",
    "paced": "256 streams, a chunk every 10 ms",
}
HEADINGS = {
    "per_s": "per second",
    "cpu_us": "CPU µs each",
    "cpu_ratio": "x nginx",
    "core_percent": "core %",
    "p50_us": "p50 µs",
    "p99_us": "p99 µs",
    "added_p50_us": "added p50",
    "added_p99_us": "added p99",
    "added_p50_ratio": "p50 x nginx",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A promise about a figure: it stays at or below the bound (below it where `is_strict`)."""

    name: str
    path: tuple[str, ...]
    bound: float
    unit: str
    is_strict: bool = False


TARGETS = (
    Target("plain: CPU per request against nginx", ("loads", "plain", "rooya", "cpu_ratio"), 3.5, "x"),
    Target("the same with Redis", ("loads", "plain", "rooya+redis", "cpu_ratio"), 4.5, "x"),
    Target("one connection: added p50 against nginx", ("loads", "one", "rooya", "added_p50_ratio"), 1.5, "x"),
    Target("the same with Redis", ("loads", "one", "rooya+redis", "added_p50_ratio"), 3.5, "x"),
    Target("streams: CPU per chunk against nginx", ("loads", "paced", "rooya", "cpu_ratio"), 2.0, "x"),
    Target("streams: p99 chunk delay", ("loads", "paced", "rooya", "p99_us"), 20_000, "µs", is_strict=True),
    Target("streams: memory of one", ("memory", "rooya", "stream_kib"), 20, "KiB", is_strict=True),
    Target("memory when idle", ("memory", "rooya", "idle_mib"), 60, "MiB", is_strict=True),
    Target("start against the imports", ("start", "ratio"), 2.0, "x"),
    Target("key check on a memory hit", ("micro", "key_check_ns"), 1000, "ns", is_strict=True),
    Target("routing, of two targets", ("micro", "routing_ns"), 2000, "ns"),
    Target("a translated chunk, of the dearer dialect", ("micro", "chunk_ns"), 12000, "ns"),
    Target("ledger on the loop's thread", ("micro", "ledger_loop_ns"), 6000, "ns"),
    Target("ledger in the whole process", ("micro", "ledger_process_ns"), 12000, "ns"),
)


def summarise(samples: Samples) -> dict[str, dict[str, Sample]]:
    """Medians over the runs, with what only shows beside the other subjects."""
    loads = {load: {who: _medians(runs) for who, runs in each.items()} for load, each in samples.items()}
    for each in loads.values():
        floor = each.get(FLOOR)
        for figures in each.values():
            if floor and "cpu_us" in figures:
                figures["cpu_ratio"] = figures["cpu_us"] / floor["cpu_us"]
    _compare_with_direct(loads.get("one", {}), samples.get("one", {}))
    return loads


def _medians(runs: list[Sample]) -> Sample:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _compare_with_direct(figures: dict[str, Sample], samples: dict[str, list[Sample]]) -> None:
    """Added latency is taken within each run, where both saw the same noise; then the median."""
    for who, runs in samples.items():
        if who == "direct":
            continue
        for name in ("p50_us", "p99_us"):
            pairs = zip(runs, samples["direct"], strict=True)
            figures[who][f"added_{name}"] = statistics.median(run[name] - bare[name] for run, bare in pairs)
    floor = figures.get(FLOOR, {}).get("added_p50_us", 0)
    for each in figures.values():
        if floor > 0 and "added_p50_us" in each:
            each["added_p50_ratio"] = each["added_p50_us"] / floor


def judge(report: Report) -> list[Report]:
    """Every target whose figure was measured, with its verdict."""
    verdicts: list[Report] = []
    for target in TARGETS:
        value: object = report
        for step in target.path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, int | float):
            is_met = value < target.bound if target.is_strict else value <= target.bound
            verdicts.append(
                {
                    "name": target.name,
                    "value": value,
                    "bound": target.bound,
                    "unit": target.unit,
                    "is_met": is_met,
                }
            )
    return verdicts


def table(report: Report) -> str:
    """The whole report for people."""
    lines = [_machine_line(report)]
    for load, each in report["loads"].items():
        lines += ["", *_load_lines(TITLES[load], each)]
    lines += ["", *_rest_lines(report), "", *_target_lines(report["targets"])]
    return "\n".join(lines)


def _machine_line(report: Report) -> str:
    machine, settings = report["machine"], report["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    place = "one core each side" if settings["is_pinned"] else "NOT PINNED: the figures mix both sides"
    others = report.get("others_percent", 0)
    noise = (
        f"\nNOT QUIET: others used {others:.0f}% of the machine meanwhile" if others > QUIET_PERCENT else ""
    )
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {place}; medians of {settings['runs']} runs of "
        f"{settings['seconds']:g} s\n{versions}{noise}"
    )


def _load_lines(title: str, each: dict[str, Sample]) -> list[str]:
    columns = [name for name in HEADINGS if any(name in figures for figures in each.values())]
    heading = f"{title:<12}"
    lines = [heading, " " * 12 + "".join(f"{HEADINGS[name]:>13}" for name in columns)]
    for who, figures in each.items():
        cells = (_cell(figures[name]) if name in figures else "" for name in columns)
        lines.append(f"  {who:<10}" + "".join(f"{cell:>13}" for cell in cells))
    return lines


def _cell(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _rest_lines(report: Report) -> list[str]:
    lines = []
    for who, memory in report.get("memory", {}).items():
        lines.append(
            f"memory  {who:<8} idle {memory['idle_mib']:.1f} MiB, after load {memory['after_mib']:.1f} MiB"
            + (f", one open stream {memory['stream_kib']:.1f} KiB" if "stream_kib" in memory else "")
        )
    if start := report.get("start"):
        lines.append(
            f"start   {start['ready_ms']:.0f} ms to the first answer "
            f"({start['first_ms']:.0f} ms the very first time), "
            f"imports alone {start['imports_ms']:.0f} ms: {start['ratio']:.2f} x"
        )
    if micro := report.get("micro"):
        lines.append(f"key     {micro['key_check_ns']:.0f} ns a check on a memory hit")
        lines.append(f"routing {micro['routing_ns']:.0f} ns a call of two targets")
        lines.append(f"chunk   {micro['chunk_ns'] / 1000:.1f} µs to translate one, of the dearer dialect")
        loop, whole = micro["ledger_loop_ns"] / 1000, micro["ledger_process_ns"] / 1000
        lines.append(f"ledger  {loop:.1f} µs a call on the loop's thread, {whole:.1f} in the process")
    return lines


def _target_lines(targets: list[Report]) -> list[str]:
    return [
        f"{'PASS' if each['is_met'] else 'FAIL'}  {each['name']}: {_cell(each['value'])} {each['unit']}"
        f" (at most {each['bound']:g})"
        for each in targets
    ]
