"""What is owed at one moment, read while others append, move and delete."""

from __future__ import annotations

import os
import signal
import threading
import time
from bisect import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest

from store import standing
from store.journal import Journal
from store.mover import Books, Mover
from store.moving import Moving
from store.recovery import register
from store.segments import Segment, Slot, is_segment
from store.standing import OpenCall, Standing
from tests.store.books import connected, ended, kept, make_data_dir, opened, rows

NOW = 1_790_000_100.0


def read(books: Books) -> Standing:
    return standing.read(books.database, books.journal, NOW)


def test_there_is_nothing_owed_at_first(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    found = read(books)
    assert (dict(found.spent), found.open, dict(found.tokens), found.correction) == ({}, [], {}, 0)


def test_open_calls_and_settled_ones_are_told_apart_before_they_are_moved(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        first = opened(worst_nanodollars=500)
        second = opened(key_id=8, window=3, worst_nanodollars=70, attempt=2)
        for record in (first, second):
            mover.journal.begin(record)
        found = read(books)
        assert sorted(found.open) == [
            OpenCall(0, 1, first.request_id, 7, 0, 500),
            OpenCall(0, 1, f"{second.request_id}/2", 8, 3, 70),
        ]
        mover.journal.settle(ended(first, 123, input_tokens=3, output_tokens=4))
        found = read(books)
        assert found.spent[7, 0] == 123 and [call.key_id for call in found.open] == [8]
        assert list(found.tokens.values()) == [7]
        mover.journal.settle(ended(second, 9))
    found = read(books)
    assert (found.spent[7, 0], found.spent[8, 3], found.open) == (123, 0, [])  # 1970 is no current window


def test_what_the_operator_corrected_is_in_it(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        record = opened()
        mover.journal.begin(record)
        mover.journal.settle(ended(record, 100))
    with connected(books) as connection:
        connection.execute("INSERT INTO corrections VALUES (NULL, 7, 0, -40, 0)")
        connection.execute("UPDATE key_spend SET cost_nanodollars = 60")
    found = read(books)
    assert (found.spent[7, 0], found.correction) == (60, 1)


def test_windows_that_can_be_current_are_there_and_long_gone_ones_are_not(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    resets = 1_600_000_000
    with connected(books) as connection:
        connection.execute("INSERT INTO api_keys (id, name, tier, created_at) VALUES (7, 'k', 'free', 1)")
        connection.execute("UPDATE api_keys SET spend_reset_at = ? WHERE id = 7", (resets,))
        for window in (0, resets, resets + 1, int(NOW) - 40 * 86_400, int(NOW) - 30 * 86_400):
            connection.execute("INSERT INTO key_spend VALUES (7, ?, 1, 5)", (window,))
    assert {window for _, window in read(books).spent} == {0, resets, int(NOW) - 30 * 86_400}


def settle(journal: Journal, times: int) -> None:
    for _ in range(times):
        record = opened()
        journal.begin(record)
        journal.settle(ended(record, 1))


@contextmanager
def moving(books: Books) -> Iterator[tuple[Slot, Journal, Moving]]:
    """A slot with a journal, which is moved a step at a time and by nobody else."""
    slot = Slot.take(books.journal, 0)
    with connected(books) as connection:
        start, number = register(connection, slot)
        journal = Journal(Segment.create(slot, start, number, books.segment_bytes))
        steps = Moving(connection, slot, start, journal)
        steps.supply()
        yield slot, journal, steps
    slot.release()


@pytest.mark.parametrize("moved_before", [0, 40])
@pytest.mark.parametrize("happens", ["a batch", "a segment is deleted", "it stops"])
def test_what_is_moved_while_it_is_read_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved_before: int, happens: str
) -> None:
    books = make_data_dir(tmp_path)
    with moving(books) as (slot, journal, steps):
        settle(journal, moved_before)
        while steps.step():
            pass
        settle(journal, 600 if happens == "a segment is deleted" else 100)
        slots = standing.taken_slots

        def meanwhile(directory: Path) -> list[int]:
            monkeypatch.setattr(standing, "taken_slots", slots)  # once
            while steps.step():
                pass
            if happens == "it stops":
                steps.finish()
            return slots(directory)

        segments = slot.segments()
        monkeypatch.setattr(standing, "taken_slots", meanwhile)
        found = read(books)
        assert found.spent[7, 0] == moved_before + (600 if happens == "a segment is deleted" else 100)
        assert (slot.segments() == segments) == (happens == "a batch")


def test_a_segment_that_was_moved_whole_and_deleted_is_not_waited_for(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with moving(books) as (slot, journal, steps):
        number = journal.segment.number
        while journal.segment.number == number:
            settle(journal, 1)
        while steps.step():
            pass
        assert number not in slot.segments()
        assert read(books).spent[7, 0] == len(rows(books))


def test_what_was_settled_up_to_where_the_journal_was_read_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        settled, is_over = 0, threading.Event()
        found: list[tuple[int, int, int]] = []
        ends: list[tuple[int, int]] = []  # of the records that settle a call
        reached: list[tuple[int, int]] = []

        def watch() -> None:
            while not is_over.is_set():
                before = settled
                owed = read(books)
                found.append((before, owed.spent[7, 0], settled + 1))
                reached.append(owed.reached[0])

        watcher = threading.Thread(target=watch)
        watcher.start()
        for _ in range(10_000):
            while mover.journal.is_full:
                time.sleep(0.001)  # the mover makes room
            settle(mover.journal, 1)
            ends.append((mover.journal.segment.number, mover.journal.segment.end))
            settled += 1
        is_over.set()
        watcher.join()
    assert all(before <= owed <= after for before, owed, after in found) and found
    assert [bisect(ends, position) for position in reached] == [owed for _, owed, _ in found]
    assert read(books).spent[7, 0] == 10_000


def test_a_journal_that_goes_on_in_the_next_segment_while_it_is_read_is_read_without_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = make_data_dir(tmp_path)
    with moving(books) as (_, journal, _):
        number = journal.segment.number
        settle(journal, 3)
        assert read(books).reached == {0: (number, journal.segment.end)}  # though the next one is there
        ends: list[tuple[int, int]] = []

        def meanwhile(data: bytes) -> bool:
            monkeypatch.setattr(standing, "is_segment", is_segment)  # once
            while journal.segment.number == number or len(ends) % 10:
                settle(journal, 1)
                ends.append((journal.segment.number, journal.segment.end))
            return is_segment(data)

        monkeypatch.setattr(standing, "is_segment", meanwhile)
        found = read(books)
        assert found.spent[7, 0] == 3 + bisect(ends, found.reached[0])
        found = read(books)
        assert (found.spent[7, 0], found.reached[0]) == (3 + len(ends), ends[-1])


def _die_with_an_open_call(books: Books) -> None:
    mover = Mover.start(books)
    mover.journal.begin(opened(worst_nanodollars=77))
    os.kill(os.getpid(), signal.SIGKILL)


def test_calls_of_a_dead_process_are_open_until_it_is_recovered_and_then_cost_their_worst(
    tmp_path: Path,
) -> None:
    books = make_data_dir(tmp_path, is_alone=False)
    process = get_context("spawn").Process(target=_die_with_an_open_call, args=(books,))
    process.start()
    process.join()
    assert [call.worst_nanodollars for call in read(books).open] == [77]
    with kept(books):
        found = read(books)
    assert (found.open, found.spent[7, 0]) == ([], 77)
