"""Moments in words."""

from __future__ import annotations

import time

from handlers.wording import ago, moment


def test_times_ago_are_said_in_one_unit() -> None:
    assert ago(None) == "never"
    assert ago(10**10) == "just now"
    now = int(time.time())
    assert ago(now - 61) == "1 minute ago"
    assert ago(now - 7300) == "2 hours ago"
    assert ago(0).endswith(" days ago")


def test_a_moment_is_of_utc_to_the_minute() -> None:
    assert moment(None) == "–"
    assert moment(1_795_513_592) == "2026-11-24 09:46 UTC"
