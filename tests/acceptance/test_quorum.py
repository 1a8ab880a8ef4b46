"""Quorum queues count deliveries, and drop a message that was put back too often: so nothing is put back."""

from __future__ import annotations

from typing import Any, Callable

from harness.setup import Setup
from harness.waiting import wait

#: What was delivered and comes back is dropped at once.
ONCE = {"x-queue-type": "quorum", "x-delivery-limit": 0}
TASKS = 150


def test_a_delivery_limit_costs_no_task(make_setup: Callable[..., Setup]) -> None:
    """Two ids with short tasks take turns, so that slots are given back all the time; and a worker leaves."""
    queues: dict[str, Any] = {"celery": {}, "one": ONCE, "other": ONCE}
    setup = make_setup(broker="rabbitmq", workers=2, task_queues=queues)
    results = [setup.send(name, tag=tag) for tag in range(TASKS) for name in ("one", "other")]
    wait(lambda: len(setup.sweep.ended("one")) > TASKS // 4, 60, setup.state)

    setup.worker.warm_shutdown()

    setup.wait_ended(results, timeout=60)
    for id in ("one", "other"):
        assert setup.sweep.peak(id) == 1
        assert setup.sweep.tags(id) == list(range(TASKS)), "none was put back, and so none lost its place"
    assert not setup.sweep.twice()
    broker = setup.broker
    if hasattr(broker, "server"):  # a container of pytest-celery has no management plugin
        declared = broker.server.manage("GET", f"queues/{broker.vhost}/one")["arguments"]
        assert {name: declared.get(name) for name in ONCE} == ONCE
