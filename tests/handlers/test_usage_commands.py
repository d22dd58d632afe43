"""`usage` is a contract too: its JSON, its figures to the nano-dollar, its exit statuses."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import pytest

from tests.handlers.lines import Line
from tests.store.books import connected, ended, kept, make_data_dir, opened, place

COST = 123_456_789_123_456_789  # more digits than a double has


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    """Two keys; one with calls to two models, an estimated and an unpriced one among them."""
    monkeypatch.chdir(tmp_path)
    line = Line(tmp_path)
    line.json("keys", "create", "--name", "first")
    line.json("keys", "create", "--name", "second")
    now = int(time.time() * 1000)
    with kept(make_data_dir(line.data_dir)) as mover:
        for number, (model, price, cost, source) in enumerate(
            [
                ("gpt-4o", "{}", 100, "reported"),
                ("gpt-4o", "{}", 17, "estimated"),
                ("o5", "", 0, "reported"),
            ]
        ):
            record = opened(
                place(model, price),
                key_id=1,
                started_at_ms=now + number,
                request_id=f"{now + number:012x}{'cd' * 5}{number:08x}",
            )
            mover.journal.begin(record)
            mover.journal.settle(ended(record, cost, source=source))
    return line


def request_ids(line: Line) -> dict[str, str]:
    with connected(make_data_dir(line.data_dir)) as connection:
        return dict(
            connection.execute("SELECT usage_source, request_id FROM ledger ORDER BY request_id DESC")
        )


def test_json_has_the_promised_fields(line: Line) -> None:
    report = line.json("usage")
    assert report["by"] == "key"
    assert abs(report["since"] - (time.time() - 30 * 86400)) < 60
    promised = {
        "key_id", "name", "requests", "input_tokens", "output_tokens", "cached_tokens",
        "cost_nanodollars", "cost_usd",
    }  # fmt: skip
    (row,) = report["rows"]
    assert promised <= set(row)
    assert (row["key_id"], row["name"], row["requests"], row["cost_nanodollars"]) == (1, "first", 3, 117)
    assert report["total"]["cost_nanodollars"] == 117
    assert report["total"]["cost_usd"] == 1.17e-7


@pytest.mark.parametrize(
    ("by", "groups"),
    [("model", ["gpt-4o", "o5"]), ("provider", ["openai"]), ("user", [None]), ("day", 1), ("hour", 1)],
)
def test_the_column_by_names_the_group(line: Line, by: str, groups: object) -> None:
    rows = line.json("usage", "--by", by)["rows"]
    found = [row["user_id" if by == "user" else by] for row in rows]
    assert (found if isinstance(groups, list) else len(found)) == groups
    assert sum(row["cost_nanodollars"] for row in rows) == 117
    assert sum(row["unpriced"] for row in rows) == 1
    assert sum(row["estimated"] for row in rows) == 1


def test_csv_is_exact_beyond_the_digits_of_a_double(line: Line) -> None:
    assert line("usage", "correct", request_ids(line)["estimated"], "--cost-usd", "1234567.123456789") == 0
    assert line("usage", "--csv", "--by", "model") == 0
    rows = list(csv.DictReader(io.StringIO(line.out)))
    assert rows[0]["cost_usd"] == "1234567.123456889"


def test_people_see_a_total(line: Line) -> None:
    assert line("usage", "--by", "model") == 0
    assert line.out.splitlines()[-1].split() == ["total", "3", "0", "30", "15", "0", "0.000000117"]


def test_nothing_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = Line(tmp_path)
    assert line("usage") == 0
    assert line.out == "Nothing was used.\n"
    assert line.json("usage")["rows"] == []
    assert line("usage", "--csv") == 0


def test_verify_agrees_with_status_0_and_names_a_difference_with_status_1(line: Line) -> None:
    assert line("usage", "verify") == 0
    assert line.out == "All sums agree: 3 calls, 1 keys, 0.000000117 USD.\n"
    with connected(make_data_dir(line.data_dir)) as connection:
        connection.execute("UPDATE key_spend SET cost_nanodollars = cost_nanodollars - 7")
    assert line("usage", "verify") == 1
    assert "key 1" in line.out
    assert "its spend: a difference of -0.000000007" in line.out
    assert "daily" not in line.out
    assert line("usage", "verify", "--json") == 1


def test_a_correction_changes_every_sum_and_can_be_repeated(line: Line) -> None:
    request_id = request_ids(line)["estimated"]
    assert (
        line.json("usage", "correct", request_id, "--cost-usd", "0.5")["difference_nanodollars"]
        == 499_999_983
    )
    assert line("usage", "verify") == 0
    assert line.json("usage")["total"]["cost_nanodollars"] == 500_000_100
    assert line("usage", "correct", request_id, "--cost-usd", "0.000000017") == 0
    assert line.json("usage")["total"]["cost_nanodollars"] == 117
    assert line.json("keys", "show", "1")["spent_usd"] == 1.17e-7
    with connected(make_data_dir(line.data_dir)) as connection:
        told = connection.execute("SELECT number, key_id, window, nanodollars FROM corrections").fetchall()
    assert told == [(1, 1, 0, 499_999_983), (2, 1, 0, -499_999_983)]


def test_what_a_provider_reported_is_not_corrected(line: Line) -> None:
    assert line("usage", "correct", request_ids(line)["reported"], "--cost-usd", "0.5") == 1
    assert "provider's own figures" in line.err
    assert line("usage", "correct", "nothing", "--cost-usd", "0.5") == 1
    assert "there is no request nothing" in line.err


def test_of_a_call_that_failed_it_says_that_nothing_was_charged(line: Line) -> None:
    with connected(make_data_dir(line.data_dir)) as connection:
        connection.execute("UPDATE ledger SET usage_source = 'none' WHERE usage_source = 'reported'")
    assert line("usage", "correct", request_ids(line)["none"], "--cost-usd", "0.5") == 1
    assert "was charged nothing, as nothing was used" in line.err
    assert "provider" not in line.err


@pytest.mark.parametrize("since", ["7d", "12h", "2026-01-01", "2026-01-01T12:00+02:00", "all"])
def test_since_takes_spans_and_dates(line: Line, since: str) -> None:
    assert line.json("usage", "--since", since)["total"]["requests"] == 3


@pytest.mark.parametrize(
    "words",
    [
        ("--since", "tomorrow"),
        ("--since", "9999-12-31"),
        ("--by", "colour"),
        ("correct", "x", "--cost-usd", "none"),
        ("correct", "x", "--cost-usd", "-1"),
        ("correct", "x", "--cost-usd", "0.0000000001"),
        ("correct", "x"),
    ],
)
def test_wrong_words_are_a_usage_error(line: Line, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ending:
        line("usage", *words)
    assert ending.value.code == 2


def test_an_option_before_the_action_counts(line: Line, tmp_path: Path) -> None:
    """Line puts --data-dir at the end; people put it anywhere."""
    assert line("usage", "--json", "verify") == 0
    assert line.out.startswith("{")
