"""The benchmark itself runs: a short one with the built-in load generator, looked at for its shape only.

No figure is judged here. What is: that every part yields its figures, that the right answers pass and a
wrong one does not, and that nothing is left running.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parent / "run.py"
TINY = (
    *("--runs", "1", "--seconds", "0.2", "--load", "builtin"),
    *("--streams", "8", "--starts", "1", "--micro-calls", "200"),
)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUN), *TINY, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_every_part_yields_its_figures(tmp_path: Path) -> None:
    document = tmp_path / "bench.json"
    done = bench("--json", str(document))
    assert done.returncode == 0, done.stderr
    result = json.loads(document.read_text())
    assert {
        "date",
        "machine",
        "settings",
        "versions",
        "samples",
        "targets",
        "others_percent",
    } <= result.keys()
    assert list(result["loads"]) == ["plain", "stream", "one", "paced"]
    for load, subjects in result["loads"].items():
        for who in ("nginx", "rooya", "rooya+redis"):
            assert {"per_s", "cpu_us", "cpu_ratio", "p50_us", "p99_us"} <= subjects[who].keys(), (load, who)
            assert subjects[who]["per_s"] > 0 and subjects[who]["cpu_us"] > 0
    assert {"added_p50_us", "added_p99_us"} <= result["loads"]["one"]["rooya"].keys()
    assert result["memory"]["rooya"].keys() == {"idle_mib", "after_mib", "stream_kib"}
    assert result["start"]["ready_ms"] > 0 and result["micro"]["key_check_ns"] > 0
    assert len(result["targets"]) == 14
    assert all(verdict["name"] in done.stdout for verdict in result["targets"])


def test_a_gateway_that_answers_wrongly_voids_the_run(tmp_path: Path) -> None:
    (tmp_path / "rooya.py").write_text(IMPOSTOR)
    done = bench("--only", "plain", "--checkout", str(tmp_path), "--json", str(tmp_path / "bench.json"))
    assert done.returncode == 1
    assert "The benchmark is void: rooya changed the body" in done.stderr
    assert not (tmp_path / "bench.json").exists()


IMPOSTOR = """\
import json, sys, tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

if sys.argv[1] == "keys":
    print(json.dumps({"key": "sk-impostor"}))
else:
    with open(sys.argv[sys.argv.index("--config") + 1], "rb") as settings:
        port = tomllib.load(settings)["server"]["port"]
    HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
