"""GET /health: for monitors and load balancers. Open to all, touches nothing but this process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from handlers.base import BaseHandler

PROCESS_STATUS: Final = Path("/proc/self/status")


class HealthHandler(BaseHandler):
    """200 while the process serves (`ok`, or `degraded`), 503 while it drains."""

    def initialize(self, state: Callable[[], str], uptime_seconds: Callable[[], float]) -> None:
        self._state = state
        self._uptime_seconds = uptime_seconds

    async def get(self) -> None:
        state = self._state()
        if state == "draining":
            self.set_status(503)
        now = datetime.now(UTC)
        self.write_json(
            {
                "status": state,
                "timestamp": now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z",
                "uptime": int(self._uptime_seconds()),
                "memory": memory_mib(),
            }
        )


def memory_mib(status: Path = PROCESS_STATUS) -> dict[str, int]:
    """Resident memory (VmRSS), its anonymous part (RssAnon), MiB; proc(5). 0 where there is no /proc."""
    sizes = {"VmRSS": 0, "RssAnon": 0}
    try:
        lines = status.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name in sizes:
            sizes[name] = int(value.split()[0]) // 1024
    return {"rss": sizes["VmRSS"], "heap": sizes["RssAnon"]}
