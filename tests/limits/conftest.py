"""One Redis for all tests of limits that leave it in order; a test that breaks one starts its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.limits.redis_servers import RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server
