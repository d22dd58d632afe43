"""The README's way to add a provider is all there is to it: its row and its settings, taken from its text."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from tests.fakes.vendor import Vendor, reply
from tests.gateway import CONTENT, Gateway

ROOT: Final = Path(__file__).resolve().parent.parent.parent
# `rooya.py` as it would be with one row more in providers/vendors.py.
WITH_ROW: Final = """
import logging, sys
sys.path.insert(0, sys.argv[1])
logging.basicConfig(stream=sys.stderr, level=logging.DEBUG)
from pathlib import Path
from types import MappingProxyType
from providers import vendors
(row,) = eval(Path(sys.argv[2]).read_text(), vars(vendors))
vendors.ROWS = MappingProxyType({**vendors.ROWS, row.name: row})
import rooya
sys.exit(rooya.main(sys.argv[3:]))
"""


def section() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.partition("### Add a provider")[2].partition("\n## ")[0]


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", section(), re.DOTALL)
    assert found is not None
    return found[1]


class WithRow(Gateway):
    """Its verbs know the row too."""

    def _command(self, *arguments: str) -> list[str]:
        return [*self._program, *self._words(*arguments)]


def test_a_row_and_an_entry_are_enough(tmp_path: Path) -> None:
    row = tmp_path / "row.py"
    row.write_text(block("python"))
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    program = (sys.executable, "-c", WITH_ROW, str(ROOT), str(row))
    payload = {
        "model": "acme/acme-1",
        "messages": [{"role": "developer", "content": CONTENT}],
        "seed": 7,
        "acme_extra": {"a": 1},
    }
    with Vendor() as vendor:
        vendor.answers["acme-1"] = reply(
            {"id": "c", "object": "chat.completion", "choices": [choice], "x": 1}
        )
        entry = block("toml").replace("https://api.acme.example/v1", vendor.base_url)
        environ = {"ACME_API_KEY": "acme-secret"}
        with WithRow(tmp_path, entry, environ=environ, program=program) as gateway:
            status, headers, body = gateway.post("/v1/chat/completions", payload)
        (request,) = vendor.requests
    assert status == 200 and b'"x": 1' in body and headers["x-rooya-dropped-params"] == "seed"
    assert request.headers["authorization"] == "Bearer acme-secret"
    assert request.json["messages"] == [{"role": "system", "content": CONTENT}]
    assert request.json["acme_extra"] == {"a": 1} and "seed" not in request.json
