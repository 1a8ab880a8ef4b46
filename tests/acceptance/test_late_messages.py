"""RabbitMQ may show a message later than its announcement has come: it is found all the same, and soon."""

from __future__ import annotations

import uuid
from typing import Any, Callable

import pytest
from kombu import Queue

from celery_concurrency_id.policy import policy_of
from harness.setup import Setup
from harness.waiting import stays, wait

#: So many that the safety poll takes a minute for one round: it looks up eight queues in some two seconds.
IDS = 240
#: One in every third of a round or so: whatever the safety poll begins with, it cannot find them all within the test.
CHOSEN = [f"many.{number:03}" for number in range(0, IDS, 60)]


def announce(setup: Setup, name: str) -> str:
    """Tell the semaphore of a task that is not there yet."""
    task_id = str(uuid.uuid4())
    policy_of(setup.app).announcer.announce(name, task_id, 0)
    return task_id


def publish(plain: Any, name: str, task_id: str) -> Any:
    """Publish a task to its queue without a word to the semaphore."""
    return plain.send_task(name, kwargs={"tag": name}, task_id=task_id, queue=Queue(name))


def settled(setup: Setup) -> None:
    """Wait until a worker with many ids has work behind it."""
    setup.wait_ended([setup.send(CHOSEN[0])])


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_message_that_comes_after_its_announcement_is_found_long_before_the_safety_poll(
    make_setup: Callable[..., Setup], pool: str
) -> None:
    setup = make_setup(broker="rabbitmq", pool=pool, many=IDS)
    settled(setup)
    plain = setup.plain_producer()
    setup.begin()
    late = {name: announce(setup, name) for name in CHOSEN}
    stays(lambda: not setup.running(), 1.5, "there is nothing to run yet")

    results = [publish(plain, name, task_id) for name, task_id in late.items()]

    setup.wait_ended(results, timeout=15)
    assert not setup.sweep.twice()
    plain.close()


def test_an_announcement_without_a_message_keeps_nobody_from_the_slots(make_setup: Callable[..., Setup]) -> None:
    """Ghosts of many ids at once, on a worker that can run one task at a time."""
    setup = make_setup(broker="rabbitmq", pool="solo", many=IDS)
    settled(setup)
    setup.begin()
    for number in range(0, IDS, 2):
        announce(setup, f"many.{number:03}")

    results = [setup.send(f"many.{number:03}", tag=number) for number in range(0, IDS, 3)]

    setup.wait_ended(results, timeout=60)
    assert not setup.sweep.twice()
    setup.assert_slots_are_free(CHOSEN[1], 1)
    wait(lambda: not setup.running(), what="nothing runs")
