"""A key's fields as forms and JSON have them."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.key_fields import FORM, JSON, from_form, from_json, grace_seconds
from store.errors import Invalid

NOTHING = dict.fromkeys(FORM, "")


def form(**fields: str) -> dict[str, Any]:
    return from_form({**NOTHING, "name": "k", **fields}.get)


def test_an_empty_field_of_a_form_is_none_and_a_missing_one_is_left_out() -> None:
    found = form()
    assert found["rpm"] is found["budget_nanodollars"] is found["models"] is found["expires_at"] is None
    assert from_form({"rpm": " 5 "}.get) == {"rpm": 5}


def test_a_form_and_a_document_that_say_the_same_are_the_same() -> None:
    typed = form(
        name="ci", tier="pro", rpm="7", tpd="1000", max_parallel="3", budget="12.345678901",
        budget_period="month", models="a, b", expires="",
    )  # fmt: skip
    document = {
        "name": "ci", "tier": "pro", "rpm": 7, "tpd": 1000, "max_parallel": 3, "budget_usd": 12.345678901,
        "budget_period": "month", "models": ["b", "a"], "expires_at": None,
    }  # fmt: skip
    assert typed == from_json(document, is_new=True)
    assert typed["budget_nanodollars"] == 12_345_678_901


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("rpm", "0"), ("rpm", "-1"), ("rpm", "1.5"), ("rpm", "many"), ("tpd", "1e99"), ("budget", "-1"),
        ("budget", "NaN"), ("budget", "inf"), ("budget", "0.0000000001"), ("budget", "9" * 30),
        ("expires", "yesterday"), ("expires", "2001-01-01"), ("max_parallel", "٣x"),
    ],
)  # fmt: skip
def test_a_slip_of_the_pen_is_refused_by_the_field_s_name(field: str, text: str) -> None:
    with pytest.raises(Invalid, match=f"^{field}: "):
        form(**{field: text})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 5), ("name", None), ("rpm", "5"), ("rpm", 5.0), ("rpm", True), ("rpm", 0), ("rpm", 2**70),
        ("budget_usd", "5"), ("budget_usd", True), ("budget_usd", -1), ("budget_usd", 1e300), ("models", "a"),
        ("models", []), ("models", [""]), ("models", [1]), ("models", ["a\nb"]), ("expires_at", 1),
        ("expires_at", True), ("expires_at", 10**20), ("expires_at", []), ("reset_spend", 1),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_refused_by_the_field_s_name(field: str, value: Any) -> None:
    with pytest.raises(Invalid, match=f"^{field}: "):
        from_json({field: value}, is_new=False)


def test_unknown_fields_are_refused_and_told_what_there_is() -> None:
    with pytest.raises(Invalid, match="no field 'budget' .*budget_usd"):
        from_json({"budget": 5}, is_new=True)
    with pytest.raises(Invalid, match="no field 'reset_spend'"):
        from_json({"reset_spend": True}, is_new=True)
    with pytest.raises(Invalid, match="JSON object"):
        from_json([], is_new=True)
    assert set(JSON) - {"reset_spend"} >= {"name", "budget_usd"}


def test_spend_is_reset_by_true_alone() -> None:
    assert from_json({"reset_spend": False}, is_new=False) == {}
    assert from_json({"reset_spend": True}, is_new=False)["spend_reset_at"] > 1_700_000_000


def test_a_grace_period_is_a_duration() -> None:
    assert [grace_seconds(text) for text in ("", "24h", " 30m ", "7d")] == [0, 86400, 1800, 604800]
    with pytest.raises(Invalid, match="^grace: "):
        grace_seconds("soon")
