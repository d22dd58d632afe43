"""A command line on a data directory of the test's own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from handlers import commands
from handlers.routing import build_router
from providers import vendors


class Line:
    """Runs verbs; what the last one printed is in `out` and `err`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environ: dict[str, str] = {}
        self.out = ""
        self.err = ""

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    def __call__(self, *words: str) -> int:
        stdout, stderr = io.StringIO(), io.StringIO()
        world = commands.World(
            environ=self.environ,
            stdout=stdout,
            stderr=stderr,
            kinds=vendors.kinds(),
            vendors_env=vendors.env_kinds(),
            build_router=build_router,
        )
        options = commands.parse([*words, "--data-dir", str(self.data_dir)])
        status = commands.run(options, world)
        self.out, self.err = stdout.getvalue(), stderr.getvalue()
        return status

    def json(self, *words: str) -> Any:
        assert self(*words, "--json") == 0, self.err
        return json.loads(self.out)
