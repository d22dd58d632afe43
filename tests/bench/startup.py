"""Start-up: from the start of the process to the first 200 of /health, against the bare imports.

Both are wall-clock times from exec in a fresh interpreter on the subject's core, taken in turns. The data
directory exists already, as at every start but the first.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import machine
from subjects import Place, start_rooya_alone

IMPORTS = "import tornado.web, uvloop, redis, os; os._exit(0)"


@dataclass(frozen=True, slots=True)
class StartFigures:
    """Medians, in milliseconds; `first_ms` is the start that had to make the database."""

    ready_ms: float
    imports_ms: float
    first_ms: float

    @property
    def ratio(self) -> float:
        return self.ready_ms / self.imports_ms


def run(place: Place, times: int) -> StartFigures:
    """Start Rooya and import its dependencies so many times."""
    rooya = start_rooya_alone(place, place.folder / "start")
    rooya.start().stop()
    first_s = rooya.ready_s
    ready_s, imports_s = [], []
    for _ in range(times):
        imports_s.append(_import_s(place.cores.subject))
        rooya.start().stop()
        ready_s.append(rooya.ready_s)
    return StartFigures(
        statistics.median(ready_s) * 1000, statistics.median(imports_s) * 1000, first_s * 1000
    )


def _import_s(core: int | None) -> float:
    started = time.monotonic()
    subprocess.run(machine.pinned([sys.executable, "-c", IMPORTS], core), check=True)
    return time.monotonic() - started
