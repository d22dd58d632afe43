"""LiteLLM's proxy beside Rooya, on request: `make bench PEERS=litellm`.

Installed once into a virtual environment of its own under .build/. One worker, its master key as the one
key, the same upstreams; no database, so it neither limits nor records: it does less than it could.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import traffic
from processes import Server

HOME = Path(__file__).resolve().parents[2] / ".build" / "litellm"
KEY = "sk-bench-master-key"
HEADERS = {"Authorization": f"Bearer {KEY}"}
PACKAGE = "litellm[proxy]"
READY_PATH = "/health/readiness"


def install() -> str:
    """Install it unless it is; returns its version."""
    if not (HOME / "bin" / "litellm").exists():
        print(f"Installing {PACKAGE} into {HOME} ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
        options = ["--quiet", "--quiet", "--disable-pip-version-check", "--no-input"]
        subprocess.run([str(HOME / "bin" / "python"), "-m", "pip", "install", *options, PACKAGE], check=True)
    code = "import importlib.metadata as m; print(m.version('litellm'))"
    python = str(HOME / "bin" / "python")
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def start(folder: Path, port: int, upstreams: dict[str, int], core: int | None) -> Server:
    """Serve; returns when it is ready."""
    settings = folder / "litellm.json"  # JSON is YAML
    settings.write_text(json.dumps(_settings(upstreams)))
    command = [str(HOME / "bin" / "litellm"), "--config", str(settings), "--host", "127.0.0.1"]
    # Neither its price list nor its telemetry may reach for the network.
    environment = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "PATH": f"{HOME / 'bin'}:{os.environ.get('PATH', '')}",
    }
    server = Server(
        "litellm",
        [*command, "--port", str(port), "--num_workers", "1", "--telemetry", "False"],
        log=folder / "litellm.log",
        core=core,
        cwd=folder,
        environment=environment,
    )
    try:
        server.wait_until_ready(port, READY_PATH)
    except BaseException:
        server.stop()
        raise
    return server


def _settings(upstreams: dict[str, int]) -> dict[str, object]:
    models = [
        {
            "model_name": traffic.model_of(route),
            "litellm_params": {
                "model": f"openai/{traffic.model_of(route)}",
                "api_base": f"http://127.0.0.1:{upstreams[route]}/v1",
                "api_key": "upstream-secret",
            },
        }
        for route in traffic.ROUTES
    ]
    return {"model_list": models, "general_settings": {"master_key": KEY}}
