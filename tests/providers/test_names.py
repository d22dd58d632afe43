"""Public names: the vendor's id, what providers list, aliases that lead to today's models; what is listed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from providers.catalog import Catalog, provider_list
from providers.errors import ModelNotFound
from providers.model_lists import ListedModel
from providers.router import Router
from providers.types import CHAT, ModelSpec, ProviderSpec, TargetSpec, Timeouts
from providers.vendors import ROWS

AUTUMN = date(2026, 11, 24)
OPENAI = ProviderSpec("openai", "openai", None, ("sk-aaaaaaaa",))
ANTHROPIC = ProviderSpec("anthropic", "anthropic", None, ("sk-bbbbbbbb",))
OPENROUTER = ProviderSpec("openrouter", "openrouter", None, ("or-aaaaaaaa",))
MISTRAL = ProviderSpec("mistral", "mistral", None, ("mi-aaaaaaaa",))
LAB = ProviderSpec("lab", "vllm")
HOME = ProviderSpec("home", "ollama")
REFERENCE = (
    *("gpt-4o", "gpt-4o-mini", "gpt-4-turbo", "gpt-3.5-turbo"),
    *("claude-3.5-sonnet", "claude-3-opus", "claude-3-haiku"),
    *("gemini-1.5-pro", "gemini-1.5-flash", "gemini-pro", "llama-3.1-70b", "llama-3.1-8b"),
    *("mistral-large", "mistral-medium", "mistral-small", "deepseek-chat", "deepseek-coder"),
)


def router_of(
    *providers: ProviderSpec, models: Sequence[ModelSpec] = (), today: date = AUTUMN, **lists: list[str]
) -> Router:
    router = Router.from_specs(providers, models, Timeouts(), today=lambda: today)
    router.use(
        {name: provider_list([ListedModel(i, "chat") for i in ids], read_at=1) for name, ids in lists.items()}
    )
    return router


def places(router: Router, name: str) -> list[str]:
    return [f"{target.provider}:{target.model}" for target in router.targets(name, CHAT, 0.0)]


# Names


def test_a_provider_that_lists_a_name_serves_it() -> None:
    router = router_of(LAB, HOME, lab=["mine"], home=["mine", "other"])
    assert places(router, "mine") == ["lab:mine", "home:mine"]
    assert places(router, "other") == ["home:other"]
    with pytest.raises(ModelNotFound):
        router.targets("nobodys", CHAT, 0.0)


def test_a_vendor_goes_before_those_who_list_its_models_name() -> None:
    assert places(router_of(LAB, OPENAI, lab=["gpt-4o"]), "gpt-4o") == ["openai:gpt-4o", "lab:gpt-4o"]


def test_the_operators_models_and_provider_slash_id_decide_before_lists() -> None:
    own = ModelSpec("mine", (TargetSpec("home", "x"),))
    router = router_of(LAB, HOME, models=[own], lab=["mine", "home/y"])
    assert places(router, "mine") == ["home:x"]
    assert places(router, "home/y") == ["home:y"]


def test_a_new_list_holds_for_names_that_were_asked_for_before() -> None:
    router = router_of(LAB, HOME, lab=["a"])
    assert places(router, "a") == ["lab:a"]
    router.use({"home": provider_list([ListedModel("a", "chat")], read_at=1)})
    assert places(router, "a") == ["home:a"]


def test_what_a_list_says_of_a_model_is_known_of_its_target() -> None:
    router = router_of(OPENAI, ANTHROPIC)
    listed = [
        ListedModel("gpt-4o", "image", 9, 8),
        ListedModel("claude-new", "chat", 7, 6, quirks='{"adaptive_thinking":true}'),
    ]
    router.use({name: provider_list(listed, read_at=1) for name in ("openai", "anthropic")})
    known = router.targets("gpt-4o", CHAT, 0.0)[0].known
    assert known is not None and (known.type, known.context, known.max_output) == ("chat", 9, 8)
    assert known.retires == date(2027, 1, 14)
    known = router.targets("anthropic/claude-new", CHAT, 0.0)[0].known
    assert known is not None and known.quirks == {"adaptive_thinking": True} and known.max_output == 6


# Aliases


def test_every_name_of_the_reference_is_served_by_openrouter_alone() -> None:
    router = router_of(OPENROUTER)
    assert set(REFERENCE) <= set(router.models())
    assert all(place.startswith("openrouter:") for name in REFERENCE for place in places(router, name))


@pytest.mark.parametrize(
    ("name", "providers", "wanted"),
    [
        ("claude-3.5-sonnet", (ANTHROPIC, OPENROUTER), "anthropic:claude-sonnet-5-5"),
        ("claude-3.5-sonnet", (OPENROUTER, ANTHROPIC), "anthropic:claude-sonnet-5-5"),
        ("claude-3.5-sonnet", (OPENROUTER, OPENAI), "openrouter:anthropic/claude-sonnet-5.5"),
        ("mistral-large", (MISTRAL,), "mistral:mistral-large-latest"),
        ("mistral-small", (MISTRAL,), "mistral:mistral-small"),
        ("gpt-4-turbo", (OPENAI, LAB), "openai:gpt-5.4"),
    ],
)
def test_an_alias_leads_to_the_first_choice_that_is_configured(
    name: str, providers: tuple[ProviderSpec, ...], wanted: str
) -> None:
    assert places(router_of(*providers), name) == [wanted]


def test_an_alias_of_a_vendor_who_is_not_there_is_no_name() -> None:
    router = router_of(OPENAI, MISTRAL)
    assert "claude-3.5-sonnet" not in router.models()
    with pytest.raises(ModelNotFound):
        router.targets("claude-3.5-sonnet", CHAT, 0.0)


def test_an_alias_passes_over_what_its_provider_does_not_list() -> None:
    router = router_of(OPENROUTER, ANTHROPIC, anthropic=["claude-opus-5-5"])
    assert places(router, "claude-3.5-sonnet") == ["openrouter:anthropic/claude-sonnet-5.5"]
    assert places(router, "claude-3-opus") == ["anthropic:claude-opus-5-5"]


def test_a_server_at_home_stands_for_an_alias_only_where_it_lists_the_model() -> None:
    assert "llama-3.1-8b" not in router_of(HOME, LAB).models()
    router = router_of(HOME, OPENROUTER, home=["llama3.1:8b"])
    assert places(router, "llama-3.1-8b") == ["home:llama3.1:8b"]
    assert places(router, "llama-3.1-70b") == ["openrouter:meta-llama/llama-3.3-70b-instruct"]


def test_a_model_of_that_very_name_goes_before_an_alias() -> None:
    router = router_of(HOME, OPENROUTER, home=["llama-3.1-8b"])
    assert places(router, "llama-3.1-8b") == ["home:llama-3.1-8b"]


def test_a_retired_model_becomes_its_successor_on_its_day() -> None:
    before, after = (router_of(OPENAI, LAB, today=day) for day in (date(2027, 1, 13), date(2027, 1, 14)))
    assert places(before, "gpt-4o") == ["openai:gpt-4o"]
    assert places(after, "gpt-4o") == ["openai:gpt-5.4"]
    # Unless the vendor has it still.
    assert places(router_of(OPENAI, LAB, today=date(2027, 2, 1), openai=["gpt-4o"]), "gpt-4o") == [
        "openai:gpt-4o"
    ]


def test_aliases_lead_to_models_that_are_there() -> None:
    catalog = Catalog.bundled()
    kinds_of_the_bundle = {model.provider for model in catalog.models}
    for name, choices in catalog.aliases.items():
        for kind, model in choices:
            assert kind in ROWS
            row = catalog.find(kind, model)
            assert row is not None or kind not in kinds_of_the_bundle, f"{name}: {kind} {model}"
            assert row is None or not row.is_over(AUTUMN)
    assert set(REFERENCE) <= set(catalog.aliases)


def test_every_choice_of_an_alias_says_why_in_a_word() -> None:
    path = Path(__file__).resolve().parents[2] / "providers" / "aliases.json"
    choices = [choice for each in json.loads(path.read_text()).values() for choice in each]
    assert {choice["why"] for choice in choices} == {"same", "successor", "newest"}


# What is listed


def test_a_providers_own_list_decides_what_is_listed_of_it() -> None:
    router = router_of(OPENAI, openai=["gpt-4o", "gpt-5.4-2026-03-05", "ft:gpt-4o:acme::1"])
    # `gpt-5.4` is a name of the dated version that is listed.
    ids = [model.id for model in router.models().values() if model.owned_by == "openai"]
    aliases = set(Catalog.bundled().aliases)
    assert [i for i in ids if i not in aliases] == ["gpt-5.4", "gpt-5.4-2026-03-05", "ft:gpt-4o:acme::1"]


def test_what_the_endpoints_cannot_call_is_not_listed() -> None:
    router = router_of(LAB)
    listed = [ListedModel("m", kind) for kind in ("image",)] + [ListedModel("e", "embedding")]
    router.use({"lab": provider_list(listed, read_at=1)})
    assert [(model.id, model.type) for model in router.models().values()] == [("e", "embedding")]


def test_more_than_a_hundred_models_are_listed_without_any_network() -> None:
    everybody = [
        ProviderSpec(row.name, row.name, row.base_url, ("secret-secret",))
        for row in ROWS.values()
        if row.base_url
    ]
    router = Router.from_specs(everybody, [], Timeouts(), today=lambda: AUTUMN)
    models = router.models()
    assert len(models) > 100 and set(REFERENCE) <= set(models)
    assert all(router.places(name) for name in models)
    assert all(model.created > 1_700_000_000 and model.owned_by in ROWS for model in models.values())


def test_the_list_is_the_same_until_it_changes() -> None:
    router = router_of(LAB, lab=["a"])
    first = router.models()
    assert router.models() is first
    router.use(router.lists)
    assert router.models() is not first and router.models() == first


def test_a_model_by_provider_and_id() -> None:
    router = router_of(OPENAI, LAB, lab=["a", "org/b"])
    for name, owner in (("lab/a", "lab"), ("lab/org/b", "lab"), ("openai/gpt-4o", "openai")):
        model = router.model(name)
        assert (model.id, model.owned_by) == (name, owner)
    for name in ("lab/gpt-4o", "openai/a", "nobody/a", "lab/", "/a"):
        with pytest.raises(ModelNotFound):
            router.model(name)
