"""A task gives its slot back while it waits for something else, and takes it again in turn."""

from __future__ import annotations

import redis

from celery_concurrency_id.policy import policy_of
from harness.fixtures import _shared
from harness.setup import Setup
from harness.waiting import wait

PREFIX = "concurrency:{celery}:"
in_processes_and_threads = _shared(("redis", "rabbitmq"), ("prefork", "threads"))


def semaphore_of(setup: Setup) -> redis.Redis:
    """Return a client of the Redis that holds the slots: to know when a test may go on, never to judge."""
    return redis.Redis.from_url(policy_of(setup.app).settings.url, socket_timeout=5)


def wait_for_returners(setup: Setup, id: str, count: int = 1) -> None:
    """Wait until so many tasks wait to have their slots again."""
    with semaphore_of(setup) as client:
        wait(lambda: client.zcard(f"{PREFIX}back:{id}") == count, what=setup.state)


@in_processes_and_threads
def test_a_slot_that_is_given_back_is_used_by_others_and_taken_again_in_turn(celery_setup: Setup) -> None:
    away, gate = celery_setup.gate(), celery_setup.gate()
    yields = celery_setup.send("yields", tag="yields", away=away)
    celery_setup.wait_running(1, "one-away")

    others = [celery_setup.send("one", tag="first", gate=gate), celery_setup.send("one", tag="earlier")]
    celery_setup.wait_running(1, "one")  # while the other is not at its end
    away.open()
    wait_for_returners(celery_setup, "one")
    others.append(celery_setup.send("one", tag="later"))
    gate.open()
    celery_setup.wait_ended(others)

    first, then = yields.get(timeout=30)
    assert celery_setup.sweep.tags("one") == ["yields", "first", "earlier", "yields", "later"]
    assert celery_setup.sweep.peak("one") == 1
    assert then > first, "its fencing token is newer than those of the tasks that ran meanwhile"
    celery_setup.assert_slots_are_free("one", 1)
