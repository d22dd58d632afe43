"""The machine: its cores, what its processes consume, and its description for the report.

CPU time comes from the scheduler's nanosecond counters where the kernel has them, else from clock ticks.
Linux only, like Rooya itself in production.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Cores:
    """Where to run what: subjects on one core, upstream and load generator on another. None = anywhere."""

    subject: int | None
    others: int | None
    reason: str = ""

    @property
    def is_pinned(self) -> bool:
        return self.subject is not None


def choose_cores() -> Cores:
    """The first two cores that this process may use, or none at all with the reason."""
    cores = sorted(os.sched_getaffinity(0))
    if shutil.which("taskset") is None:
        return Cores(None, None, "taskset is missing")
    if len(cores) < 2:
        return Cores(None, None, "there is only one core")
    return Cores(cores[0], cores[1])


def pinned(command: list[str], core: int | None) -> list[str]:
    """The command, bound to a core. taskset execs it, so the process id stays the same."""
    return command if core is None else ["taskset", "-c", str(core), *command]


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            fields = _stat_fields(int(folder.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for parent in found:  # grows while it is walked
        found += children.get(parent, [])
    return found


def cpu_ns(pid: int) -> int:
    """CPU time that a process, its threads and its children have used."""
    return sum(_one_cpu_ns(member) for member in family(pid))


@dataclass(frozen=True, slots=True)
class Noise:
    """A moment from which on the CPU time that strangers take can be told."""

    at_s: float
    busy_s: float
    own_s: float

    @classmethod
    def listen(cls) -> Noise:
        """Now. Ended children count too, so call it while the servers still run."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        own_s = cpu_ns(os.getpid()) / 1e9 + ended.ru_utime + ended.ru_stime
        return cls(time.monotonic(), _busy_s(), own_s)

    def percent_since(self) -> float:
        """How much of the whole machine others have used since."""
        now = Noise.listen()
        others_s = now.busy_s - self.busy_s - (now.own_s - self.own_s)
        return max(0.0, others_s) / (now.at_s - self.at_s) / (os.cpu_count() or 1) * 100


def rss_bytes(pid: int) -> int:
    """Resident memory of a process and its children; pages they share count for each."""
    return sum(_one_rss_bytes(member) for member in family(pid))


def describe() -> dict[str, object]:
    """Machine and interpreter, as far as they bear on the figures."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _busy_s() -> float:
    """Seconds that all cores together were neither idle nor waiting for a disk."""
    ticks = [int(field) for field in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from the state on; empty when the process has gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the name before it may hold blanks and brackets


def _one_cpu_ns(pid: int) -> int:
    try:
        threads = list((PROC / str(pid) / "task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
    except OSError:
        fields = _stat_fields(pid)
        ticks = int(fields[11]) + int(fields[12]) if fields else 0
        return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _one_rss_bytes(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


def _cpu_model() -> str:
    try:
        lines = (PROC / "cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
