"""A Redis of the session's own, empty at the start of every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from harness.servers import Servers


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> Iterator[str]:
    server = servers.redis()
    yield str(server.celeryconfig["host_url"])
    server.teardown()


@pytest.fixture
def admin(redis_url: str) -> Iterator[redis.Redis]:
    """A client for looking, and for breaking things."""
    with redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=5) as client:
        client.flushall()
        client.script_flush()
        yield client
