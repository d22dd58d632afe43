"""nginx twice: as the static upstream, and as the bare proxy that is the floor of what a relay can cost.

The floor parses no body, checks no key and limits nothing. It buffers whole answers on the plain route and
nothing on the streaming ones, as one would run it in front of an SSE API. One worker each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import traffic
from processes import Server, ServerFailed

PIECE_BYTES = 2000  # nginx takes parameters of up to 4 KB
HEALTH = "/health"
MAIN = """\
daemon off;
pid {folder}/{name}.pid;
error_log {folder}/{name}.error.log error;
worker_processes 1;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 300s;
    client_body_temp_path {folder}/{name}.body;
    proxy_temp_path {folder}/{name}.proxy;
    fastcgi_temp_path {folder}/{name}.fastcgi;
    uwsgi_temp_path {folder}/{name}.uwsgi;
    scgi_temp_path {folder}/{name}.scgi;
{servers}
}}
"""
UPSTREAM = """\
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        {pieces}
        default_type {kind};
        location / {{ return 200 "{whole}"; }}
    }}
"""
FLOOR = """\
    upstream {route} {{ server 127.0.0.1:{upstream_port}; keepalive 64; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://{route};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering {buffering};
        }}
        location = /health {{ return 200; }}
    }}
"""
KINDS = {"plain": "application/json", "stream": "text/event-stream"}


def start_upstream(folder: Path, ports: dict[str, int], core: int | None) -> Server:
    """The static upstream: one port a route, any path and method."""
    servers = "".join(_upstream(route, ports[route]) for route in KINDS)
    return _start("upstream", servers, folder=folder, core=core, port=ports["plain"])


def start_floor(folder: Path, ports: dict[str, int], upstreams: dict[str, int], core: int | None) -> Server:
    """The bare proxy: one port a route."""
    servers = "".join(
        FLOOR.format(
            route=route,
            upstream_port=upstreams[route],
            port=ports[route],
            buffering="on" if route == "plain" else "off",
        )
        for route in traffic.ROUTES
    )
    return _start("nginx", servers, folder=folder, core=core, port=ports["plain"])


def version() -> str:
    """As nginx tells it."""
    output = subprocess.run([_program(), "-v"], capture_output=True, text=True, check=True).stderr
    return output.rpartition("/")[2].strip()


def _upstream(route: str, port: int) -> str:
    # A static file would refuse POST, so the body is in the configuration, in pieces short enough for it.
    text = traffic.ANSWERS[route].decode()
    pieces = [text[i : i + PIECE_BYTES] for i in range(0, len(text), PIECE_BYTES)]
    return UPSTREAM.format(
        port=port,
        kind=KINDS[route],
        pieces="\n        ".join(f"set $p{i} '{piece}';" for i, piece in enumerate(pieces)),
        whole="".join(f"$p{i}" for i in range(len(pieces))),
    )


def _start(name: str, servers: str, *, folder: Path, core: int | None, port: int) -> Server:
    # As root the worker would step down to a user that may not enter the temporary folder.
    user = "user root;" if os.geteuid() == 0 else ""
    settings = folder / f"{name}.conf"
    settings.write_text(MAIN.format(name=name, folder=folder, servers=servers, user=user))
    command = [_program(), "-p", str(folder), "-e", "stderr", "-c", str(settings)]
    server = Server(name, command, log=folder / f"{name}.log", core=core)
    try:
        server.wait_until_ready(port, HEALTH)
    except BaseException:
        server.stop()
        raise
    return server


def _program() -> str:
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        raise ServerFailed("nginx is missing; on Debian and Ubuntu: sudo apt-get install nginx-light")
    return program
