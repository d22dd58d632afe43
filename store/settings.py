"""rooya.toml + environment + command line -> frozen, validated Settings.

What is wrong stops the start: SettingsError names the file, the key, the reason and, where it is no
secret, the value. An unknown key is wrong too, since a misspelt limit would be no limit.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from store import options as table
from store.cautions import cautions
from store.errors import SettingsError
from store.groups import (
    USUAL_TIERS,
    Compat,
    Health,
    Ledger,
    Limits,
    Metrics,
    ModelEntry,
    Oidc,
    ProviderEntry,
    Retry,
    Server,
    TargetEntry,
    Tier,
    Timeouts,
)
from store.options import OPTIONS, Option

ENVIRONMENT: Final = {
    "ROOYA_ADDRESS": "server.address",
    "ROOYA_PORT": "server.port",
    "ROOYA_DATA_DIR": "server.data_dir",
    "ROOYA_REDIS_URL": "limits.redis_url",
}
USUAL_FILE: Final = Path("rooya.toml")


GROUPS: Final[Mapping[str, Any]] = {
    group.__name__.lower(): group
    for group in (Server, Limits, Timeouts, Retry, Compat, Ledger, Metrics, Health, Oidc)
}
BY_NAME: Final = {option.name: option for option in OPTIONS}
TOP: Final = (*GROUPS, *(name for name in BY_NAME if "." not in name))


@dataclass(frozen=True, slots=True)
class Settings:
    """All there is to set. Made by `load`."""

    server: Server
    limits: Limits
    timeouts: Timeouts
    retry: Retry
    compat: Compat
    ledger: Ledger
    metrics: Metrics
    health: Health
    oidc: Oidc
    providers: tuple[ProviderEntry, ...]
    models: tuple[ModelEntry, ...]

    @classmethod
    def load(
        cls,
        config: Path | None,
        environ: Mapping[str, str],
        *,
        overrides: Mapping[str, object],
        kinds: Collection[str],
        vendors_env: Mapping[str, str],
    ) -> Self:
        """The file, under the environment, under the command line. Raises SettingsError.

        config: None = ROOYA_CONFIG, else rooya.toml if present. overrides: dotted names, None = not given.
        kinds: of providers. vendors_env: environment variable -> the kind of provider it switches on.
        """
        path = _config_path(config, environ)
        reader = _Reader(str(path or "settings"), environ)
        values = reader.options(_document(path))
        values |= _from_environment(environ)
        _refuse_unknown("the command line", "", overrides, BY_NAME)
        given = {name: value for name, value in overrides.items() if value is not None}
        values |= {name: _one("the command line", BY_NAME[name], value) for name, value in given.items()}
        providers = reader.providers(values.pop("providers"), kinds, vendors_env)
        models = reader.models(values.pop("models"), providers)
        values["limits.tiers"] = reader.tiers(values["limits.tiers"])
        reader.complete_oidc(values)
        groups = {name: group(**_of_group(values, name)) for name, group in GROUPS.items()}
        settings = cls(**groups, providers=providers, models=models)
        if settings.server.processes > 1 and not settings.limits.redis_url:
            reason = f"{settings.server.processes} processes share limits by Redis: set limits.redis_url"
            raise SettingsError(reader.source, "server.processes", reason)
        return settings

    @staticmethod
    def options() -> Iterator[tuple[str, str, Any, str]]:
        """(dotted name, type, default, help) of every setting."""
        for option in OPTIONS:
            yield option.name, option.kind.name, option.default, option.doc

    def warnings(self) -> list[str]:
        """What is allowed but probably not meant, one line each."""
        return cautions(self)


class _Reader:
    """Reads one file's document. source: its name in errors."""

    def __init__(self, source: str, environ: Mapping[str, str]) -> None:
        self.source = source
        self._environ = environ

    def options(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Dotted name -> value, defaults filled in."""
        _refuse_unknown(self.source, "", document, TOP)
        given: dict[str, Any] = {}
        for name, value in document.items():
            if name in GROUPS:
                group = self._table(name, value)
                _refuse_unknown(self.source, f"{name}.", group, _of_group(BY_NAME, name))
                given |= {f"{name}.{key}": item for key, item in group.items()}
            else:
                given[name] = value
        return {
            name: _one(self.source, option, given[name]) if name in given else option.default
            for name, option in BY_NAME.items()
        }

    def row(self, where: str, given: Any, fields: Sequence[Option]) -> dict[str, Any]:
        """One table of a repeated kind; `where` is its dotted name."""
        self._table(where, given)
        known = {option.name: option for option in fields}
        _refuse_unknown(self.source, f"{where}.", given, known)
        row: dict[str, Any] = {}
        for name, option in known.items():
            if name in given:
                row[name] = _one(self.source, option, given[name], f"{where}.{name}")
            elif option.default is table.REQUIRED:
                raise SettingsError(self.source, f"{where}.{name}", "is missing")
            else:
                row[name] = option.default
        return row

    def _table(self, where: str, given: Any) -> dict[str, Any]:
        return dict(_one(self.source, Option(where, table.TABLE, {}, ""), given))

    def tiers(self, given: Mapping[str, Any]) -> dict[str, Tier]:
        own = {
            name: Tier(**self.row(f"limits.tiers.{name}", self._complete(name, tier), table.TIER))
            for name, tier in given.items()
        }
        return {**USUAL_TIERS, **own}

    @staticmethod
    def _complete(name: str, given: Any) -> Any:
        """A tier of the usual names may change one of its two numbers."""
        usual = USUAL_TIERS.get(name)
        if usual is None or not isinstance(given, dict):
            return given
        return {"rpm": usual.rpm, "tpd": usual.tpd, **given}

    def providers(
        self, given: Sequence[Any], kinds: Collection[str], vendors_env: Mapping[str, str]
    ) -> tuple[ProviderEntry, ...]:
        entries: dict[str, ProviderEntry] = {}
        for at, item in enumerate(given):
            where = f"providers[{at}]"
            row = self.row(where, item, table.PROVIDER)
            if row["kind"] not in kinds:
                reason = f"'{row['kind']}' is no kind of provider{_nearest(row['kind'], kinds)}"
                raise SettingsError(self.source, f"{where}.kind", reason)
            if row["name"] in entries:
                raise SettingsError(self.source, f"{where}.name", f"'{row['name']}' is given twice")
            keys = enumerate(row["api_keys"])
            row["api_keys"] = tuple(self._secret(f"{where}.api_keys[{n}]", text) for n, text in keys)
            row["base_url"] = row["base_url"] or None
            entries[row["name"]] = ProviderEntry(**row)
        for variable, kind in vendors_env.items():
            secret = self._environ.get(variable)
            if secret and kind not in entries:
                entries[kind] = ProviderEntry(kind, kind, None, (secret,))
        return tuple(entries.values())

    def _secret(self, key: str, text: str) -> str:
        """`env:NAME` and `file:PATH` -> what they point to; anything else is the secret itself."""
        scheme, found, rest = text.partition(":")
        if not found or scheme not in ("env", "file"):
            return text
        if scheme == "env":
            secret = self._environ.get(rest, "")  # what is no name is a secret, perhaps: it is not repeated
            what = f"the environment variable {rest if rest.isidentifier() else 'so named'}"
        else:
            what = f"the file {rest}"
            try:
                secret = Path(rest).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
                raise SettingsError(self.source, key, f"{what} cannot be read: {reason}") from None
        if not secret:
            raise SettingsError(self.source, key, f"{what} is not set or empty")
        return secret

    def complete_oidc(self, values: dict[str, Any]) -> None:
        """Its secret, where there is one to find. Raises SettingsError where there is half of it."""
        if not values["oidc.issuer"]:
            return
        for name in ("oidc.client_id", "oidc.client_secret"):
            if not values[name]:
                raise SettingsError(self.source, name, "is missing: oidc.issuer is set")
        values["oidc.client_secret"] = self._secret("oidc.client_secret", values["oidc.client_secret"])

    def models(self, given: Sequence[Any], providers: Sequence[ProviderEntry]) -> tuple[ModelEntry, ...]:
        names = [provider.name for provider in providers]
        entries: dict[str, ModelEntry] = {}
        for at, item in enumerate(given):
            where = f"models[{at}]"
            row = self.row(where, item, table.MODEL)
            if row["id"] in entries:
                raise SettingsError(self.source, f"{where}.id", f"'{row['id']}' is given twice")
            if not row["targets"]:
                raise SettingsError(self.source, f"{where}.targets", "needs at least one target")
            targets = enumerate(row["targets"])
            row["targets"] = tuple(self._target(f"{where}.targets[{n}]", t, names) for n, t in targets)
            if row["price"] is not None:
                price = self.row(f"{where}.price", row["price"], table.PRICE)
                row["price"] = {name: usd for name, usd in price.items() if usd is not None}
            entries[row["id"]] = ModelEntry(**row)
        return tuple(entries.values())

    def _target(self, where: str, given: Any, names: Sequence[str]) -> TargetEntry:
        target = TargetEntry(**self.row(where, given, table.TARGET))
        if target.provider not in names:
            reason = f"no provider is named '{target.provider}'{_nearest(target.provider, names)}"
            raise SettingsError(self.source, f"{where}.provider", reason)
        return target


def _config_path(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    if config is not None:
        return config
    if environ.get("ROOYA_CONFIG"):
        return Path(environ["ROOYA_CONFIG"])
    return USUAL_FILE if USUAL_FILE.exists() else None


def _document(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(str(path), "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(str(path), "", "is not UTF-8") from None
    except ValueError as error:  # TOMLDecodeError, or an integer too long to read
        raise SettingsError(str(path), "", f"is not TOML: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, name in ENVIRONMENT.items():
        text = environ.get(variable)
        if text:
            option = BY_NAME[name]
            try:
                value = int(text) if option.kind.name == "integer" else text
            except ValueError:
                raise SettingsError("the environment", variable, f"'{text}' is not an integer") from None
            values[name] = _one("the environment", option, value, variable)
    return values


def _one(source: str, option: Option, value: Any, key: str = "") -> Any:
    """The value as the program has it; an array's items are named one by one when one is wrong."""
    key = key or option.name
    pieces = {key: value}
    if option.kind in (table.SECRETS, table.NETWORKS) and isinstance(value, list):
        pieces = {f"{key}[{n}]": [item] for n, item in enumerate(value)} | {key: value}
    for where, piece in pieces.items():
        try:
            found = option.kind.read(piece)
        except (ValueError, OverflowError) as error:
            raise SettingsError(source, where, str(error)) from None
    return found


def _refuse_unknown(source: str, prefix: str, given: Iterable[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise SettingsError(source, prefix + name, f"unknown key{_nearest(name, known)}")


def _of_group(values: Mapping[str, Any], group: str) -> dict[str, Any]:
    prefix = f"{group}."
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _nearest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, [str(w) for w in words], 1, 0.5)
    return f"; did you mean '{near[0]}'?" if near else ""
