"""Is a password one that is guessed? Run as a program: its word lists take 100 ms and many MiB to load.

Reads JSON {"password", "words"} on stdin; prints what is wrong with it, nothing where it is good.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from zxcvbn import zxcvbn

GOOD_SCORE = 3  # of 4: safely unguessable to who asks a server
MOST_READ = 72  # zxcvbn's time grows with the square of it


def weakness(password: str, words: Sequence[str]) -> str:
    """What is wrong with a password; empty where nothing is. words: what an attacker would try first."""
    found = zxcvbn(password[:MOST_READ], user_inputs=[word for word in words if word])
    if found["score"] >= GOOD_SCORE:
        return ""
    hints = [found["feedback"]["warning"], *found["feedback"]["suggestions"]]
    return " ".join(["This password is easily guessed.", *(hint for hint in hints if hint)])


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(weakness(asked["password"], asked["words"]))
