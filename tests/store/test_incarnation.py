"""One number for all processes of a data directory, which only rises."""

from __future__ import annotations

import os
import stat
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from store.incarnation import Incarnation


def test_it_begins_at_zero_rises_and_is_remembered(tmp_path: Path) -> None:
    first = Incarnation(tmp_path)
    assert first.number == 0
    with first.exclusive():
        once, twice = first.raise_number(), first.raise_number()
    assert 0 < once < twice == first.number < 2**53
    first.close()
    second = Incarnation(tmp_path)
    assert second.number == twice
    second.close()
    assert stat.S_IMODE((tmp_path / "incarnation").stat().st_mode) == 0o600


def test_a_directory_begins_with_a_number_that_no_earlier_one_has_had(tmp_path: Path) -> None:
    numbers = []
    for name in ("old", "new"):  # whose counters may be in the same Redis
        (tmp_path / name).mkdir()
        incarnation = Incarnation(tmp_path / name)
        with incarnation.exclusive():
            numbers.append(incarnation.raise_number())
        incarnation.close()
        while time.time_ns() // 1_000_000 <= numbers[0]:
            pass  # to the next millisecond
    assert numbers[0] < numbers[1]


def test_a_clock_that_was_set_back_lowers_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    incarnation = Incarnation(tmp_path)
    with incarnation.exclusive():
        before = incarnation.raise_number()
        monkeypatch.setattr(time, "time_ns", lambda: 0)
        assert incarnation.raise_number() == before + 1
    incarnation.close()


def _raise(directory: Path, times: int) -> None:
    incarnation = Incarnation(directory)
    seen = set()
    for _ in range(times):
        with incarnation.exclusive():
            seen.add(incarnation.raise_number())
    (directory / f"seen-{os.getpid()}").write_text(" ".join(map(str, seen)))


def test_processes_see_each_others_rises_and_lose_none(tmp_path: Path) -> None:
    ours = Incarnation(tmp_path)
    processes = [get_context("spawn").Process(target=_raise, args=(tmp_path, 200)) for _ in range(3)]
    for process in processes:
        process.start()
    _raise(tmp_path, 200)
    for process in processes:
        process.join()
    seen = [int(number) for path in tmp_path.glob("seen-*") for number in path.read_text().split()]
    assert len(set(seen)) == len(seen) == 800
    assert ours.number == max(seen)
    ours.close()


def _die_holding_the_lock(directory: Path) -> None:
    incarnation = Incarnation(directory)
    with incarnation.exclusive():
        os._exit(1)


def test_a_holder_that_dies_frees_the_lock(tmp_path: Path) -> None:
    process = get_context("spawn").Process(target=_die_holding_the_lock, args=(tmp_path,))
    process.start()
    process.join()
    incarnation = Incarnation(tmp_path)
    with incarnation.exclusive():
        incarnation.raise_number()
    incarnation.close()


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    incarnation, order = Incarnation(tmp_path), []
    started = threading.Event()

    def second() -> None:
        started.set()
        with incarnation.exclusive():
            order.append("second")

    thread = threading.Thread(target=second)
    with incarnation.exclusive():
        thread.start()
        started.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    incarnation.close()


def test_who_does_not_wait_is_refused_while_another_holds_the_lock(tmp_path: Path) -> None:
    incarnation = Incarnation(tmp_path)
    with incarnation.exclusive(), pytest.raises(BlockingIOError), incarnation.exclusive(is_waiting=False):
        pass
    with incarnation.exclusive(is_waiting=False):
        pass
    incarnation.close()


def test_counters_that_miss_something_are_outdated(tmp_path: Path) -> None:
    incarnation, other = Incarnation(tmp_path), Incarnation(tmp_path)
    incarnation.outdate()
    assert other.number > 0
    with other.exclusive(is_waiting=False):  # the lock is free again
        pass
    for each in (incarnation, other):
        each.close()
