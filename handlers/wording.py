"""Moments as pages show them. Plain text; templates escape it."""

from __future__ import annotations

import time
from typing import Final

from handlers.command_values import time_text

AGES: Final = ((86400, "day"), (3600, "hour"), (60, "minute"))


def moment(at: int | None) -> str:
    """Unix seconds as `2026-11-24 05:00 UTC`; a dash where there is none."""
    text = time_text(at)
    return "–" if text is None else f"{text[:-4]} UTC" if text.endswith("Z") else text


def ago(at: int | None) -> str:
    """`3 hours ago`, `never`."""
    if at is None:
        return "never"
    seconds = int(time.time()) - at
    for size, word in AGES:
        count = seconds // size
        if count >= 1:
            return f"{count} {word}{'s' if count > 1 else ''} ago"
    return "just now"
