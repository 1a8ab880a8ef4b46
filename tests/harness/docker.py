"""pytest-celery's own containers, for machines that have Docker (CONCURRENCY_TEST_DOCKER=1)."""

from __future__ import annotations

from typing import Any

import docker
from pytest_celery.vendors.rabbitmq.container import RabbitMQContainer
from pytest_celery.vendors.redis.container import RedisContainer

from harness.waiting import wait


class _Disposable:
    """Started here rather than by a fixture of pytest_docker_tools, so it is ours to remove."""

    _container: Any

    def teardown(self) -> None:
        self._container.remove(force=True)


class DockerRedis(_Disposable, RedisContainer):
    pass


class DockerRabbitMQ(_Disposable, RabbitMQContainer):
    pass


def _start(cls: Any, command: list[str] | None) -> Any:
    raw = docker.from_env().containers.run(
        cls.image(), command, detach=True, environment=cls.initial_env(), ports=cls.ports()
    )
    container = cls(raw)
    try:
        wait(container.ready, 120, f"{cls.__name__} is ready")
    except BaseException:
        container.teardown()
        raise
    return container


def start_redis() -> DockerRedis:
    return _start(DockerRedis, RedisContainer.command())


def start_rabbitmq() -> DockerRabbitMQ:
    return _start(DockerRabbitMQ, None)
