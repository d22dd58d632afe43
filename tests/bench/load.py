"""Load on one subject: N connections, each asking again as soon as it is answered.

wrk makes it, or a generator in this process where wrk is missing: that one tires a little earlier, but reads
and compares every answer. wrk only counts: so an answer is compared in full before and after each load, and
all of wrk's answers together must be as long as so many of that one.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

import machine
import traffic
from answers import Aim, Reading, WrongAnswer, ask

SIZE_TOLERANCE = 0.05  # of the average answer: a relay may frame a chunked body differently from time to time
SCRIPT = """\
wrk.method = "POST"
wrk.body = {body}
wrk.headers = {{ {headers} }}
done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '\\n{{"requests": %d, "us": %d, "bytes": %.0f, "failed": %d, "p50": %d, "p99": %d}}\\n',
        summary.requests, summary.duration, summary.bytes,
        e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What to put on a subject. `kind` is wrk or builtin."""

    kind: str
    connections: int
    seconds: float
    folder: Path
    core: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What the clients saw."""

    requests: int
    seconds: float
    wire_bytes: int
    p50_us: float
    p99_us: float


def run(load: Load, aim: Aim) -> Figures:
    """Load a subject; raises WrongAnswer when it fails or changes one request."""
    probe = ask(aim.port, aim.request)
    aim.check(probe)
    if load.kind == "wrk":
        figures = _wrk(load, aim)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            figures = runner.run(_builtin(load, aim))
    aim.check(ask(aim.port, aim.request))
    _check_size(figures, probe.wire_bytes, load, aim)
    return figures


def _check_size(figures: Figures, answer_bytes: int, load: Load, aim: Aim) -> None:
    """All answers together are as long as they must be; those under way at the end may be counted or not."""
    right = figures.requests * answer_bytes
    if abs(figures.wire_bytes - right) > right * SIZE_TOLERANCE + load.connections * answer_bytes:
        average = figures.wire_bytes / figures.requests
        raise WrongAnswer(f"{aim.name} answered {average:.0f} bytes on average, not {answer_bytes}")


def version(kind: str) -> str:
    """The load generator's."""
    if kind != "wrk":
        return "builtin"
    words = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout.split()
    return " ".join(words[:2])


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


def _wrk(load: Load, aim: Aim) -> Figures:
    head, _, body = aim.request.decode().partition("\r\n\r\n")
    fields = [line.partition(": ") for line in head.split("\r\n")[1:]]
    # wrk writes these two itself.
    own = [(name, value) for name, _, value in fields if name not in ("Host", "Content-Length")]
    headers = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in own)
    script = load.folder / "wrk.lua"
    script.write_text(SCRIPT.format(body=json.dumps(body), headers=headers))
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{math.ceil(load.seconds)}s", "-s", str(script)]
    url = f"http://127.0.0.1:{aim.port}{traffic.PATH}"
    # Slow is no failure here: wrk's own bound of 2 s would make it one.
    command += ["--latency", "--timeout", "60s", url]
    done = subprocess.run(machine.pinned(command, load.core), capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongAnswer(f"wrk failed on {aim.name}: {done.stdout[-500:]} {done.stderr[-500:]}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    if result["failed"] or not result["requests"]:
        raise WrongAnswer(f"{aim.name} failed {result['failed']} of its requests:\n{done.stdout}")
    return Figures(
        requests=result["requests"],
        seconds=result["us"] / 1e6,
        wire_bytes=result["bytes"],
        p50_us=result["p50"],
        p99_us=result["p99"],
    )


async def _builtin(load: Load, aim: Aim) -> Figures:
    started = time.monotonic()
    latencies_ns: list[int] = []
    sizes: list[int] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", aim.port)
        reading = Reading()
        while time.monotonic() - started < load.seconds:
            sent_ns = time.monotonic_ns()
            writer.write(aim.request)
            while not reading.answer.is_whole:
                data = await reader.read(65536)
                if not data:
                    raise WrongAnswer(f"{aim.name} hung up after {reading.answer.wire_bytes} bytes")
                reading.feed(data)
            latencies_ns.append(time.monotonic_ns() - sent_ns)
            sizes.append(reading.answer.wire_bytes)
            aim.check(reading.answer)
            reading.restart()
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client() for _ in range(load.connections)))
    return Figures(
        requests=len(sizes),
        seconds=time.monotonic() - started,
        wire_bytes=sum(sizes),
        p50_us=percentile(latencies_ns, 50) / 1000,
        p99_us=percentile(latencies_ns, 99) / 1000,
    )


def percentile(values: list[int], percent: float) -> float:
    """The value that so many percent of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
