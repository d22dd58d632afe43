"""One number for all processes of a data directory, which only rises."""

from __future__ import annotations

import os
import stat
import threading
from multiprocessing import get_context
from pathlib import Path

import pytest

from store.incarnation import Incarnation


def test_it_begins_at_zero_rises_and_is_remembered(tmp_path: Path) -> None:
    first = Incarnation(tmp_path)
    with first.exclusive():
        assert [first.number, first.raise_number(), first.raise_number()] == [0, 1, 2]
    first.close()
    second = Incarnation(tmp_path)
    assert second.number == 2
    second.close()
    assert stat.S_IMODE((tmp_path / "incarnation").stat().st_mode) == 0o600


def _raise(directory: Path, times: int) -> None:
    incarnation = Incarnation(directory)
    for _ in range(times):
        with incarnation.exclusive():
            incarnation.raise_number()


def test_processes_see_each_others_rises_and_lose_none(tmp_path: Path) -> None:
    ours = Incarnation(tmp_path)
    processes = [get_context("spawn").Process(target=_raise, args=(tmp_path, 200)) for _ in range(3)]
    for process in processes:
        process.start()
    _raise(tmp_path, 200)
    for process in processes:
        process.join()
    assert ours.number == 800
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
    assert other.number == 1
    with other.exclusive(is_waiting=False):  # the lock is free again
        pass
    for each in (incarnation, other):
        each.close()
