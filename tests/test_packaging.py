"""What is installed is what setup.cfg asks for, exactly and hash by hash, from nowhere in particular."""

from __future__ import annotations

import configparser
import importlib
import importlib.metadata
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = ("requirements.lock", "requirements-dev.lock")
ROOMS: Final = ("handlers", "providers", "limits", "store")


def setup_cfg() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup


def declared(*extras: str) -> set[str]:
    """The packages that setup.cfg asks for, with those of the extras."""
    setup = setup_cfg()
    texts = [setup["options"]["install_requires"]]
    texts += [setup["options.extras_require"][extra] for extra in extras]
    return {re.split(r"[\[ <>=!~]", line)[0] for text in texts for line in text.split("\n") if line}


def pins(lock: str) -> dict[str, tuple[str, str, int]]:
    """package -> (version, marker, number of hashes)"""
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.findall(
        r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)(?: ; ([^\\\n]+?))? \\\n((?:    --hash=.*\n)+)", text, re.M
    )
    return {
        name: (version, marker, hashes.count("--hash=sha256:")) for name, version, marker, hashes in entries
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_of_a_lock_is_an_exact_version_with_hashes(lock: str) -> None:
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if not line.startswith(("#", "    --hash=sha256:"))]
    assert len(entries) == len(pins(lock)) > 0
    assert not [
        line for line in lines if "://" in line or line.lstrip().startswith(("--index", "--extra", "-f"))
    ]


def test_the_locks_hold_what_setup_cfg_asks_for() -> None:
    assert declared() <= set(pins("requirements.lock"))
    assert declared("test", "dev") <= set(pins("requirements-dev.lock"))


def test_tests_run_on_the_versions_that_serve() -> None:
    """Their markers may differ: what a test needs everywhere may be needed on some systems only to serve."""
    serving, testing = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: testing[name][0] for name in serving} == {name: pin[0] for name, pin in serving.items()}


def test_the_lock_serves_early_releases_of_python_3_11() -> None:
    """redis needs async-timeout before 3.11.3, and Debian 12 has 3.11.2."""
    assert pins("requirements.lock")["async-timeout"][1] == "python_full_version < '3.11.3'"


def test_what_is_installed_is_what_the_lock_names() -> None:
    wanted = {name: version for name, (version, marker, _) in pins("requirements.lock").items() if not marker}
    assert {name: importlib.metadata.version(name) for name in wanted} == wanted


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_ours_and_not_a_package_of_the_same_name(room: str) -> None:
    assert importlib.import_module(room).__file__ == str(ROOT / room / "__init__.py")


def test_nothing_can_be_published_by_accident() -> None:
    setup = setup_cfg()
    assert "Private :: Do Not Upload" in setup["metadata"]["classifiers"]
    assert setup["options"]["packages"] == ""


def test_the_changelog_has_the_version() -> None:
    version = setup_cfg()["metadata"]["version"]
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert headings[0] in ("Unreleased", version)
    assert version in headings
