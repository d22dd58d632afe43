"""`make bench`: Rooya beside nginx (and others) on this machine, in one run.

Static upstream and load generator share one core, the subject has another. In every run the subjects take
turns on each load, so that the machine's moods hit all alike; medians are reported, and ratios to nginx's
proxy_pass. A wrong answer ends it with status 1; a missed target does not, since machines differ.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import litellm_peer
import load
import machine
import nginx
import report
import startup
import streams
from answers import WrongAnswer
from processes import ServerFailed
from subjects import Place, Subject, all_running

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("plain", "stream", "one", "paced", "start", "micro")
CONNECTIONS = {"plain": 64, "stream": 64, "one": 1}
# The upstream itself matters only where latency is compared with it. A peer that takes every chunk apart
# cannot hold the paced streams: 25,600 chunks a second are more than its core has.
ABSENT = {"plain": {"direct"}, "stream": {"direct"}, "one": set(), "paced": {"litellm"}}
PACED_STREAMS = 256
FEW_STREAMS = 8  # what has been opened once warms a process up
PACED_INTERVAL_MS = 10
STARTS = 7
MICRO_CALLS = 20_000
MODULES = ("tornado", "uvloop", "httptools")


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked."""

    runs: int
    seconds: float
    kind: str
    json: Path
    peers: list[str]
    only: list[str]
    checkout: Path
    streams: int
    starts: int
    micro_calls: int


def parse(arguments: list[str]) -> Options:
    """Read the command line; argparse ends the program on a bad one."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load in each run")
    parser.add_argument("--load", choices=("wrk", "builtin"), default="wrk", help="what makes the load")
    parser.add_argument("--json", type=Path, default=ROOT / ".build" / "bench.json")
    parser.add_argument("--peers", default=os.environ.get("PEERS", ""), help="litellm: measure it too")
    parser.add_argument("--only", default="", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="measure another checkout")
    parser.add_argument("--streams", type=int, default=PACED_STREAMS, help="of the paced load")
    parser.add_argument("--starts", type=int, default=STARTS)
    parser.add_argument("--micro-calls", type=int, default=MICRO_CALLS)
    given = parser.parse_args(arguments)
    peers, only = given.peers.replace(",", " ").split(), given.only.replace(",", " ").split()
    if unknown := [*(set(peers) - {"litellm"}), *(set(only) - set(PARTS))]:
        parser.error(f"unknown: {', '.join(unknown)}")
    if given.load == "wrk" and not load.has_wrk():
        parser.error("wrk is missing: apt-get install wrk, or --load builtin")
    return Options(
        runs=given.runs,
        seconds=given.seconds,
        kind=given.load,
        json=given.json,
        peers=peers,
        only=only or list(PARTS),
        checkout=given.checkout.resolve(),
        streams=given.streams,
        starts=given.starts,
        micro_calls=given.micro_calls,
    )


class Bench:
    """One run of the harness in its folder."""

    def __init__(self, options: Options, place: Place) -> None:
        self._options = options
        self._place = place

    def measure(self) -> report.Report:
        """Everything that was asked for."""
        options, wanted = self._options, self._options.only
        result: report.Report = {"date": _now(), "machine": machine.describe()}
        result["settings"] = {
            "runs": options.runs,
            "seconds": options.seconds,
            "load": options.kind,
            "streams": options.streams,
            "interval_ms": self._place.interval_ms,
            "is_pinned": self._place.cores.is_pinned,
        }
        result["versions"] = self._versions()
        if "start" in wanted:
            _tell("start-up")
            start = startup.run(self._place, options.starts)
            result["start"] = {**asdict(start), "ratio": start.ratio}
        if "micro" in wanted:
            _tell("key check")
            result["micro"] = _micro(options, self._place.cores.subject)
        result |= self._loads()
        result["targets"] = report.judge(result)
        return result

    def _loads(self) -> report.Report:
        wanted = [part for part in PARTS if part in self._options.only and part not in ("start", "micro")]
        if not wanted:
            return {"loads": {}, "memory": {}, "samples": {}}
        with all_running(self._place, self._options.peers) as subjects:
            servers = {name: each for name, each in subjects.items() if each.server}
            memory = {name: {"idle_mib": each.idle_rss_bytes / report.MIB} for name, each in servers.items()}
            if "paced" in wanted:
                for name in servers.keys() - ABSENT["paced"]:
                    memory[name]["stream_kib"] = self._stream_kib(servers[name])
            noise = machine.Noise.listen()
            samples = self._samples(list(subjects.values()), wanted)
            others_percent = noise.percent_since()
            for name, each in servers.items():
                memory[name]["after_mib"] = each.rss_bytes() / report.MIB
        loads = report.summarise(samples)
        return {"loads": loads, "memory": memory, "samples": samples, "others_percent": others_percent}

    def _samples(self, subjects: list[Subject], wanted: list[str]) -> report.Samples:
        present = {part: [each for each in subjects if each.name not in ABSENT[part]] for part in wanted}
        samples: report.Samples = {part: {each.name: [] for each in present[part]} for part in wanted}
        for number, part in itertools.product(range(self._options.runs), wanted):
            first = number % len(present[part])  # another one begins in every run
            for subject in present[part][first:] + present[part][:first]:
                _tell(f"run {number + 1} of {self._options.runs}: {part}, {subject.name}")
                sample = self._paced(subject) if part == "paced" else self._requests(part, subject)
                samples[part][subject.name].append(sample)
        return samples

    def _requests(self, part: str, subject: Subject) -> report.Sample:
        route = "plain" if part == "one" else part
        aim = subject.aim(route)
        made = load.Load(
            self._options.kind,
            CONNECTIONS[part],
            self._options.seconds,
            self._place.folder,
            self._place.cores.others,
        )
        cpu_before, started = subject.cpu_ns(), time.monotonic()
        figures = load.run(made, aim)
        cpu_ns, wall_s = subject.cpu_ns() - cpu_before, time.monotonic() - started
        return {
            "per_s": figures.requests / figures.seconds,
            **_cost(subject, cpu_ns, figures.requests, wall_s),
            "p50_us": figures.p50_us,
            "p99_us": figures.p99_us,
        }

    def _paced(self, subject: Subject) -> report.Sample:
        seconds = self._options.seconds
        crowd = streams.Crowd(self._options.streams, seconds, settle_s=min(1.0, seconds / 2))
        figures = streams.run(crowd, subject)
        return {
            "per_s": figures.chunks / figures.seconds,
            **_cost(subject, figures.cpu_ns, figures.chunks, figures.seconds),
            "p50_us": figures.p50_us,
            "p99_us": figures.p99_us,
        }

    def _stream_kib(self, subject: Subject) -> float:
        """Memory of one open stream. Asked first: later there is memory to reuse that loads left behind."""
        few = streams.Crowd(FEW_STREAMS, seconds=0.1, settle_s=0.1)
        many = streams.Crowd(self._options.streams + FEW_STREAMS, seconds=0.2, settle_s=0.3)
        before, after = (streams.run(crowd, subject).rss_bytes for crowd in (few, many))
        return (after - before) / (many.streams - few.streams) / 1024

    def _versions(self) -> dict[str, str]:
        versions = {"rooya": _commit(self._options.checkout), "nginx": nginx.version()}
        versions["load"] = load.version(self._options.kind)
        versions |= {name: importlib.metadata.version(name) for name in MODULES}
        if "litellm" in self._options.peers:
            versions["litellm"] = litellm_peer.install()
        return versions


def _cost(subject: Subject, cpu_ns: int, count: int, wall_s: float) -> report.Sample:
    """CPU per request or chunk, and how full the core was; nothing for the upstream itself."""
    if subject.server is None:
        return {}
    return {"cpu_us": cpu_ns / count / 1000, "core_percent": cpu_ns / wall_s / 1e7}


def _micro(options: Options, core: int | None) -> dict[str, float]:
    """In a fresh interpreter on the subject's core."""
    program = options.checkout / "tests" / "bench" / "micro.py"
    command = [sys.executable, str(program), "--calls", str(options.micro_calls), "--json"]
    done = subprocess.run(machine.pinned(command, core), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerFailed(f"the key check failed: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _commit(checkout: Path) -> str:
    """What was measured, as git names it; a checkout without git is `unknown`."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--tags"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _tell(what: str) -> None:
    """Progress: one line that is overwritten on a terminal, a line each elsewhere."""
    before, after = ("\r\033[K", "") if sys.stderr.isatty() else ("", "\n")
    print(f"{before}{what}", end=after, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """0, or 1 when a subject failed or answered wrongly."""
    options = parse(arguments)
    # A SIGTERM ends the servers as Ctrl-C does: by unwinding.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cores = machine.choose_cores()
    if cores.others is None:
        print(f"Not pinned: {cores.reason}.", file=sys.stderr)
    else:
        os.sched_setaffinity(0, {cores.others})
    with tempfile.TemporaryDirectory(prefix="rooya-bench-") as folder:
        place = Place(Path(folder), cores, options.checkout, PACED_INTERVAL_MS)
        try:
            result = Bench(options, place).measure()
        except (WrongAnswer, ServerFailed) as error:
            print(f"\nThe benchmark is void: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(report.table(result))
    print(f"\nAll figures: {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
