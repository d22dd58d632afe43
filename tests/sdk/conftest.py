"""One fake vendor and one gateway for the whole directory, and clients that speak to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.fakes.vendor import Vendor
from tests.gateway import Gateway, toml

RECORDED = Path(__file__).resolve().parent.parent / "recorded" / "openai"


def recorded(case: str) -> bytes:
    """A recorded answer's bytes."""
    (file,) = (RECORDED / case).iterdir()
    return file.read_bytes()


@pytest.fixture(scope="session")
def shared_vendor() -> Iterator[Vendor]:
    with Vendor() as vendor:
        yield vendor


@pytest.fixture(scope="session")
def shared_gateway(shared_vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    more = "[limits]\nip_rpm = 0\n[timeouts]\nrequest_s = 1.5\nstream_s = 20\n"
    aliases = "".join(
        f'[[models]]\nid = "{name}"\ntargets = [{{ provider = "fake", model = "{model}" }}]\n'
        for name, model in (("alias", "real-name"), ("org/model-with/slashes", "m"))
    )
    config = toml(shared_vendor.base_url, f"{more}[retry]\nretries = 1\n") + aliases
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as gateway:
        yield gateway


@pytest.fixture
def vendor(shared_vendor: Vendor) -> Vendor:
    shared_vendor.clear()
    return shared_vendor


@pytest.fixture
def gateway(shared_gateway: Gateway, vendor: Vendor) -> Gateway:
    return shared_gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client
