"""Names resolve in the documented order; calls spread by weight; mistakes in the settings are named."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import date

import pytest

from providers import errors
from providers.catalog import Catalog
from providers.errors import ModelNotFound, OperationNotOffered, ProviderError, ProviderMisconfigured
from providers.router import Router, following
from providers.types import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    ModelSpec,
    ProviderSpec,
    Target,
    TargetSpec,
    Timeouts,
)

DEMO = ProviderSpec("demo", "demo")
OPENAI = ProviderSpec("openai", "openai", None, ("sk-aaaaaaaa",))
MISTRAL = ProviderSpec("mistral", "mistral", None, ("mi-aaaaaaaa",))
PERPLEXITY = ProviderSpec("perplexity", "perplexity", None, ("pp-aaaaaaaa",))
LOCAL = ProviderSpec("local", "ollama")
AUTUMN = date(2026, 11, 23)


def route(*providers: ProviderSpec, models: Sequence[ModelSpec] = (), today: date = AUTUMN) -> Router:
    return Router.from_specs(providers, models, Timeouts(1, 2, 3), today=lambda: today)


def alias(*targets: TargetSpec, name: str = "alias") -> ModelSpec:
    return ModelSpec(name, targets)


def names(router: Router, model: str, operation: str = CHAT) -> list[str]:
    return [f"{target.provider}:{target.model}" for target in router.targets(model, operation, 0.0)]


# Resolution


def test_the_operators_model_comes_first() -> None:
    model = alias(TargetSpec("local", "llama"), name="gpt-4o")
    assert names(route(OPENAI, LOCAL, models=[model]), "gpt-4o") == ["local:llama"]
    model = alias(TargetSpec("local", "llama"), name="openai/x")
    assert names(route(OPENAI, LOCAL, models=[model]), "openai/x") == ["local:llama"]


def test_then_the_provider_named_before_the_slash() -> None:
    router = route(OPENAI, MISTRAL, LOCAL)
    assert names(router, "local/gpt-4o") == ["local:gpt-4o"]
    assert names(router, "local/meta-llama/llama-3:8b") == ["local:meta-llama/llama-3:8b"]


def test_then_the_catalogues_owner() -> None:
    router = route(LOCAL, MISTRAL, OPENAI)
    assert names(router, "gpt-4o") == ["openai:gpt-4o"]
    assert names(router, "mistral-large-latest") == ["mistral:mistral-large-latest"]


def test_of_two_owners_the_one_configured_first_is_tried_first() -> None:
    groq = ProviderSpec("groq", "groq", None, ("gsk_aaaaaaaa",))
    together = ProviderSpec("together", "together", None, ("aaaaaaaa",))
    for providers in ((groq, together), (together, groq)):
        router = route(*providers)
        wanted = [f"{provider.name}:openai/gpt-oss-120b" for provider in providers]
        assert [names(router, "openai/gpt-oss-120b") for _ in range(3)] == [wanted] * 3


def test_then_the_only_provider() -> None:
    for providers in ([LOCAL], [LOCAL, DEMO]):
        assert names(route(*providers), "whatever/it:is") == ["local:whatever/it:is"]
        assert names(route(*providers), "gpt-4o") == ["local:gpt-4o"]


@pytest.mark.parametrize(
    "name", ["unknown", "nobody/x", "local/", "/x", "claude-sonnet-5-5", "demo-echo", ""]
)
def test_else_there_is_no_such_model(name: str) -> None:
    with pytest.raises(ModelNotFound):
        route(OPENAI, LOCAL).targets(name, CHAT, 0.0)


def test_the_demo_serves_its_one_model() -> None:
    for name in ("demo-echo", "demo/demo-echo"):
        assert names(route(DEMO), name) == ["demo:demo-echo"]
    for name in ("gpt-4o", "demo/gpt-4o", "x"):
        with pytest.raises(ModelNotFound):
            route(DEMO).targets(name, CHAT, 0.0)


def test_an_operation_that_is_not_offered() -> None:
    router = route(PERPLEXITY, DEMO)
    with pytest.raises(OperationNotOffered):
        router.targets("sonar", EMBEDDINGS, 0.0)
    assert router.targets("sonar", COMPLETIONS, 0.0)
    assert router.targets("demo-echo", EMBEDDINGS, 0.0)


def test_targets_that_do_not_offer_it_are_passed_over() -> None:
    model = alias(TargetSpec("perplexity", "m"), TargetSpec("openai", "o", priority=2))
    router = route(OPENAI, PERPLEXITY, models=[model])
    assert names(router, "alias", EMBEDDINGS) == ["openai:o"]
    assert names(router, "alias") == ["perplexity:m", "openai:o"]


# Order


def firsts(router: Router, count: int) -> str:
    return "".join(router.targets("alias", CHAT, 0.0)[0].model for _ in range(count))


def test_lower_priorities_come_first_and_the_rest_follows() -> None:
    model = alias(
        TargetSpec("openai", "c", priority=3), TargetSpec("openai", "a"), TargetSpec("local", "b", priority=2)
    )
    router = route(OPENAI, LOCAL, models=[model])
    assert [names(router, "alias") for _ in range(3)] == [["openai:a", "local:b", "openai:c"]] * 3


def test_equals_share_smoothly_by_weight() -> None:
    model = alias(TargetSpec("openai", "a", weight=3), TargetSpec("local", "b", weight=1))
    assert firsts(route(OPENAI, LOCAL, models=[model]), 8) == "aabaaaba"
    model = alias(TargetSpec("openai", "a"), TargetSpec("local", "b"), TargetSpec("mistral", "c"))
    assert Counter(firsts(route(OPENAI, LOCAL, MISTRAL, models=[model]), 300)) == {
        "a": 100,
        "b": 100,
        "c": 100,
    }


def test_every_order_holds_every_target_once() -> None:
    model = alias(
        TargetSpec("openai", "a", weight=5), TargetSpec("local", "b", weight=2), TargetSpec("mistral", "c")
    )
    router = route(OPENAI, LOCAL, MISTRAL, models=[model])
    assert all(sorted(names(router, "alias")) == ["local:b", "mistral:c", "openai:a"] for _ in range(50))


def test_secrets_take_turns() -> None:
    router = route(ProviderSpec("openai", "openai", None, ("sk-1aaaaaaa", "sk-2aaaaaaa", "sk-3aaaaaaa")))
    orders = [[target.secret[3] for target in router.targets("gpt-4o", CHAT, 0.0)] for _ in range(4)]
    assert orders == [["1", "2", "3"], ["2", "3", "1"], ["3", "1", "2"], ["1", "2", "3"]]


def test_another_provider_comes_before_the_same_ones_other_secret() -> None:
    many = ProviderSpec("openai", "openai", None, ("sk-1aaaaaaa", "sk-2aaaaaaa"))
    model = alias(TargetSpec("openai", "a"), TargetSpec("local", "b", priority=2))
    assert names(route(many, LOCAL, models=[model]), "alias") == ["openai:a", "local:b", "openai:a"]


def test_timeouts_are_the_models_own_where_it_has_some() -> None:
    own = Timeouts(9, 9, 9)
    models = [
        ModelSpec("slow", (TargetSpec("openai", "o3"),), timeouts=own),
        alias(TargetSpec("openai", "x")),
    ]
    router = route(OPENAI, models=models)
    assert router.targets("slow", CHAT, 0.0)[0].timeouts == own
    assert (
        router.targets("alias", CHAT, 0.0)[0].timeouts
        == router.targets("gpt-4o", CHAT, 0.0)[0].timeouts
        == Timeouts(1, 2, 3)
    )
    assert router.model_spec("slow") is models[0] and router.model_spec("gpt-4o") is None


def test_no_secret_shows() -> None:
    router = route(OPENAI)
    assert "sk-" not in repr(router.targets("gpt-4o", CHAT, 0.0)) + repr(router._providers)


def test_what_is_remembered_of_clients_names_is_bounded() -> None:
    router = route(LOCAL)
    for number in range(5000):
        router.targets(f"model-{number}", CHAT, 0.0)
    router.targets("x" * 1000, CHAT, 0.0)
    assert len(router._routes) == 4096
    assert not any(len(name) > 256 for name, _ in router._routes)


def test_a_known_name_costs_next_to_nothing() -> None:
    router = route(OPENAI, LOCAL)
    router.targets("gpt-4o", CHAT, 0.0)
    start = time.process_time()
    for _ in range(20_000):
        router.targets("gpt-4o", CHAT, 0.0)
    assert time.process_time() - start < 0.5  # 25 µs each, for a slow machine; measured: 0.2


# Models


def test_models_are_the_operators_then_the_catalogues_then_the_demo() -> None:
    listed = (
        route(
            OPENAI,
            DEMO,
            models=[alias(TargetSpec("openai", "x")), alias(TargetSpec("openai", "y"), name="gpt-4o")],
        )
        .models()
        .values()
    )
    ids = [model.id for model in listed]
    assert ids[:2] == ["alias", "gpt-4o"] and ids[-1] == "demo-echo" and len(ids) == len(set(ids))
    assert "text-embedding-3-small" in ids
    assert {model.owned_by for model in listed} == {"openai", "demo"}
    assert all(model.created > 1_700_000_000 for model in listed)


def test_what_cannot_be_called_is_not_listed() -> None:
    ids = {model.id for model in route(OPENAI).models().values()}
    assert "gpt-5-pro" not in ids and "claude-sonnet-5-5" not in ids and "demo-echo" not in ids


def test_retired_models_leave_the_list_on_their_day() -> None:
    def has(today: date) -> bool:
        return "gpt-4.1" in {model.id for model in route(OPENAI, today=today).models().values()}

    assert has(date(2027, 1, 13)) and not has(date(2027, 1, 14))


def test_one_model() -> None:
    router = route(OPENAI)
    assert router.model("gpt-4o").owned_by == "openai"
    with pytest.raises(ModelNotFound):
        router.model("nope")


def test_owners_in_the_catalogue_are_kinds_or_known_to_come() -> None:
    later = {"cohere"}
    kinds = {model.provider for model in Catalog.bundled().models}
    assert kinds - later <= {
        "openai",
        "anthropic",
        "gemini",
        "mistral",
        "xai",
        "fireworks",
        "together",
        "perplexity",
        "meta",
        "groq",
        "deepseek",
        "cerebras",
    }
    found = Catalog.bundled().find("openai", "gpt-4o")
    assert found is not None and found.max_output == 16384 and Catalog.bundled().find("xai", "gpt-4o") is None


# Mistakes


@pytest.mark.parametrize(
    ("providers", "models", "where", "words"),
    [
        ([OPENAI, OPENAI], [], "openai", "twice"),
        ([ProviderSpec("a/b", "ollama")], [], "a/b", "slash"),
        ([ProviderSpec("", "ollama")], [], "[[providers]] ", "empty"),
        ([ProviderSpec("x", "opena")], [], "[[providers]] x: kind", "did you mean 'openai'"),
        ([ProviderSpec("x", "usage")], [], "kind", "not known"),
        ([ProviderSpec("x", "openai")], [], "[[providers]] x: api_keys", "at least one"),
        ([ProviderSpec("x", "openai", None, ("",))], [], "api_keys", "at least one"),
        ([ProviderSpec("x", "azure", None, ("k" * 9,))], [], "[[providers]] x: base_url", "needs one"),
        ([ProviderSpec("x", "openai_compatible")], [], "base_url", "needs one"),
        ([ProviderSpec("x", "ollama", "localhost:11434")], [], "base_url", "URL"),
        ([ProviderSpec("x", "ollama", "ftp://a.example")], [], "base_url", "URL"),
        ([ProviderSpec("x", "ollama", "http://a.example:99999/")], [], "base_url", "URL"),
        ([ProviderSpec("x", "openai", None, ("sk-secret\r\nX: y",))], [], "base_url", "header"),
        ([ProviderSpec("x", "openai", None, ("sk-sécrët€",))], [], "base_url", "header"),
        ([OPENAI], [alias()], "[[models]] alias", "at least one target"),
        ([OPENAI], [alias(TargetSpec("opnai", "x"))], "[[models]] alias: targets", "did you mean 'openai'"),
        ([OPENAI], [alias(TargetSpec("openai", "x", weight=0))], "targets", "weight"),
        ([OPENAI], [alias(TargetSpec("openai", "x"))] * 2, "alias", "twice"),
    ],
)
def test_a_mistake_is_named(
    providers: list[ProviderSpec], models: list[ModelSpec], where: str, words: str
) -> None:
    with pytest.raises(ProviderMisconfigured) as caught:
        route(*providers, models=models)
    assert where in caught.value.where and words in caught.value.message
    assert "secret" not in str(caught.value) and "sécrët" not in str(caught.value)


# Health


def rest(target: Target, until: float) -> None:
    target.lane.condition.rest.resume(until, 3)


def test_what_rests_comes_last_and_is_still_there() -> None:
    model = alias(TargetSpec("openai", "a"), TargetSpec("local", "b", priority=2))
    router = route(OPENAI, LOCAL, models=[model])
    first, second = router.targets("alias", CHAT, 10.0)
    rest(first, 20.0)
    assert [target.model for target in router.targets("alias", CHAT, 19.0)] == ["b", "a"]
    rest(second, 30.0)
    assert [target.model for target in router.targets("alias", CHAT, 19.0)] == ["a", "b"]


def test_when_the_rest_is_over_one_call_goes_there_first() -> None:
    model = alias(TargetSpec("openai", "a"), TargetSpec("local", "b", priority=2))
    router = route(OPENAI, LOCAL, models=[model])
    rest(router.targets("alias", CHAT, 10.0)[0], 20.0)
    orders = [[target.model for target in router.targets("alias", CHAT, 20.0)] for _ in range(3)]
    assert orders == [["a", "b"], ["b", "a"], ["b", "a"]]


def test_secrets_are_spread_by_the_calls_under_way_and_skipped_while_they_rest() -> None:
    spec = ProviderSpec("openai", "openai", None, tuple(f"sk-{letter * 8}" for letter in "abc"))
    router = route(spec)
    a, b, c = sorted(router.targets("gpt-4o", CHAT, 0.0), key=lambda target: target.secret)
    a.lane.in_flight = c.lane.in_flight = 2
    assert all(router.targets("gpt-4o", CHAT, 0.0)[0] is b for _ in range(5))
    b.lane.rest.resume(100.0, 1)
    assert all(router.targets("gpt-4o", CHAT, 1.0)[-1] is b for _ in range(5))


@pytest.mark.parametrize(
    ("kind", "order"),
    [(errors.AUTH, ["openai:b", "other:c"]), (errors.FAILED, ["other:c", "openai:b"])],
)
def test_after_a_failure_another_secret_or_another_provider(kind: str, order: list[str]) -> None:
    openai = ProviderSpec("openai", "openai", None, ("sk-aaaaaaaa", "sk-bbbbbbbb"))
    other = ProviderSpec("other", "openai", None, ("sk-cccccccc",))
    model = alias(TargetSpec("openai", "m"), TargetSpec("other", "m", priority=2))
    targets = route(openai, other, models=[model]).targets("alias", CHAT, 0.0)
    tried, failure = [targets[0]], ProviderError(kind, "")
    while (target := following(targets, tried, failure)) is not None:
        tried.append(target)
    assert [f"{target.provider}:{target.secret[3]}" for target in tried[1:]] == order
