"""A provider's state in a word, by its calls, its secrets' rests and its list; and no secret in any of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from handlers.provider_states import ProviderState, ProviderStates, fingerprint
from providers import errors
from providers.errors import ProviderError
from providers.health import Health
from providers.router import Router
from providers.types import ProviderSpec, Timeouts
from store.catalog import CatalogLists, ListPlace, ModelRow
from tests.store.stores import opened, run

SECRETS = ("sk-lab-first-secret", "sk-lab-second-secret")
PROVIDER = ProviderSpec("lab", "openai_compatible", "http://user:pass@127.0.0.1:9/v1", SECRETS)
PLACE = ListPlace(PROVIDER.name, PROVIDER.kind, "http://user:pass@127.0.0.1:9/v1")
NOW = 1000.0
DOWN = ProviderError(errors.FAILED, "boom", status=500)
REFUSED = ProviderError(errors.AUTH, "no", status=401)


class Lab:
    """A provider, its health and its list."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.health = Health()
        self.list: str | None = None  # "read", "refused" or "out"

    def good(self, model: str, secret: int = 0) -> None:
        self.health.succeeded(self.health.lane("lab", model, secret), NOW, 0.25)

    def bad(self, model: str, failure: ProviderError = DOWN, secret: int = 0) -> None:
        for _ in range(3):
            self.health.failed(self.health.lane("lab", model, secret), NOW, failure)

    def state(self) -> ProviderState:
        found: list[ProviderState] = []

        async def test() -> None:
            async with opened(self.directory) as (database, _):
                lists = CatalogLists(database)
                if self.list == "read":
                    await lists.save(PLACE, [ModelRow("m", "chat", None, None, None, None, "{}")], 12, 90, 99)
                elif self.list is not None:
                    await lists.fail(PLACE, "it failed", self.list == "out", 90, 99)
                states = ProviderStates(
                    router=Router.from_specs([PROVIDER], [], Timeouts(), health=self.health),
                    health=self.health,
                    lists=lists,
                    clock=lambda: NOW,
                )
                found.extend(await states.all())

        run(test)
        (state,) = found
        return state


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_of_who_was_never_called_nothing_is_known(lab: Lab) -> None:
    state = lab.state()
    assert (state.word, state.latency_ms, state.read_at, state.host) == ("unknown", None, None, "127.0.0.1:9")


def test_calls_say_how_it_does(lab: Lab) -> None:
    lab.good("a")
    state = lab.state()
    assert (state.word, state.latency_ms, state.down) == ("healthy", 250, [])
    lab.bad("b")
    state = lab.state()
    assert (state.word, state.down) == ("partly", ["b"])
    lab.bad("a")
    assert lab.state().word == "down" or lab.state().down == ["a", "b"]


def test_a_secret_that_rests_is_seen_and_if_all_do_it_is_down(lab: Lab) -> None:
    lab.good("a", secret=1)
    lab.bad("a", REFUSED)
    state = lab.state()
    assert state.word == "partly" and [secret.rests_s > 0 for secret in state.secrets] == [True, False]
    lab.bad("a", REFUSED, secret=1)
    assert lab.state().word == "down"


@pytest.mark.parametrize(("how", "word"), [("read", "healthy"), ("refused", "unknown"), ("out", "down")])
def test_where_nobody_called_its_list_says_it(lab: Lab, how: str, word: str) -> None:
    lab.list = how
    state = lab.state()
    assert state.word == word and state.failure == ("" if how == "read" else "it failed")
    assert (state.read_at is not None) == (how == "read") and (state.failing_since is None) == (how == "read")


def test_no_secret_is_shown(lab: Lab) -> None:
    lab.good("a")
    state = lab.state()
    assert not any(secret in repr(state) or secret[:12] in repr(state) for secret in (*SECRETS, "user:pass"))
    assert [secret.fingerprint for secret in state.secrets] == [
        hashlib.sha256(secret.encode()).hexdigest()[:8] for secret in SECRETS
    ]
    assert fingerprint("") == ""


def test_calls_under_way_are_counted_by_secret(lab: Lab) -> None:
    lab.health.lane("lab", "a", 0).in_flight = 2
    lab.health.lane("lab", "b", 0).in_flight = 1
    lab.health.lane("lab", "a", 1).in_flight = 4
    state = lab.state()
    assert [secret.in_flight for secret in state.secrets] == [3, 4] and state.in_flight == 7
