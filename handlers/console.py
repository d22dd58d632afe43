"""What `serve` says on the console when it has started: where it serves and what to do next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from store.settings import Settings


def announce(
    settings: Settings,
    *,
    places: Sequence[str],
    warnings: Sequence[str],
    model: str,
    has_keys: bool,
    setup_token: str | None,
) -> None:
    """places: where it listens. model: one that can be called. has_keys: is there an API key yet?

    setup_token: of the link that makes the first admin, None where there is one.
    """
    say = print
    say(f"Rooya serves {', '.join(places)}  (data in {settings.server.data_dir})")
    for line in warnings:
        say(f"warning: {line}")
    if not settings.providers:
        say("No provider is configured, so a demo model answers. Set OPENAI_API_KEY or write rooya.toml.")
    base = places[0] if places[0].startswith("http") else "http://127.0.0.1:8000"
    if setup_token is not None:
        say("There is no admin yet. Open this link to become it (good once, for a day):")
        say(f"  {settings.server.public_url.rstrip('/') or base}/setup?token={setup_token}")
    if not has_keys:
        say("There is no API key yet. In another terminal:")
        say(f"  {python_name()} rooya.py keys create --name first{data_dir_option(settings)}")
    say("Then call it:")
    say(f"  curl {base}/v1/chat/completions -H 'Authorization: Bearer sk-…' \\")
    say(f'''    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}' ''')
    sys.stdout.flush()


def python_name() -> str:
    """This interpreter as one would type it here."""
    python = Path(sys.executable)
    return str(python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python)


def data_dir_option(settings: Settings) -> str:
    """The option a command needs to find the same data, empty for the usual place."""
    usual = settings.server.data_dir == Path("data")
    return "" if usual else f" --data-dir {settings.server.data_dir}"
