"""Settings: what is read from where, and what stops the start with which words."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import pytest

from store.errors import SettingsError
from store.groups import ProviderEntry, TargetEntry, Tier
from store.settings import Settings

KINDS: Final = ("openai", "openai_compatible", "anthropic", "gemini", "azure", "demo", "mistral")
VENDORS_ENV: Final = {
    "OPENAI_API_KEY": "openai",
    "GEMINI_API_KEY": "gemini",
    "GOOGLE_API_KEY": "gemini",
}
SECRET: Final = "sk-never-to-be-seen"
A: Final = '[[providers]]\nname = "a"\nkind = "demo"\n'
M: Final = A + '[[models]]\nid = "m"\ntargets = [{ provider = "a", model = "x" }]\n'
FULL: Final = """
[server]
address = "0.0.0.0"
unix = "/run/rooya/1.sock"
port = 0
data_dir = "/var/lib/rooya"
public_url = "https://llm.example.org"
trusted_proxies = ["10.0.0.0/8", "::1"]
max_body_bytes = 1048576
max_upload_bytes = 2097152
registration = "invite"
public_catalog = false
processes = 4
[limits]
redis_url = "redis://:sk-never-to-be-seen@redis.example.org:6380/1"
ip_rpm = 0
ip_scope = "anonymous"
ip_exempt = ["192.0.2.1"]
[limits.tiers.free]
rpm = 7
[limits.tiers.gold]
rpm = 8
tpd = 9
[timeouts]
request_s = 31
stream_s = 300.5
connect_s = 1
first_byte_s = 2
idle_s = 3
[retry]
retries = 0
[compat]
strict_params = true
[ledger]
journal_sync = "always"
journal_required = false
retention_days = 1
retention_bytes = 1048576
[metrics]
address = "127.0.0.1:9100"
[health]
paid_probe_usd_per_day = 1
[[providers]]
name = "azure-eu"
kind = "azure"
base_url = "https://eu.example.org/v1"
api_keys = ["env:AZURE", "file:FILE", "sk-never-to-be-seen-literal"]
[[providers]]
name = "a"
kind = "demo"
[[models]]
id = "gpt-4o"
targets = [
  { provider = "azure-eu", model = "gpt4o", weight = 3 },
  { provider = "a", model = "gpt-4o", priority = 2 },
]
price = { input = 2.5, cached_input = 1, cache_write = 0, output = 10.0 }
max_output_tokens = 16384
stream_s = 60
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings of a text, in a folder without a rooya.toml."""
    monkeypatch.chdir(tmp_path)

    def load(
        text: str | None = None, environ: Mapping[str, str] | None = None, **overrides: object
    ) -> Settings:
        path = None if text is None else tmp_path / "own.toml"
        if path is not None and text is not None:
            path.write_text(text, encoding="utf-8")
        dotted = {name.replace("__", "."): value for name, value in overrides.items()}
        return Settings.load(path, environ or {}, overrides=dotted, kinds=KINDS, vendors_env=VENDORS_ENV)

    return load


def test_with_nothing_said_the_defaults_hold(load: Callable[..., Settings]) -> None:
    settings = load()
    server = settings.server
    assert (server.address, server.port, server.unix, server.data_dir) == (
        "127.0.0.1",
        8000,
        "",
        Path("data"),
    )
    assert server.trusted_proxies == (ip_network("127.0.0.1/32"), ip_network("::1/128"))
    assert (server.max_body_bytes, server.max_upload_bytes) == (33554432, 1073741824)
    assert (server.registration, server.public_catalog, server.processes) == ("open", True, 1)
    limits = settings.limits
    assert (limits.redis_url, limits.ip_rpm, limits.ip_scope, limits.ip_exempt) == ("", 120, "all", ())
    assert limits.tiers == {
        "free": Tier(60, 100_000), "pro": Tier(300, 1_000_000), "enterprise": Tier(10_000, 100_000_000),
    }  # fmt: skip
    assert dataclasses.astuple(settings.timeouts) == (30.0, 300.0, 5.0, 0.0, 0.0)
    assert (settings.retry.retries, settings.compat.strict_params) == (2, False)
    assert dataclasses.astuple(settings.ledger) == ("second", True, 90, 1073741824)
    assert (settings.metrics.address, settings.health.paid_probe_usd_per_day) == ("", 0.0)
    assert (settings.providers, settings.models) == ((), ())


def test_everything_can_be_set(load: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "FILE").write_text("of-file\r\n")
    settings = load(FULL, {"AZURE": "of-env"})
    server, limits = settings.server, settings.limits
    assert (server.address, server.unix, server.port) == ("0.0.0.0", "/run/rooya/1.sock", 0)
    assert (server.data_dir, server.public_url) == (Path("/var/lib/rooya"), "https://llm.example.org")
    assert server.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert (server.max_body_bytes, server.max_upload_bytes) == (1048576, 2097152)
    assert (server.registration, server.public_catalog, server.processes) == ("invite", False, 4)
    assert limits.redis_url == f"redis://:{SECRET}@redis.example.org:6380/1"
    assert (limits.ip_rpm, limits.ip_scope) == (0, "anonymous")
    assert limits.ip_exempt == (ip_network("192.0.2.1/32"),)
    assert limits.tiers["free"] == Tier(7, 100_000)
    assert limits.tiers["gold"] == Tier(8, 9)
    assert limits.tiers["pro"] == Tier(300, 1_000_000)
    timeouts = dataclasses.astuple(settings.timeouts)
    assert timeouts == (31.0, 300.5, 1.0, 2.0, 3.0)
    assert {type(each) for each in timeouts} == {float}
    assert (settings.retry.retries, settings.compat.strict_params) == (0, True)
    assert dataclasses.astuple(settings.ledger) == ("always", False, 1, 1048576)
    assert (settings.metrics.address, settings.health.paid_probe_usd_per_day) == ("127.0.0.1:9100", 1.0)
    keys = ("of-env", "of-file", SECRET + "-literal")
    assert settings.providers == (
        ProviderEntry("azure-eu", "azure", "https://eu.example.org/v1", keys),
        ProviderEntry("a", "demo", None, ()),
    )
    (model,) = settings.models
    assert model.targets == (TargetEntry("azure-eu", "gpt4o", weight=3), TargetEntry("a", "gpt-4o", 1, 2))
    assert model.price == {"input": 2.5, "cached_input": 1.0, "cache_write": 0.0, "output": 10.0}
    assert (model.id, model.max_output_tokens, model.stream_s, model.request_s) == (
        "gpt-4o",
        16384,
        60.0,
        None,
    )


def test_settings_cannot_be_changed(load: Callable[..., Settings]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().server.port = 1  # type: ignore[misc]


# --- where settings come from -------------------------------------------------------------------------------


def test_the_command_line_is_over_the_environment_over_the_file(load: Callable[..., Settings]) -> None:
    text = '[server]\nport = 1\naddress = "file"\ndata_dir = "file"\n'
    environ = {
        "ROOYA_PORT": "2",
        "ROOYA_ADDRESS": "env",
        "ROOYA_DATA_DIR": "",
        "ROOYA_REDIS_URL": "unix:///r",
    }
    settings = load(text, environ, server__port=3, server__address=None)
    assert (settings.server.port, settings.server.address) == (3, "env")
    assert settings.server.data_dir == Path("file")
    assert settings.limits.redis_url == "unix:///r"
    assert load(text).server.port == 1
    assert load(text, {"ROOYA_DATA_DIR": "env"}).server.data_dir == Path("env")
    assert load(text, server__data_dir=Path("line")).server.data_dir == Path("line")
    assert load(text, server__data_dir="line").server.data_dir == Path("line")


def test_the_file_is_the_named_one_else_of_the_environment_else_the_usual(
    load: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "rooya.toml").write_text("[server]\nport = 1\n")
    (tmp_path / "env.toml").write_text("[server]\nport = 2\n")
    assert load().server.port == 1
    assert load(None, {"ROOYA_CONFIG": ""}).server.port == 1
    assert load(None, {"ROOYA_CONFIG": "env.toml"}).server.port == 2
    assert load("[server]\nport = 3\n", {"ROOYA_CONFIG": "env.toml"}).server.port == 3


@pytest.mark.parametrize("by_environment", [False, True])
def test_a_named_file_must_be_there(tmp_path: Path, by_environment: bool) -> None:
    path = tmp_path / "none.toml"
    config, environ = (None, {"ROOYA_CONFIG": str(path)}) if by_environment else (path, {})
    with pytest.raises(SettingsError) as caught:
        Settings.load(config, environ, overrides={}, kinds=KINDS, vendors_env={})
    assert (caught.value.source, caught.value.key) == (str(path), "")
    assert "No such file" in caught.value.reason


def test_a_vendor_s_variable_switches_it_on_unless_it_is_configured(load: Callable[..., Settings]) -> None:
    environ = {"OPENAI_API_KEY": "o", "GEMINI_API_KEY": "g1", "GOOGLE_API_KEY": "g2", "MISTRAL_API_KEY": "m"}
    both = (ProviderEntry("openai", "openai", None, ("o",)), ProviderEntry("gemini", "gemini", None, ("g1",)))
    assert load(None, environ).providers == both
    assert load(None, {"OPENAI_API_KEY": ""}).providers == ()
    assert [p.api_keys for p in load(None, {**environ, "GEMINI_API_KEY": ""}).providers] == [("o",), ("g2",)]
    own = '[[providers]]\nname = "openai"\nkind = "openai_compatible"\nbase_url = "http://own.example"\n'
    assert load(own, environ).providers[0] == ProviderEntry(
        "openai", "openai_compatible", "http://own.example", ()
    )
    assert [p.name for p in load(own, environ).providers] == ["openai", "gemini"]
    target = '[[models]]\nid = "m"\ntargets = [{ provider = "openai", model = "x" }]'
    assert load(target, environ).models[0].targets == (TargetEntry("openai", "x"),)


# --- what is wrong ------------------------------------------------------------------------------------------

# text -> key, fragment of the reason
BAD: Final[list[tuple[str, str, str]]] = [
    # no TOML
    ("[server]\nport = \n", "", "line 2"),
    ("[server]\nport = 1\nport = 2\n", "", "line 3"),
    (f"[server]\nport = {'9' * 5000}\n", "", "is not TOML"),
    # unknown keys
    ("[server]\nprot = 1", "server.prot", "unknown key; did you mean 'port'?"),
    ("[server]\nxyzzy = 1", "server.xyzzy", "unknown key$"),
    ("[sever]\nport = 1", "sever", "unknown key; did you mean 'server'?"),
    ("port = 1", "port", "unknown key"),
    ('"server.port" = 1', "server.port", "unknown key"),
    ('[limits]\n"tiers.free" = 1', "limits.tiers.free", "unknown key"),
    ("[retry]\nretry = 1", "retry.retry", "did you mean 'retries'?"),
    ("[limits.tiers.free]\nrpn = 1", "limits.tiers.free.rpn", "did you mean 'rpm'?"),
    (A + f'api_key = "{SECRET}"', "providers[0].api_key", "did you mean 'api_keys'?"),
    (M + "prise = {}", "models[0].prise", "did you mean 'price'?"),
    (M + "price = { inputs = 1 }", "models[0].price.inputs", "did you mean 'input'?"),
    # types
    ("server = 1", "server", "expected a table, got an integer"),
    ("[[server]]\nport = 1", "server", "expected a table, got an array"),
    ('[server]\nport = "80"', "server.port", "expected an integer, got a string"),
    ("[server]\nport = true", "server.port", "expected an integer, got a boolean"),
    ("[server]\nport = 80.0", "server.port", "expected an integer, got a number"),
    ("[server]\naddress = 1", "server.address", "expected a string, got an integer"),
    ("[server]\npublic_catalog = 1", "server.public_catalog", "expected a boolean, got an integer"),
    ('[server]\ntrusted_proxies = "::1"', "server.trusted_proxies", "expected an array"),
    ("[server]\ntrusted_proxies = [1]", "server.trusted_proxies[0]", "got an integer"),
    ("[timeouts]\nrequest_s = true", "timeouts.request_s", "expected a number, got a boolean"),
    ("[limits]\ntiers = 1", "limits.tiers", "expected a table"),
    ("[limits.tiers]\nfree = 1", "limits.tiers.free", "expected a table, got an integer"),
    ("[limits.tiers.free]\nrpm = 1.5", "limits.tiers.free.rpm", "expected an integer"),
    ("providers = 1", "providers", "expected an array of tables"),
    ('[providers]\nname = "a"', "providers", "expected an array of tables, got a table"),
    ("providers = [1]", "providers[0]", "expected a table"),
    (A + f'api_keys = "{SECRET}"', "providers[0].api_keys", "expected an array"),
    (A + f'api_keys = ["{SECRET}", 1]', "providers[0].api_keys[1]", "expected a string"),
    (M + "price = 1", "models[0].price", "expected a table"),
    (M + "price = { input = true, output = 1 }", "models[0].price.input", "expected a number"),
    (A + '[[models]]\nid = "m"\ntargets = ["a/x"]', "models[0].targets[0]", "expected a table"),
    # ranges
    ("[server]\nport = 65536", "server.port", "65536 is not from 0 to 65535"),
    ("[server]\nport = -1", "server.port", "-1 is not"),
    ('[server]\naddress = ""', "server.address", "is empty"),
    ("[server]\nprocesses = 0", "server.processes", "0 is not from 1"),
    ("[limits]\nip_rpm = -1", "limits.ip_rpm", "-1 is not at least 0"),
    (f"[limits]\nip_rpm = {10**16}", "limits.ip_rpm", "is more than 1000000000000000"),
    ("[limits.tiers.free]\nrpm = 0", "limits.tiers.free.rpm", "0 is not at least 1"),
    ("[limits.tiers.gold]\nrpm = 1", "limits.tiers.gold.tpd", "is missing"),
    ("[timeouts]\nconnect_s = 0", "timeouts.connect_s", "0 is not"),
    ("[timeouts]\nidle_s = nan", "timeouts.idle_s", "nan is not"),
    ("[timeouts]\nidle_s = inf", "timeouts.idle_s", "inf is not"),
    (f"[timeouts]\nidle_s = {'9' * 400}", "timeouts.idle_s", "too large"),
    ("[retry]\nretries = 11", "retry.retries", "11 is not from 0 to 10"),
    ("[ledger]\nretention_days = 0", "ledger.retention_days", "0 is not at least 1"),
    ("[health]\npaid_probe_usd_per_day = -0.5", "health.paid_probe_usd_per_day", "-0.5 is not"),
    (M + "max_output_tokens = 0", "models[0].max_output_tokens", "0 is not"),
    (M + "idle_s = -1", "models[0].idle_s", "-1 is not"),
    (M + "price = { input = 1, output = -1 }", "models[0].price.output", "-1 is not"),
    (M + "price = { input = 1 }", "models[0].price.output", "is missing"),
    (M + "price = { output = 1 }", "models[0].price.input", "is missing"),
    (
        A + '[[models]]\nid = "m"\ntargets = [{ provider = "a", model = "x", weight = 0 }]',
        "models[0].targets[0].weight",
        "0 is not",
    ),
    # choices
    ('[server]\nregistration = "shut"', "server.registration", "'shut' is none of open, invite, closed"),
    ('[limits]\nip_scope = "some"', "limits.ip_scope", "'some' is none of all, anonymous"),
    ('[ledger]\njournal_sync = "never"', "ledger.journal_sync", "'never' is none of second, always"),
    # networks and URLs
    (
        '[server]\ntrusted_proxies = ["::1", "10.0.0.1/8"]',
        "server.trusted_proxies[1]",
        "'10.0.0.1/8'.*host bits",
    ),
    ('[limits]\nip_exempt = ["300.0.0.1"]', "limits.ip_exempt[0]", "'300.0.0.1'"),
    ('[server]\npublic_url = "llm.example.org"', "server.public_url", "begins with http://, https://"),
    (A + 'base_url = "ftp://example.org"', "providers[0].base_url", "begins with http://, https://"),
    (A + 'base_url = "https:///v1"', "providers[0].base_url", "begins with http://, https://"),
    (A + 'base_url = "https://example.org:99999"', "providers[0].base_url", "begins with http"),
    (f'[limits]\nredis_url = "http://:{SECRET}@h"', "limits.redis_url", "begins with redis://, rediss://"),
    (f'[limits]\nredis_url = "redis://:{SECRET}@h:x"', "limits.redis_url", "begins with redis://"),
    # providers and models
    ('[[providers]]\nname = "a"', "providers[0].kind", "is missing"),
    ('[[providers]]\nkind = "demo"', "providers[0].name", "is missing"),
    ('[[providers]]\nname = ""\nkind = "demo"', "providers[0].name", "is empty"),
    ('[[providers]]\nname = "a"\nkind = "opnai"', "providers[0].kind", "'opnai' .*did you mean 'openai'?"),
    (A + A, "providers[1].name", "'a' is given twice"),
    (M + M.removeprefix(A), "models[1].id", "'m' is given twice"),
    (A + '[[models]]\nid = "m"', "models[0].targets", "is missing"),
    (A + '[[models]]\nid = "m"\ntargets = []', "models[0].targets", "at least one target"),
    (A + '[[models]]\nid = "m"\ntargets = [{ provider = "a" }]', "models[0].targets[0].model", "is missing"),
    (
        A.replace('"a"', '"azure-eu"')
        + '[[models]]\nid = "m"\ntargets = [{ provider = "azure-us", model = "x" }]',
        "models[0].targets[0].provider",
        "'azure-us'; did you mean 'azure-eu'?",
    ),
    ("[server]\nprocesses = 2", "server.processes", "2 processes.*limits.redis_url"),
    # secrets
    (A + 'api_keys = [""]', "providers[0].api_keys[0]", "is empty"),
    (A + f'api_keys = ["{SECRET}", "env:GONE"]', "providers[0].api_keys[1]", "GONE is not set or empty"),
    (A + f'api_keys = ["env:{SECRET}"]', "providers[0].api_keys[0]", "variable so named is not set"),
    (A + 'api_keys = ["env:EMPTY"]', "providers[0].api_keys[0]", "EMPTY is not set or empty"),
    (
        A + 'api_keys = ["file:gone"]',
        "providers[0].api_keys[0]",
        "the file gone cannot be read: No such file",
    ),
    (A + 'api_keys = ["file:empty"]', "providers[0].api_keys[0]", "the file empty is not set or empty"),
    (A + 'api_keys = ["file:binary"]', "providers[0].api_keys[0]", "not UTF-8"),
    (A + 'api_keys = ["file:"]', "providers[0].api_keys[0]", "cannot be read"),
]


@pytest.mark.parametrize(("text", "key", "reason"), BAD, ids=[f"{n}-{row[1]}" for n, row in enumerate(BAD)])
def test_what_is_wrong_stops_the_start(
    load: Callable[..., Settings], tmp_path: Path, text: str, key: str, reason: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(SettingsError) as caught:
        load(text, {"EMPTY": "", "UNUSED": SECRET})
    assert (caught.value.source, caught.value.key) == (str(tmp_path / "own.toml"), key)
    pattern = re.escape(reason).replace(r"\.\*", ".*").removesuffix(r"\$") + (
        "$" if reason[-1] == "$" else ""
    )
    assert re.search(pattern, caught.value.reason), caught.value.reason
    assert SECRET not in str(caught.value)


def test_a_file_must_be_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b'[server]\naddress = "\xff"\n')
    with pytest.raises(SettingsError, match="is not UTF-8"):
        Settings.load(path, {}, overrides={}, kinds=KINDS, vendors_env={})


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("ROOYA_PORT", "http", "'http' is not an integer"),
        ("ROOYA_PORT", "70000", "70000 is not from 0 to 65535"),
        ("ROOYA_PORT", "-1", "-1 is not"),
        ("ROOYA_REDIS_URL", f"http://:{SECRET}@h", "begins with redis://"),
    ],
)
def test_the_environment_is_checked_too(
    load: Callable[..., Settings], variable: str, value: str, reason: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, {variable: value})
    assert (caught.value.source, caught.value.key) == ("the environment", variable)
    assert reason in caught.value.reason
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("server__port", 70000, "70000 is not from 0 to 65535"),
        ("server__port", "80", "expected an integer"),
        ("server__prot", 80, "unknown key; did you mean 'server.port'?"),
    ],
)
def test_the_command_line_is_checked_too(
    load: Callable[..., Settings], name: str, value: object, reason: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, None, **{name: value})
    assert (caught.value.source, caught.value.key) == ("the command line", name.replace("__", "."))
    assert reason in caught.value.reason


@pytest.mark.parametrize("url", ["redis://h", "rediss://u:p@h:1/2", "unix:///run/redis.sock"])
def test_several_processes_share_one_redis(load: Callable[..., Settings], url: str) -> None:
    settings = load("[server]\nprocesses = 2", {"ROOYA_REDIS_URL": url})
    assert (settings.server.processes, settings.limits.redis_url) == (2, url)


# --- what is shown ------------------------------------------------------------------------------------------


def test_no_secret_is_in_a_repr(load: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "FILE").write_text(SECRET + "-file\n")
    settings = load(FULL, {"AZURE": SECRET + "-env", "OPENAI_API_KEY": SECRET + "-vendor"})
    found = [secret for provider in settings.providers for secret in provider.api_keys]
    assert found == [SECRET + end for end in ("-env", "-file", "-literal", "-vendor")]
    assert SECRET in settings.limits.redis_url
    assert "azure-eu" in repr(settings)
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("limits", "unreachable"),
    [
        ("", ["pro", "enterprise"]),
        ("ip_rpm = 0", []),
        ("ip_rpm = 10000", []),
        ("ip_rpm = 59", ["free", "pro", "enterprise"]),
        ('ip_scope = "anonymous"', []),
        ("ip_rpm = 10000\n[limits.tiers.gold]\nrpm = 10001\ntpd = 1", ["gold"]),
    ],
)
def test_tiers_out_of_reach_are_warned_of(
    load: Callable[..., Settings], limits: str, unreachable: list[str]
) -> None:
    warnings = load("[limits]\n" + limits).warnings()
    assert [line.split("'")[1] for line in warnings] == unreachable


def test_the_options_are_what_can_be_set(load: Callable[..., Settings]) -> None:
    rows: dict[str, tuple[str, Any, str]] = {name: rest for name, *rest in Settings.options()}  # type: ignore[misc]
    settings = load()
    plain = {
        name: default for name, (_, default, _) in rows.items() if name != "limits.tiers" and "." in name
    }
    for name, default in plain.items():
        group, _, key = name.partition(".")
        assert getattr(getattr(settings, group), key) == default, name
    groups = [f for f in dataclasses.fields(settings) if f.name not in ("providers", "models")]
    fields = {f"{g.name}.{f.name}" for g in groups for f in dataclasses.fields(getattr(settings, g.name))}
    assert fields | {"providers", "models"} == set(rows)
    assert all(kind and doc for kind, _, doc in rows.values())


@pytest.mark.parametrize(("usd", "is_odd"), [(0.0000025, True), (2500, True), (0, False), (2.5, False)])
def test_a_price_of_one_token_typed_for_a_million_is_pointed_out(
    load: Callable[..., Settings], usd: float, is_odd: bool
) -> None:
    lines = load(M + f"price = {{ input = {usd:.9f}, output = 1 }}").warnings()
    assert any("price.input" in line for line in lines) == is_odd


@pytest.mark.parametrize(
    ("server", "is_warned"),
    [
        ('public_url = "https://llm.example.org"', True), ('address = "0.0.0.0"', True), ("", False),
        ('public_url = "https://llm.example.org"\nregistration = "invite"', False),
    ],
)  # fmt: skip
def test_open_doors_are_pointed_out_where_strangers_reach_them(
    load: Callable[..., Settings], server: str, is_warned: bool
) -> None:
    provider = '[[providers]]\nname = "x"\nkind = "openai_compatible"\nbase_url = "http://h/v1"\n'
    lines = load(f"[server]\n{server}\n{provider}").warnings()
    assert any("can sign up" in line for line in lines) is is_warned
