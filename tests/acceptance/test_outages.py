"""Brokers and Redis servers that go away and come back."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from harness.fixtures import for_each_broker
from harness.servers import Servers
from harness.setup import Setup
from harness.waiting import stays, wait

pytestmark = [pytest.mark.faults, pytest.mark.slow]

RETRY = {"broker_connection_retry": True, "broker_connection_max_retries": None}


def judge(setup: Setup, results: list[Any], id: str, limit: int) -> None:
    setup.wait_ended(results, timeout=60)
    assert setup.sweep.peak(id) <= limit
    assert not setup.sweep.twice()


@for_each_broker
def test_work_goes_on_after_the_broker_restarts(
    make_setup: Callable[..., Setup], servers: Servers, broker: str
) -> None:
    node = servers.redis_broker(persistent=True) if broker == "redis" else servers.rabbitmq_broker(private=True)
    setup = make_setup(broker=node, workers=2, **RETRY)
    gate = setup.gate()
    results = setup.send_many("two", 8, gate=gate)
    setup.wait_running(2, "two")
    # Each worker's loop has gone round since: the acknowledgements of the two are with the broker.
    assert len(setup.app.control.ping(timeout=5, limit=2)) == 2

    node.container.restart()
    for worker in setup.workers:
        if worker.container.status != "running":  # losing a Redis broker may end a worker: Celery's own
            worker.container.start()
    fence = setup.send("ordinary")
    setup.wait_ended([fence], timeout=60)
    assert len(setup.running("two")) == 2, "those that ran go on, and no other starts"
    gate.open()

    judge(setup, results, "two", 2)
    setup.assert_slots_are_free("two", 2, timeout=30)


@pytest.mark.parametrize("keeps", [True, False], ids=["with-its-data", "empty"])
def test_work_goes_on_after_redis_restarts_and_the_limit_holds(make_setup: Callable[..., Setup], keeps: bool) -> None:
    setup = make_setup(broker="rabbitmq", workers=2, redis_keeps_data=keeps)
    gate = setup.gate()
    running = setup.send_many("two", 2, gate=gate)
    setup.wait_running(2, "two")
    waiting = setup.send_many("two", 10, seconds=0.02)

    setup.backend.container.restart()

    stays(lambda: len(setup.running("two")) == 2, 3, "the two that ran still hold their slots")
    gate.open()
    judge(setup, running + waiting, "two", 2)
    setup.assert_slots_are_free("two", 2, timeout=30)


def test_flushall_does_not_break_the_limit(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(broker="rabbitmq", workers=2)
    gate = setup.gate()
    running = setup.send_many("two", 2, gate=gate)
    setup.wait_running(2, "two")

    setup.backend.container.client.flushall()
    waiting = setup.send_many("two", 10, seconds=0.02)

    stays(lambda: len(setup.running("two")) == 2, 3, "the two that ran still hold their slots")
    gate.open()
    judge(setup, running + waiting, "two", 2)


@for_each_broker
def test_without_redis_gated_tasks_wait_ordinary_ones_run_and_the_log_says_so(
    make_setup: Callable[..., Setup], servers: Servers, broker: str
) -> None:
    semaphore = servers.redis()
    try:
        setup = make_setup(broker=broker, workers=2, concurrency_url=semaphore.celeryconfig["host_url"])
        gate = setup.gate()
        running = setup.send("one", tag="running", gate=gate)
        setup.wait_running(1, "one")
        before = {node.name(): len(node.logs()) for node in setup.workers}

        semaphore.stop()

        waiting = setup.send_many("one", 5)  # publishing goes on
        setup.wait_ended(setup.send_many("ordinary", 5), timeout=10)
        gate.open()
        setup.wait_ended([running])
        stays(lambda: len(setup.sweep.runs("one")) == 1, 2, "no gated task starts without Redis")
        wait(
            lambda: any("ERROR" in node.logs()[before[node.name()] :] for node in setup.workers),
            what=lambda: f"an error in the log; {setup.state()}",
        )

        semaphore.start()
        semaphore.ready()

        judge(setup, [running, *waiting], "one", 1)
        assert setup.sweep.tags("one") == ["running", 0, 1, 2, 3, 4]
    finally:
        semaphore.teardown()
