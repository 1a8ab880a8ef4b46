"""pytest-celery's fixtures over processes, and the factory for tests that need a setup of their own.

``celery_setup`` is shared: two workers serve all tests of the same broker and pool, one test at a time. A test that
kills, stops or configures anything takes ``make_setup`` instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from pytest_celery import CeleryBackendCluster, CeleryBrokerCluster, CeleryWorkerCluster

from harness.servers import Servers
from harness.setup import Setup
from harness.tasks import CONFIGURED

FAILED = pytest.StashKey[bool]()
BROKERS = ("redis", "rabbitmq")
POOLS = ("prefork", "threads", "solo", "gevent")
# A solo worker runs one task at a time; the others get enough to exceed any limit of the tests.
CONCURRENCY = {"solo": 1, "prefork": 5, "threads": 5, "gevent": 5}


def _shared(brokers: tuple[str, ...], pools: tuple[str, ...]) -> pytest.MarkDecorator:
    combinations = [
        pytest.param((broker, pool), id=f"{broker}-{pool}", marks=[] if pool == "prefork" else [pytest.mark.slow])
        for broker, pool in itertools.product(brokers, pools)
    ]
    return pytest.mark.parametrize("shared_setup", combinations, indirect=True, scope="session")


on_both_brokers = _shared(BROKERS, ("prefork",))
on_every_pool = _shared(("redis",), POOLS)
everywhere = _shared(BROKERS, POOLS)
for_each_broker = pytest.mark.parametrize("broker", BROKERS)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.teardown()


@pytest.fixture(scope="session", params=[pytest.param(("redis", "prefork"), id="redis-prefork")])
def shared_setup(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setup]:
    """Two workers on a broker, for every test with this parameter; Redis and prefork for tests without."""
    broker, pool = request.param
    directory = tmp_path_factory.mktemp(f"{broker}-{pool}-")
    conf = {"concurrency_tasks": CONFIGURED}
    setup = Setup(servers.broker(broker), servers.redis_backend(), directory, conf, pool)
    try:
        setup.start_workers(2, concurrency=CONCURRENCY[pool])
        yield setup
    finally:
        setup.teardown()


@pytest.fixture
def celery_setup(shared_setup: Setup, request: pytest.FixtureRequest) -> Iterator[Setup]:
    """The shared setup, clean for one test."""
    if not shared_setup.healthy():
        shared_setup.stop_workers()
        shared_setup.start_workers(2, concurrency=CONCURRENCY[shared_setup.pool])
    shared_setup.begin()
    yield shared_setup
    if request.node.stash.get(FAILED, True):
        shared_setup.forget()  # the next test gets new workers and an empty Redis
    else:
        shared_setup.settle()


@pytest.fixture
def make_setup(servers: Servers, tmp_path: Path) -> Iterator[Callable[..., Setup]]:
    """Make setups of one's own: ``make_setup(broker="rabbitmq", workers=2, pool="threads", <setting>=...)``."""
    made: list[Setup] = []

    def make(
        *words: str,
        broker: Any = "redis",
        workers: int = 1,
        pool: str = "prefork",
        concurrency: int = 0,
        redis_keeps_data: bool = False,
        **conf: Any,
    ) -> Setup:
        node = servers.broker(broker) if isinstance(broker, str) else broker
        setup = Setup(node, servers.redis_backend(redis_keeps_data), tmp_path / f"setup{len(made)}", conf, pool)
        made.append(setup)
        if workers:
            setup.start_workers(workers, *words, concurrency=concurrency or CONCURRENCY[pool])
        return setup

    yield make
    for setup in made:
        setup.teardown()


# The names under which pytest-celery's own tests know the parts.


@pytest.fixture
def celery_broker(celery_setup: Setup) -> Any:
    return celery_setup.broker


@pytest.fixture
def celery_backend(celery_setup: Setup) -> Any:
    return celery_setup.backend


@pytest.fixture
def celery_worker(celery_setup: Setup) -> Any:
    return celery_setup.worker


@pytest.fixture
def celery_broker_cluster(celery_setup: Setup) -> CeleryBrokerCluster | None:
    return celery_setup.broker_cluster


@pytest.fixture
def celery_backend_cluster(celery_setup: Setup) -> CeleryBackendCluster | None:
    return celery_setup.backend_cluster


@pytest.fixture
def celery_worker_cluster(celery_setup: Setup) -> CeleryWorkerCluster | None:
    return celery_setup.worker_cluster
