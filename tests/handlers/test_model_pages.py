"""The pages of the catalogue: a row per model and provider, counters that add up, made anew when need be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from typing import Any

import pytest

from handlers.model_pages import SLICE, ListHealth, ModelPages, Source
from providers.catalog import ProviderList, provider_list
from providers.errors import ModelNotFound
from providers.model_lists import ListedModel
from providers.router import Router
from providers.types import ModelSpec, ProviderSpec, TargetSpec, Timeouts

LAB = ProviderSpec("lab", "vllm")
DESK = ProviderSpec("desk", "lmstudio")
NOW = 1_790_000_000
HOUR = 3600


class Traffic:
    """What calls have shown, by provider and model; counts how often it is asked."""

    def __init__(self, **known: tuple[str, int | None]) -> None:
        self.known = known
        self.asked = 0

    def seen(self, provider: str, model: str) -> tuple[str, int | None]:
        self.asked += 1
        return self.known.get(f"{provider}_{model}", ("unknown", None))


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def router_of(*providers: ProviderSpec, models: Sequence[ModelSpec] = ()) -> Router:
    return Router.from_specs(providers, models, Timeouts(), today=lambda: date(2026, 11, 24))


def listing(*names: str, **facts: Any) -> ProviderList:
    return provider_list([ListedModel(name, "chat") for name in names], **{"read_at": NOW, **facts})


def run(test: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(test(), 60))  # type: ignore[arg-type]


def status(router: Router, *health: Source, clock: Callable[[], float] | None = None) -> Any:
    pages = ModelPages(router=router, health=health, clock=clock or Clock())
    return json.loads(run(pages.status))


def words(answer: Any) -> list[tuple[str, str, str, bool, int | None]]:
    names = ("model_id", "provider", "health_status", "is_available", "last_health_latency_ms")
    return [tuple(row[name] for name in names) for row in answer["data"]]


# Rows


def test_the_status_has_a_row_for_each_model_and_provider() -> None:
    own = ModelSpec(
        "own",
        (
            TargetSpec("desk", "m2", priority=2),
            TargetSpec("lab", "m1"),
            TargetSpec("lab", "m3", priority=3),
        ),
    )
    router = router_of(LAB, DESK, models=[own])
    router.use({"lab": listing("both", "only-lab"), "desk": listing("both")})
    traffic = Traffic(lab_both=("healthy", 12), desk_both=("down", None), lab_m1=("healthy", 7))
    answer = status(router, traffic)
    assert words(answer) == [
        ("own", "lab", "healthy", True, 7),
        ("own", "desk", "unknown", True, None),
        ("both", "lab", "healthy", True, 12),
        ("both", "desk", "down", False, None),
        ("only-lab", "lab", "unknown", True, None),
    ]
    assert (answer["total"], answer["healthy"], answer["down"], answer["unknown"]) == (5, 2, 1, 2)
    assert len({row["id"] for row in answer["data"]}) == 5


def test_a_row_keeps_its_id() -> None:
    router = router_of(LAB)
    router.use({"lab": listing("a", "b")})
    before = {row["model_id"]: row["id"] for row in status(router)["data"]}
    router.use({"lab": listing("b")})
    assert [row["id"] for row in status(router)["data"]] == [before["b"]]


# Health


@pytest.mark.parametrize(
    ("facts", "seen"),
    [
        ({}, ("healthy", 30)),
        ({"read_at": NOW - 2 * HOUR}, ("healthy", 30)),
        ({"read_at": NOW - 2 * HOUR - 1}, ("unknown", None)),
        ({"read_at": None}, ("unknown", None)),
        ({"failing_since": NOW - HOUR + 1, "is_outage": True}, ("healthy", 30)),
        ({"failing_since": NOW - HOUR, "is_outage": True}, ("down", None)),
        ({"failing_since": NOW - HOUR, "is_outage": False}, ("healthy", 30)),
        ({"failing_since": NOW - 9 * HOUR, "is_outage": False, "read_at": None}, ("unknown", None)),
        ({"failing_since": NOW - 9 * HOUR, "is_outage": True, "read_at": None}, ("down", None)),
    ],
)
def test_what_reading_its_list_shows_of_a_provider(
    facts: dict[str, Any], seen: tuple[str, int | None]
) -> None:
    lists = {"lab": listing("m", "dated-2026-01-01", **{"latency_ms": 30, **facts})}
    health = ListHealth(lambda: lists, lambda: NOW)
    assert health.seen("lab", "m") == health.seen("lab", "dated") == seen
    assert health.seen("lab", "other") == (("unknown", None) if seen[0] == "healthy" else seen)
    assert health.seen("desk", "m") == ("unknown", None)


def test_traffic_is_believed_before_the_list() -> None:
    router = router_of(LAB)
    router.use({"lab": listing("a", "b", latency_ms=30)})
    by_list = ListHealth(lambda: router.lists, lambda: NOW)
    traffic = Traffic(lab_a=("down", 900))
    assert words(status(router, traffic, by_list)) == [
        ("a", "lab", "down", False, 900),
        ("b", "lab", "healthy", True, 30),
    ]


# Made when something changed


def test_ten_thousand_reads_in_a_second_look_once() -> None:
    router, traffic, clock = router_of(LAB), Traffic(), Clock()
    router.use({"lab": listing("a", "b")})
    pages = ModelPages(router=router, health=[traffic], clock=clock)

    async def test() -> None:
        first = await pages.status()
        for _ in range(10_000):
            assert await pages.status() is first
        models = await pages.models()
        for _ in range(10_000):
            assert await pages.models() is models

    run(test)
    assert traffic.asked == 2  # once for each row


def test_a_crowd_that_comes_at_once_is_served_by_one_look() -> None:
    router, traffic = router_of(LAB), Traffic()
    router.use({"lab": listing(*(f"m{number}" for number in range(3 * SLICE)))})
    pages = ModelPages(router=router, health=[traffic], clock=Clock())

    async def test() -> None:
        answers = await asyncio.gather(*(pages.status() for _ in range(200)))
        assert all(answer is answers[0] for answer in answers)

    run(test)
    assert traffic.asked == 3 * SLICE


def test_what_changes_shows() -> None:
    router, traffic, clock = router_of(LAB), Traffic(), Clock()
    router.use({"lab": listing("a")})
    pages = ModelPages(router=router, health=[traffic], clock=clock)

    async def test() -> None:
        assert words(json.loads(await pages.status())) == [("a", "lab", "unknown", True, None)]
        traffic.known["lab_a"] = ("down", None)
        assert words(json.loads(await pages.status())) == [("a", "lab", "unknown", True, None)]
        clock.now += 1
        assert words(json.loads(await pages.status())) == [("a", "lab", "down", False, None)]
        router.use({"lab": listing("b")})
        assert [row[0] for row in words(json.loads(await pages.status()))] == ["b"]
        assert [row["id"] for row in json.loads(await pages.models())["data"]] == ["b"]
        with pytest.raises(ModelNotFound):
            pages.model("a")
        assert json.loads(pages.model("lab/b")) == {
            "id": "lab/b",
            "object": "model",
            "created": router.models()["b"].created,
            "owned_by": "lab",
        }

    run(test)


def test_pages_of_thousands_of_models_leave_the_loop_to_others() -> None:
    router = router_of(LAB)
    router.use({"lab": listing(*(f"model-{number}" for number in range(10 * SLICE)))})
    pages = ModelPages(router=router, health=[Traffic()], clock=Clock())
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def test() -> None:
        counting = asyncio.create_task(count())
        await pages.status()
        counting.cancel()

    run(test)
    assert turns >= 20  # ten for what is listed, ten for how it does


def test_nothing_that_is_listed_breaks_the_json() -> None:
    name = 'odd " \\ </script> \u2028 ünï'
    router = router_of(LAB)
    router.use({"lab": listing(name)})
    assert words(status(router)) == [(name, "lab", "unknown", True, None)]


def test_no_models_are_an_empty_list() -> None:
    pages = ModelPages(router=router_of(LAB), health=[], clock=Clock())
    assert json.loads(run(pages.models)) == {"object": "list", "data": []}
    assert status(router_of(LAB)) == {
        "object": "list",
        "data": [],
        "total": 0,
        "healthy": 0,
        "down": 0,
        "unknown": 0,
    }
