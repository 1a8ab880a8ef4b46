"""Tasks of one id start in the order of the broker's queue."""

from __future__ import annotations

from typing import Callable

import pytest

from harness.fixtures import everywhere, for_each_broker
from harness.setup import Setup
from harness.waiting import wait


@pytest.mark.smoke
@everywhere
def test_at_limit_one_tasks_start_exactly_as_published(celery_setup: Setup) -> None:
    results = celery_setup.send_many("one", 50)

    celery_setup.wait_ended(results)

    assert celery_setup.sweep.tags("one") == list(range(50))
    assert celery_setup.sweep.peak("one") == 1


@for_each_broker
def test_priorities_go_first_where_the_queue_has_priorities(make_setup: Callable[..., Setup], broker: str) -> None:
    """RabbitMQ's highest number goes first, and Celery's Redis transport has it the other way round."""
    queues = {"celery": {}, "ranked": {"x-max-priority": 10}} if broker == "rabbitmq" else None
    setup = make_setup(broker=broker, workers=2, **({"task_queues": queues} if queues else {}))
    gate = setup.gate()
    first = setup.send("ranked", tag="first", gate=gate)
    setup.wait_running(1, "ranked")
    priorities = [3, 9, 0, 6, 9]
    results = [
        setup.send("ranked", tag=(number, priority), options={"priority": priority})
        for number, priority in enumerate(priorities)
    ]
    wait(lambda: setup.waiting("ranked") == len(priorities), what="all wait in the broker")

    gate.open()

    setup.wait_ended([first, *results])
    started = [priority for _, priority in setup.sweep.tags("ranked")[1:] if isinstance(priority, int)]
    assert started == sorted(priorities, reverse=broker == "rabbitmq")
    equal = [number for number, priority in setup.sweep.tags("ranked")[1:] if priority == 9]
    assert equal == sorted(equal)


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-max-priority": 10},
        {"x-queue-type": "quorum"},
        {"x-message-ttl": 600_000, "x-max-length": 1000, "x-overflow": "reject-publish", "x-queue-mode": "lazy"},
    ],
    ids=["priority", "quorum", "others"],
)
def test_a_queue_that_the_user_declares_keeps_its_arguments(
    make_setup: Callable[..., Setup], arguments: dict[str, object]
) -> None:
    setup = make_setup(broker="rabbitmq", workers=2, task_queues={"celery": {}, "one": arguments})
    results = setup.send_many("one", 20, seconds=0.01)

    setup.wait_ended(results)

    assert setup.sweep.tags("one") == list(range(20))
    assert setup.sweep.peak("one") == 1
    broker = setup.broker
    if hasattr(broker, "server"):  # a container of pytest-celery has no management plugin
        declared = broker.server.manage("GET", f"queues/{broker.vhost}/one")["arguments"]
        assert {name: declared.get(name) for name in arguments} == arguments
