"""A limiter is told of what a dead process had under way: after the ledger, before the evidence goes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest

from store.errors import StoreUnavailable
from store.journal import Journal
from store.mover import Books, Mover
from store.recovery import Tell, recover_free_slots, register
from store.segments import Segment, Slot, taken_slots
from tests.store.books import connected, differences, ended, make_data_dir, opened, rows

SECONDS = 10


class Listener:
    """Hears of recovered slots, the first times in vain."""

    def __init__(self, failures: int = 0) -> None:
        self.heard: list[tuple[int, int, dict[str, int]]] = []
        self.failures = failures

    def __call__(self, slot: int, start: int, costs: dict[str, int]) -> None:
        self.heard.append((slot, start, costs))
        if len(self.heard) <= self.failures:
            raise OSError("the limiter is away")


def leave(books: Books, number: int = 0, begun: int = 0, settled: int = 0) -> dict[str, int]:
    """A slot as its owner leaves it at its death; what its calls cost, those under way at the worst."""
    slot = Slot.take(books.journal, number)
    with connected(books) as connection:
        start, first = register(connection, slot)
    journal = Journal(Segment.create(slot, start, first, books.segment_bytes))
    costs = {}
    for _ in range(settled):
        record = opened()
        journal.begin(record)
        journal.settle(ended(record, cost=100))
        costs[record.request_id] = 100
    for count in range(begun):
        record = opened(worst_nanodollars=50 + count, attempt=count % 2)
        journal.begin(record)
        costs[f"{record.request_id}/1" if count % 2 else record.request_id] = 50 + count
    journal.segment.close()
    slot.release()
    return costs


def recover(books: Books, tell: Tell) -> None:
    with connected(books) as connection:
        recover_free_slots(connection, books.journal, taken_slots(books.journal), tell)


@contextlib.contextmanager
def kept(books: Books, tell: Tell | None = None) -> Iterator[Mover]:
    mover = Mover.start(books, tell)
    try:
        yield mover
    finally:
        mover.stop()


def segments(books: Books) -> int:
    return len(list(books.journal.glob("*/*.log")))


def test_it_hears_of_slot_start_and_the_unfinished_once_the_ledger_has_them(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    leave(books)
    recover(books, lambda *_: None)
    costs = leave(books, begun=3, settled=5)
    seen: list[tuple[object, ...]] = []
    for _ in range(2):  # the second time nothing is left to tell
        recover(books, lambda *told: seen.append((*told, len(rows(books)), segments(books))))
    assert seen == [(0, 2, costs, 8, 1)]
    assert segments(books) == 0


def test_it_hears_of_an_owner_that_had_written_nothing(tmp_path: Path) -> None:
    """What the limiter had admitted for it, and was never sent, is to be dropped."""
    books = make_data_dir(tmp_path)
    leave(books, number=3)
    listener = Listener()
    recover(books, listener)
    assert listener.heard == [(3, 1, {})]
    assert segments(books) == 0


@pytest.mark.parametrize(("begun", "settled"), [(3, 5), (3, 0), (0, 5), (0, 0)])
def test_while_it_cannot_be_told_it_hears_the_same_again(tmp_path: Path, begun: int, settled: int) -> None:
    books = make_data_dir(tmp_path)
    costs = leave(books, begun=begun, settled=settled)
    listener = Listener(failures=3)
    for _ in range(3):
        with pytest.raises(OSError, match="away"):
            recover(books, listener)
        assert segments(books) == 1
    recover(books, listener)
    assert listener.heard == [(0, 1, costs)] * 4
    assert segments(books) == 0
    assert len(rows(books)) == begun + settled
    assert differences(books) == []


@pytest.mark.expects_log("could not be read whole")
def test_damage_is_reported_once_however_often_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    books = make_data_dir(tmp_path)
    first, *others = leave(books, begun=3).items()
    (path,) = books.journal.glob("*/*.log")
    data = bytearray(path.read_bytes())
    data[data.index(bytes.fromhex(first[0]))] ^= 0xFF
    path.write_bytes(data)
    listener = Listener(failures=2)
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            recover(books, listener)
    recover(books, listener)
    assert listener.heard == [(0, 1, dict(others))] * 3
    assert len([line for line in caplog.messages if "could not be read whole" in line]) == 1


def test_a_process_that_died_before_it_told_is_made_good_by_the_next(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    costs = leave(books, begun=2, settled=2)
    process = get_context("spawn").Process(target=_recover_and_die, args=(books,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(rows(books)) == 4
    listener = Listener()
    with kept(books, listener):
        assert listener.heard == [(0, 1, costs)]
    assert len(rows(books)) == 4
    assert differences(books) == []


def _recover_and_die(books: Books) -> None:
    recover(books, lambda *_: os.kill(os.getpid(), signal.SIGKILL))


def test_a_start_tells_of_its_own_slot_and_of_others(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path, is_alone=False)
    first, second = leave(books, 0, begun=1), leave(books, 1, begun=2)
    listener = Listener()
    with kept(books, listener) as mover:
        assert listener.heard == [(0, 1, first), (1, 1, second)]
        assert (mover.slot.number, mover.start_number) == (0, 2)


def test_a_start_that_cannot_tell_does_not_begin_and_leaves_all_as_it_was(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    costs = leave(books, begun=1)
    listener = Listener(failures=1)
    with pytest.raises(StoreUnavailable, match="away"):
        Mover.start(books, listener)
    assert segments(books) == 1
    with kept(books, listener):
        assert listener.heard == [(0, 1, costs)] * 2


def test_a_process_that_serves_tells_again_until_it_is_heard(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path, is_alone=False)
    listener = Listener(failures=2)
    with kept(books, listener):
        costs = leave(books, number=4, begun=2)
        end = time.monotonic() + SECONDS
        while segments(books) > 2 or len(listener.heard) < 3:  # its own: one in use, a spare
            assert time.monotonic() < end
            time.sleep(0.02)
    assert listener.heard == [(4, 1, costs)] * 3


def test_a_stop_with_calls_under_way_is_told_of_by_the_next_start(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        record = opened(worst_nanodollars=9)
        mover.journal.begin(record)
    listener = Listener()
    with kept(books, listener):
        assert listener.heard == [(0, 1, {record.request_id: 9})]


def test_a_stop_with_nothing_under_way_leaves_nothing_to_tell(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        record = opened()
        mover.journal.begin(record)
        mover.journal.settle(ended(record))
    listener = Listener()
    with kept(books, listener):
        assert listener.heard == []
