"""What can keep the limits' room from deciding."""

from __future__ import annotations


class LimiterUnavailable(Exception):
    """Nobody can say now what a key has left: the shared counters cannot be asked."""


class ScriptMissing(LimiterUnavailable):
    """The server does not have a script (any more); nothing was run."""


class Stale(Exception):
    """The shared counters are others than the claim was made under, or are being restored."""
