"""The command line is a contract: verbs, exit statuses, fields of the JSON, and what is refused."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from decimal import Decimal
from pathlib import Path

import pytest

from tests.handlers.lines import Line
from tests.store.books import ended, kept, make_data_dir, opened


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.chdir(tmp_path)
    return Line(tmp_path)


def test_a_created_key_has_the_promised_fields_and_shows_its_plaintext_once(line: Line) -> None:
    row = line.json("keys", "create", "--name", "n", "--tier", "pro", "--budget", "2.5", "--expires", "30d")
    assert {"id", "key", "prefix", "tier", "rpm", "tpd", "budget_usd", "expires_at"} <= set(row)
    assert re.fullmatch(r"sk-[A-Za-z0-9]{48}", row["key"])
    assert (row["tier"], row["rpm"], row["tpd"], row["budget_usd"]) == ("pro", 300, 1_000_000, 2.5)
    assert abs(row["expires_at"] - time.time() - 30 * 86400) < 60
    assert "key" not in line.json("keys", "show", str(row["id"]))
    for words in (("keys", "list"), ("keys", "show", "1"), ("keys", "list", "--json")):
        assert line(*words) == 0
        assert row["key"] not in line.out


def test_people_read_the_plaintext_on_a_line_of_its_own(line: Line) -> None:
    assert line("keys", "create", "--name", "n") == 0
    assert re.fullmatch(r"sk-[A-Za-z0-9]{48}", line.out.splitlines()[-1])


def test_a_key_is_changed_and_its_options_are_taken_back(line: Line) -> None:
    line.json("keys", "create", "--name", "n", "--rpm", "5", "--models", "a,b", "--expires", "1d")
    row = line.json("keys", "update", "1", "--budget", "0.000000001", "--budget-period", "week", "--rpm", "9")
    assert (row["budget_usd"], row["budget_period"], row["rpm"]) == (1e-9, "week", 9)
    assert row["models"] == ["a", "b"]
    row = line.json("keys", "update", "1", "--budget", "none", "--models", "any", "--expires", "never")
    assert (row["budget_usd"], row["models"], row["expires_at"]) == (None, None, None)
    assert line.json("keys", "update", "1", "--budget", "0")["budget_usd"] == 0
    assert line.json("keys", "update", "1", "--reset-spend")["id"] == 1


def test_calls_at_once_are_bounded_and_unbounded_again(line: Line) -> None:
    assert line.json("keys", "create", "--name", "n", "--max-parallel", "2")["max_parallel"] == 2
    assert line.json("keys", "update", "1", "--max-parallel", "5")["max_parallel"] == 5
    assert line.json("keys", "show", "1")["max_parallel"] == 5
    assert line.json("keys", "update", "1", "--max-parallel", "none")["max_parallel"] is None
    assert line.json("keys", "create", "--name", "n", "--max-parallel", "none")["max_parallel"] is None


def test_a_key_is_shown_with_what_it_has_spent_and_reserved_at_this_moment(line: Line) -> None:
    for name in "nm":
        line.json("keys", "create", "--name", name, "--budget", "1", "--budget-period", "day")
    now = int(time.time())
    today, yesterday = now // 86400 * 86400, now // 86400 * 86400 - 86400
    with kept(make_data_dir(line.data_dir)) as mover:
        for key_id, window, cost in ((1, today, 5 * 10**8), (1, yesterday, 7), (2, today, 9)):
            for _ in range(2):
                fields = {"key_id": key_id, "window": window, "worst_nanodollars": 2 * cost}
                mover.journal.begin(begun := opened(started_at_ms=now * 1000, **fields))
            mover.journal.settle(ended(begun, cost))
        row = line.json("keys", "show", "1")  # whether or not any of it is in the database by now
        assert (row["spent_usd"], row["reserved_usd"]) == (0.5, 1)
        assert line("keys", "show", "1") == 0
        assert re.search(r"^spent_usd +0\.5$", line.out, re.MULTILINE)
        assert re.search(r"^reserved_usd +1$", line.out, re.MULTILINE)
        assert line("keys", "show", "2") == 0
        assert re.search(r"^spent_usd +0\.000000009$", line.out, re.MULTILINE)
        line.json("keys", "update", "1", "--reset-spend")
        row = line.json("keys", "show", "1")
        assert (row["spent_usd"], row["reserved_usd"]) == (0, 0)


def test_states_come_and_go(line: Line) -> None:
    line.json("keys", "create", "--name", "n")
    assert line.json("keys", "deactivate", "1")["state"] == "inactive"
    assert line.json("keys", "list")[0]["state"] == "inactive"
    assert line.json("keys", "activate", "1")["state"] == "active"


def test_a_rotation_shows_a_new_plaintext_for_the_same_key(line: Line) -> None:
    old = line.json("keys", "create", "--name", "n", "--budget", "7")
    new = line.json("keys", "rotate", "1", "--grace", "24h")
    assert new["id"] == old["id"]
    assert new["key"] != old["key"]
    assert new["budget_usd"] == 7


def test_users_are_created_once_and_own_keys(line: Line) -> None:
    user = line.json("users", "create", "--email", "A@example.org", "--admin")
    assert (user["email"], user["is_admin"]) == ("a@example.org", True)
    assert line("users", "create", "--email", "a@example.org") == 1
    assert "already" in line.err
    assert line.json("keys", "create", "--name", "n", "--user", "a@example.org")["user_id"] == user["id"]
    assert line("keys", "create", "--name", "n", "--user", "b@example.org") == 1
    assert [row["email"] for row in line.json("users", "list")] == ["a@example.org"]


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "show", "99"),
        ("keys", "deactivate", "99"),
        ("keys", "rotate", "99"),
        ("keys", "update", "99", "--rpm", "1"),
        ("keys", "create", "--name", "n", "--tier", "gold"),
        ("keys", "create", "--name", ""),
        ("keys", "create", "--name", "a\x1b[2Jb"),
        ("keys", "create", "--name", "\udcff"),
        ("keys", "update", "99"),
        ("users", "create", "--email", "nobody"),
    ],
)
def test_a_refusal_is_status_1_with_the_reason_on_stderr(line: Line, words: tuple[str, ...]) -> None:
    assert line(*words) == 1
    assert line.err.startswith("rooya: ")
    assert line.out == ""


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("fly",),
        ("keys",),
        ("keys", "create"),
        ("keys", "create", "--name", "n", "--rpm", "0"),
        ("keys", "create", "--name", "n", "--rpm", "many"),
        ("keys", "create", "--name", "n", "--max-parallel", "0"),
        ("keys", "update", "1", "--max-parallel", "many"),
        ("keys", "create", "--name", "n", "--budget", "-1"),
        ("keys", "create", "--name", "n", "--budget", "nan"),
        ("keys", "create", "--name", "n", "--budget", "0.0000000001"),
        ("keys", "create", "--name", "n", "--budget", "1e30"),
        ("keys", "create", "--name", "n", "--budget", "8000000.000000001"),
        ("keys", "create", "--name", "n", "--budget", "1.0000000000000000000000000000001"),
        ("keys", "create", "--name", "n", "--budget", "1e-999999999999999999"),
        ("keys", "create", "--name", "n", "--budget-period", "year"),
        ("keys", "create", "--name", "n", "--expires", "soon"),
        ("keys", "create", "--name", "n", "--expires", "2001-01-01"),
        ("keys", "create", "--name", "n", "--expires", "0d"),
        ("keys", "create", "--name", "n", "--expires", "999999999d"),
        ("keys", "create", "--name", "n", "--models", "a\x1b[2Jb"),
        ("keys", "create", "--name", "n", "--bud", "1"),
        ("keys", "update", "1", "--model", "a"),
        ("keys", "create", "--name", "n", "--models", ","),
        ("keys", "rotate", "1", "--grace", "long"),
        ("keys", "show", "one"),
        ("keys", "show", "99999999999999999999"),
        ("serve", "--port", "http"),
    ],
)
def test_wrong_words_are_status_2(
    line: Line, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        line(*words)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "0.000000001", "2.5", "1234567.890123456", "7999999.999999999", "8e6"])
def test_money_is_printed_to_the_last_decimal(line: Line, text: str) -> None:
    line.json("keys", "create", "--name", "n", "--budget", text)
    assert line("keys", "show", "1", "--json") == 0
    assert json.loads(line.out, parse_float=Decimal, parse_int=Decimal)["budget_usd"] == Decimal(text)


def test_rows_that_others_wrote_are_shown_and_harm_no_terminal(line: Line) -> None:
    line.json("keys", "create", "--name", "n")
    database = sqlite3.connect(line.directory / "data" / "rooya.db")
    in_milliseconds = 1_900_000_000_000
    values = ("\x1b[2J\n", "gpt-4o", in_milliseconds)
    database.execute("UPDATE api_keys SET name = ?, models = ?, expires_at = ?", values)
    database.commit()
    database.close()
    for words in (("keys", "list"), ("keys", "show", "1")):
        assert line(*words) == 0
        assert "\x1b" not in line.out
    assert len(line.out.splitlines()) == len(line.json("keys", "show", "1")) - 1  # prefix and last4 are one
    assert line.json("keys", "list")[0]["models"] == []


def test_verbs_read_while_another_process_writes(line: Line) -> None:
    line.json("keys", "create", "--name", "n")
    other = sqlite3.connect(line.directory / "data" / "rooya.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert [row["id"] for row in line.json("keys", "list")] == [1]
    other.execute("ROLLBACK")
    other.close()


def test_check_says_what_is_wrong_with_file_key_and_reason(line: Line) -> None:
    assert line("check") == 0
    Path("rooya.toml").write_text('[server]\nprot = 80\n[[providers]]\nname = "x"\nkind = "openai"\n')
    assert line("check") == 1
    assert "rooya.toml" in line.err and "server.prot" in line.err and "'port'" in line.err
    Path("rooya.toml").write_text('[[providers]]\nname = "x"\nkind = "openai"\napi_keys = ["env:NOT_SET"]\n')
    assert line("check") == 1
    assert "providers[0].api_keys[0]" in line.err and "NOT_SET" in line.err
    Path("rooya.toml").write_text('[[providers]]\nname = "x"\nkind = "openai_compatible"\n')
    assert line("check") == 1
    assert "base_url" in line.err
    assert not (line.directory / "data").exists()


def test_bad_settings_stop_every_verb(line: Line) -> None:
    line.environ = {"ROOYA_PORT": "a lot"}
    for words in (("keys", "list"), ("check",)):
        assert line(*words) == 1
        assert "ROOYA_PORT" in line.err
