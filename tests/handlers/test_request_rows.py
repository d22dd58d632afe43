"""What a request for the log may say, and rows as CSV: whole, exact, and nothing a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from handlers import request_rows
from handlers.request_rows import COLUMNS, as_json, csv_head, csv_lines, cursor, cursor_text, wanted
from handlers.rules import InvalidParameter
from store.reports import Scope
from store.requests import Cursor, Request, Wanted

ROW = Request(
    "01a0c5a3e400" + "ab" * 9, 0, 1_790_000_000_123, 7, "my key", "gpt-4o", "openai", "gpt-4o-2024-08-06",
    "chat", 1, "ok", 10, 5, 2, 125_000, "reported", "test 1", 5, 12,
    '{"client_request_id": "order-1", "variant": "flex"}',
)  # fmt: skip


def asked(user: int | None = None, **words: str) -> Wanted:
    return wanted(lambda name: words.get(name.replace("from", "since"), ""), user)


def test_nothing_said_is_everything_one_may_see() -> None:
    assert asked() == Wanted() and asked(7) == Wanted(Scope(7))


def test_every_word_is_heard() -> None:
    found = asked(
        3, key="9", model="gpt-4o", provider="openai", status="failed", source="unpriced",
        request_id=" 01A0C5A3E400 ", since="2026-09-21", to="2026-09-21",
    )  # fmt: skip
    assert found == Wanted(
        Scope(3, 9),
        "gpt-4o",
        "openai",
        "failed",
        "unpriced",
        "01a0c5a3e400",
        1_789_948_800_000,
        1_790_035_200_000,
    )


@pytest.mark.parametrize(
    "words",
    [
        {"key": "x"}, {"key": "1 OR 1=1"}, {"status": "fine"}, {"source": "guess"}, {"request_id": "01a"},
        {"request_id": "zz" * 15}, {"request_id": "a" * 31}, {"since": "now"}, {"model": "m" * 257},
    ],
)  # fmt: skip
def test_what_can_be_no_filter_is_refused(words: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter):
        asked(**words)


def test_a_place_to_go_on_from_comes_back_as_it_was() -> None:
    for place in (Cursor(ROW.request_id, 3), Cursor("01a0c5a3e400", 0)):
        assert cursor(cursor_text(place)) == place
    assert cursor("") is None
    for text in ("x", "01a0c5a3e400", "01a0c5a3e400.x", "'.1", "01a0c5a3e400.1.1"):
        with pytest.raises(InvalidParameter):
            cursor(text)


def read(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(csv_head() + text, newline="")))


def test_a_row_of_the_export_is_the_row() -> None:
    (found,) = read(csv_lines([ROW]))
    assert list(found) == list(COLUMNS)
    assert found["time"] == "2026-09-21T14:13:20.123Z" and found["cost_usd"] == "0.000125000"
    assert found["client_request_id"] == "order-1" and found["is_stream"] == "1" and found["error"] == ""
    same = set(COLUMNS) & set(Request._fields)
    assert {name: found[name] for name in same} == {name: str(getattr(ROW, name)) for name in same}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_cell_begins_a_formula(start: str) -> None:
    word = f'{start}cmd|"/c calc"!A1'
    row = ROW._replace(key_name=word, model=word, details='{"client_request_id": "=1+1"}')
    (found,) = read(csv_lines([row]))
    assert found["key_name"] == found["model"] == f"'{word}" and found["client_request_id"] == "'=1+1"


def test_quotes_and_lines_stay_in_their_cell() -> None:
    word = 'a,"b"\r\nc;d'
    (found,) = read(csv_lines([ROW._replace(key_name=word)]))
    assert found["key_name"] == word


@pytest.mark.parametrize("details", ["{", "[]", "1", '"x"', ""])
def test_details_that_are_none_are_left_out(details: str) -> None:
    assert as_json(ROW._replace(details=details))["details"] == {}


def test_why_it_failed_is_told_where_it_was_written_down() -> None:
    failed = ROW._replace(status="error", details='{"error": "rate_limit 429"}')
    assert request_rows.error(failed) == as_json(failed)["error"] == "rate_limit 429"
    assert request_rows.error(ROW._replace(status="error")) == ""
