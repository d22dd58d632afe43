"""`models list` and `models sync --prices`: shown, asked about where odd, put in place whole."""

from __future__ import annotations

import dataclasses
import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices import data_snapshot, types

from providers import price_edition
from tests.handlers.lines import Line
from tests.store.books import connected, make_data_dir

MODEL = "gpt-4o"


def raw(value: Any) -> Any:
    """The library's own objects as the JSON that it reads."""
    if isinstance(value, types.ModelPrice):
        return {name: raw(price) for name, price in vars(value).items() if price is not None}
    if dataclasses.is_dataclass(value):
        fields = {
            field.name.rstrip("_"): raw(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
        return {name: field for name, field in fields.items() if field is not None}
    if isinstance(value, list):
        return [raw(item) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def published(directory: Path, **changed: str) -> Path:
    """A list as it is published: the bundled one, with other prices of one model."""
    providers = []
    for provider in data_snapshot.get_snapshot().providers:
        models = [raw(model) for model in provider.models]
        for model in models:
            if provider.id == "openai" and model["id"] == MODEL:
                model["prices"] = {**model["prices"], **changed}
        shown = {"id": provider.id, "name": provider.name, "api_pattern": provider.api_pattern}
        providers.append({**shown, "models": models})
    path = directory / "published.json"
    path.write_text(json.dumps(providers))
    return path


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.chdir(tmp_path)
    line = Line(tmp_path)
    line.environ["OPENAI_API_KEY"] = "x"
    return line


def price_of(line: Line, model: str = MODEL) -> dict[str, Any]:
    rows: list[dict[str, Any]] = line.json("models", "list")
    return next(row for row in rows if row["id"] == model)


def test_models_are_listed_with_their_prices(line: Line) -> None:
    row = price_of(line)
    assert (row["input_usd"], row["cached_input_usd"], row["output_usd"]) == (2.5, 1.25, 10)
    assert row["price_source"].startswith("genai-prices ")


def test_the_demo_and_a_price_of_ones_own_are_listed(line: Line) -> None:
    line.environ.clear()
    assert price_of(line, "demo-echo")["output_usd"] == 1
    (line.directory / "rooya.toml").write_text(
        """[[providers]]
name = "lab"
kind = "vllm"
[[models]]
id = "own"
targets = [{ provider = "lab", model = "m" }]
price = { input = 0.25, output = 2 }
"""
    )
    row = price_of(line, "own")
    assert (row["provider"], row["model"], row["input_usd"], row["output_usd"]) == ("lab", "m", 0.25, 2)
    assert row["price_source"] == "rooya.toml"


def test_newer_prices_are_shown_and_hold_from_then_on(line: Line) -> None:
    source = published(line.directory, input_mtok="3")
    assert line("models", "sync", "--prices", "--from", str(source)) == 0, line.err
    assert f"openai {MODEL}: input 2.5 -> 3" in line.out
    assert price_of(line)["input_usd"] == 3
    assert price_of(line)["price_source"].startswith("genai-prices data ")
    with connected(make_data_dir(line.data_dir)) as connection:
        (version,) = connection.execute("SELECT version FROM versions WHERE name = 'prices'").fetchone()
    assert version > 1  # which tells running processes


def test_a_dry_run_changes_nothing(line: Line) -> None:
    source = published(line.directory, input_mtok="3")
    assert line("models", "sync", "--prices", "--dry-run", "--from", str(source)) == 0
    assert f"openai {MODEL}: input 2.5 -> 3" in line.out
    assert price_of(line)["input_usd"] == 2.5
    assert not price_edition.fetched_path(line.data_dir).exists()


def test_a_price_a_hundred_times_off_wants_a_yes(line: Line) -> None:
    source = published(line.directory, input_mtok="250")
    assert line("models", "sync", "--prices", "--from", str(source)) == 1
    assert f"look at openai {MODEL}" in line.err
    assert price_of(line)["input_usd"] == 2.5
    assert line("models", "sync", "--prices", "--yes", "--from", str(source)) == 0
    assert price_of(line)["input_usd"] == 250


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"not JSON", b'[{"id": 1}]', b"\x00" * 100])
def test_a_corrupt_list_changes_nothing(line: Line, content: bytes) -> None:
    source = line.directory / "published.json"
    source.write_bytes(content)
    assert line("models", "sync", "--prices", "--from", str(source)) == 1
    assert "those of before still hold" in line.err
    assert price_of(line)["input_usd"] == 2.5
    assert [path.name for path in line.data_dir.iterdir() if path.name.startswith("prices")] == []


def test_no_network_is_said_and_changes_nothing(line: Line) -> None:
    assert line("models", "sync", "--prices", "--from", "http://127.0.0.1:9/data.json") == 1
    assert "could not be fetched" in line.err
