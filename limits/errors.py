"""What can keep the limits' room from deciding."""

from __future__ import annotations


class LimiterUnavailable(Exception):
    """Nobody can say now what a key has left: the shared counters cannot be asked."""
