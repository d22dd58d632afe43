"""The journal's way into the database: every call once, whatever dies or fails in between."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest

from store import moving
from store.errors import DataDirectoryTaken, LedgerFull
from store.journal import Journal
from store.mover import Books, Mover
from store.recovery import register
from store.retention import Retention
from store.segments import SEGMENT_BYTES, Segment, Slot
from store.types import LedgerRecord
from tests.store.books import connected, differences, ended, kept, make_data_dir, opened, place, rows


def begun(mover: Mover, record: LedgerRecord) -> LedgerRecord:
    """Written down as begun; waits for the next segment, which the mover allocates beside us."""
    end = time.monotonic() + 10
    while True:
        try:
            mover.journal.begin(record)
            return record
        except LedgerFull:
            assert time.monotonic() < end
            time.sleep(0.002)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def first_segment(books: Books) -> Path:
    return min((books.journal / "0").glob("*.log"))


def test_what_was_settled_is_in_the_ledger_after_a_stop(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        for cost in (1, 2, 3):
            mover.journal.settle(ended(begun(mover, opened()), cost))
    assert [row[1:] for row in rows(books)] == [("ok", 1), ("ok", 2), ("ok", 3)]
    assert differences(books) == []
    assert list((tmp_path / "journal" / "0").glob("*.log")) == []


def test_a_stop_moves_more_than_one_batch(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path, segment_bytes=SEGMENT_BYTES)
    with kept(books) as mover:
        for _ in range(7000):
            mover.journal.settle(ended(begun(mover, opened())))
    assert len(rows(books)) == 7000
    assert list((tmp_path / "journal" / "0").glob("*.log")) == []


@pytest.mark.parametrize("batch_bytes", range(300, 480))
def test_a_batch_may_end_anywhere_in_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: int
) -> None:
    monkeypatch.setattr(moving, "BATCH_BYTES", batch_bytes)
    books = make_data_dir(tmp_path)
    slot = Slot.take(books.journal, 0)
    with connected(books) as connection:
        start, number = register(connection, slot)
        journal = Journal(Segment.create(slot, start, number, books.segment_bytes))
        steps = moving.Moving(connection, slot, start, journal)
        for total_ms in range(1, 7):  # fast calls: runs of zeros, then a small number
            call = opened(first_byte_ms=0)
            journal.begin(call)
            journal.settle(ended(call, total_ms=total_ms))
        while steps.step():
            pass
        slot.release()
        assert [row[0] for row in rows(books, "total_ms")] == [1, 2, 3, 4, 5, 6]


def test_it_is_there_within_a_second_without_a_stop(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        mover.journal.settle(ended(begun(mover, opened())))
        until(lambda: len(rows(books)) == 1)


def test_full_segments_are_moved_and_deleted_while_a_call_stays_open(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        long_one = begun(mover, opened())
        for number in range(3000):
            mover.journal.settle(ended(begun(mover, opened(place(f"model-{number % 7}")))))
        until(lambda: len(rows(books)) == 3000)
        until(lambda: len(list((tmp_path / "journal" / "0").glob("*.log"))) <= 2)
        mover.journal.settle(ended(long_one, 77))
    assert len(rows(books)) == 3001
    assert rows(books)[0][2] == 77
    assert {row[0] for row in rows(books, "model")} == {"gpt-4o", *(f"model-{n}" for n in range(7))}
    assert differences(books) == []


def test_a_second_process_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books), pytest.raises(DataDirectoryTaken, match="another process"):
        Mover.start(books)
    with kept(books):
        pass


def test_processes_that_share_a_directory_have_slots_of_their_own(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path, is_alone=False)
    with kept(books) as first, kept(books) as second:
        assert {first.slot.number, second.slot.number} == {0, 1}
        for mover in (first, second, first):
            mover.journal.settle(ended(begun(mover, opened())))
    assert len(rows(books)) == 3
    assert differences(books) == []


def _die_with_open_calls(books: Books, settled: int, unsettled: int) -> None:
    mover = Mover.start(books)
    for _ in range(settled):
        mover.journal.settle(ended(begun(mover, opened())))
    for _ in range(unsettled):
        begun(mover, opened())
    os.kill(os.getpid(), signal.SIGKILL)


def died(books: Books, settled: int, unsettled: int) -> None:
    process = get_context("spawn").Process(target=_die_with_open_calls, args=(books, settled, unsettled))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_the_next_start_charges_what_a_dead_process_had_begun(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    died(books, settled=1500, unsettled=3)
    with kept(books):
        found = rows(books, "status, usage_source, cost_nanodollars")
        assert len(found) == 1503
        assert [row for row in found if row[0] != "ok"] == [("lost", "lease", 999)] * 3
    assert len(rows(books)) == 1503
    assert differences(books) == []


def test_a_live_process_recovers_the_slot_of_a_dead_one(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path, is_alone=False)
    with kept(books):
        died(books, settled=10, unsettled=2)
        until(lambda: len(rows(books)) == 12)
    assert differences(books) == []


def test_a_stopped_process_keeps_its_calls(tmp_path: Path) -> None:
    """Paused for minutes, it still owns its slot: nobody charges its calls for it."""
    books = make_data_dir(tmp_path, is_alone=False)
    with kept(books) as paused, kept(books) as other:
        record = begun(paused, opened())
        other.journal.settle(ended(begun(other, opened())))
        time.sleep(1.5)  # more than a round of the other's look at the slots
        assert len(rows(books)) == 1
        paused.journal.settle(ended(record))
    assert [row[1] for row in rows(books)] == ["ok", "ok"]


def test_a_locked_database_only_makes_the_journal_longer(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        with connected(books) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            for _ in range(2000):
                mover.journal.settle(ended(begun(mover, opened())))
            blocker.execute("ROLLBACK")
        until(lambda: len(rows(books)) == 2000)
    assert len(rows(books)) == 2000
    assert differences(books) == []


def test_a_deletion_that_failed_is_tried_again_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the ledger would be told to be behind for a minute after the database is back."""
    tries: list[float] = []

    def fail_once(self: Retention) -> bool:
        tries.append(time.monotonic())
        if len(tries) == 1:
            raise sqlite3.OperationalError("database is locked")
        return False

    monkeypatch.setattr(Retention, "delete_some", fail_once)
    with kept(make_data_dir(tmp_path)):
        until(lambda: len(tries) == 2)


def test_a_failed_batch_is_moved_whole_at_the_next_turn(tmp_path: Path) -> None:
    """What a failed batch had settled may have been opened in one that was moved before."""
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        records = [begun(mover, opened()) for _ in range(5)]
        first = begun(mover, opened())
        mover.journal.settle(ended(first))
        until(lambda: len(rows(books)) == 1)
        with connected(books) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            for record in records:
                mover.journal.settle(ended(record))
            time.sleep(0.8)  # several turns of the mover, each refused
            blocker.execute("ROLLBACK")
        until(lambda: len(rows(books)) == 6)
    assert differences(books) == []


@pytest.mark.expects_log("could not be read whole")
@pytest.mark.parametrize("at", [40, 100, 170, 300, 1000])
def test_a_damaged_record_is_set_aside_and_the_rest_is_moved(tmp_path: Path, at: int) -> None:
    books = make_data_dir(tmp_path, segment_bytes=1 << 20)
    died_with_blocked_database(books, 20)
    segment = first_segment(books)
    data = bytearray(segment.read_bytes())
    data[at] ^= 0xFF
    segment.write_bytes(data)
    with kept(books):
        found = rows(books, "status")
    assert 19 <= len(found) <= 20
    assert len(list((tmp_path / "journal" / "0").glob("*.unreadable"))) == 1
    assert differences(books) == []


def died_with_blocked_database(books: Books, settled: int) -> None:
    """Nothing of it was moved before the death."""
    with connected(books) as blocker:
        process = get_context("spawn").Process(target=_settle_and_wait, args=(books, settled))
        process.start()
        until((books.data_dir / "ready").exists)
        blocker.execute("BEGIN IMMEDIATE")
        (books.data_dir / "go").touch()
        process.join()
        blocker.execute("ROLLBACK")


def _settle_and_wait(books: Books, settled: int) -> None:
    mover = Mover.start(books)
    (books.data_dir / "ready").touch()
    until((books.data_dir / "go").exists)
    for _ in range(settled):
        mover.journal.settle(ended(begun(mover, opened())))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.expects_log("could not be read whole")
def test_a_torn_last_record_charges_the_call_it_would_have_settled(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path, segment_bytes=1 << 20)
    died_with_blocked_database(books, 3)
    segment = first_segment(books)
    data = segment.read_bytes()
    whole = len(data.rstrip(b"\0"))
    segment.write_bytes(data[: whole - 20] + bytes(len(data) - whole + 20))
    with kept(books):
        found = rows(books, "status, cost_nanodollars")
    assert found == [("ok", 100), ("ok", 100), ("lost", 999)]


def test_recovering_twice_charges_once(tmp_path: Path) -> None:
    """The files were not deleted before the process that recovered them died."""
    books = make_data_dir(tmp_path, segment_bytes=1 << 20)
    died_with_blocked_database(books, 3)
    segment = first_segment(books)
    data = segment.read_bytes()
    with kept(books):
        pass
    segment.write_bytes(data)
    with kept(books):
        assert len(rows(books)) == 3
    assert differences(books) == []


@pytest.mark.expects_log("were in the ledger already")
def test_a_copy_of_the_journal_put_back_charges_nothing_twice(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path, segment_bytes=1 << 20)
    died_with_blocked_database(books, 3)
    segment = first_segment(books)
    data = segment.read_bytes()
    with kept(books):
        pass
    segment.with_name("0000000099.log").write_bytes(data)
    with kept(books):
        assert len(rows(books)) == 3
    assert differences(books) == []


def test_no_room_for_the_next_segment_refuses_calls_and_settles_those_that_began(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        until(lambda: mover.journal.spare is not None)
        mover.journal.spare, spare = None, mover.journal.spare
        mover.journal.segment.size = mover.journal.segment.end + 3000  # as if it were nearly full
        begun_calls = []
        with pytest.raises(LedgerFull):
            for _ in range(100):
                record = opened()
                mover.journal.begin(record)
                begun_calls.append(record)
        assert mover.journal.is_full
        assert 1 <= len(begun_calls) <= 10
        for record in begun_calls:
            mover.journal.settle(ended(record))
        mover.journal.spare = spare
        mover.journal.settle(ended(begun(mover, opened())))
    assert len(rows(books)) == len(begun_calls) + 1


def test_an_absurd_count_is_bounded_and_not_fatal(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        record = ended(begun(mover, opened()), 10**40, input_tokens=10**30, total_ms=-5)
        mover.journal.settle(record)
    found = rows(books, "input_tokens, cost_nanodollars, total_ms")
    assert found == [(2**32 - 1, 2**53 - 1, 0)]


def test_the_price_of_a_row_is_kept_with_it(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    with kept(books) as mover:
        for where in (place(price='{"input": 1}'), place(price='{"input": 2}'), place(price="")):
            mover.journal.settle(ended(begun(mover, opened(where))))
    with connected(books) as connection:
        query = """SELECT p.source, p.price FROM ledger l JOIN ledger_prices p ON p.id = l.price_id
            ORDER BY l.request_id"""
        found = connection.execute(query).fetchall()
    assert found == [("test 1", '{"input": 1}'), ("test 1", '{"input": 2}'), ("unpriced", "")]


def test_the_database_gone_at_the_start_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="journal cannot be kept"):
        Mover.start(Books(tmp_path / "nowhere"))


def test_the_thread_ends_with_stop(tmp_path: Path) -> None:
    books = make_data_dir(tmp_path)
    mover = Mover.start(books)
    mover.stop()
    assert not mover._thread.is_alive()
    with sqlite3.connect(books.database) as connection:
        assert connection.execute("SELECT count(*) FROM ledger").fetchone() == (0,)
    connection.close()


def test_calls_under_way_are_known_by_their_keys(tmp_path: Path) -> None:
    with kept(make_data_dir(tmp_path)) as mover:
        calls = [opened(key_id=key) for key in (7, 8, 7)]
        for call in calls:
            mover.journal.begin(call)
        assert mover.journal.open_keys() == {7: 2, 8: 1}
        for call in calls[1:]:
            mover.journal.settle(ended(call))
        assert mover.journal.open_keys() == {7: 1}
        mover.journal.settle(ended(calls[0]))
        assert not mover.journal.open_keys()
