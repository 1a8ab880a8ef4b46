"""A waiting task is a message in the broker's queue and nowhere else, and it is in nobody's way."""

from __future__ import annotations

import time

import pytest

from harness.fixtures import CONCURRENCY, everywhere, on_both_brokers
from harness.setup import Setup
from harness.waiting import wait


@pytest.mark.smoke
@on_both_brokers
def test_waiting_tasks_are_in_the_brokers_queue_and_in_no_worker(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    results = celery_setup.send_many("one", 10, gate=gate)
    celery_setup.wait_running(1, "one")

    wait(lambda: celery_setup.waiting("one") == 9, what=lambda: f"9 wait, not {celery_setup.waiting('one')}")

    inspect = celery_setup.app.control.inspect(timeout=2)
    assert celery_setup.waiting("celery") == 0
    assert list((inspect.reserved() or {}).values()) == [[], []]
    assert list((inspect.scheduled() or {}).values()) == [[], []]
    assert sum(len(tasks) for tasks in (inspect.active() or {}).values()) == 1
    gate.open()
    celery_setup.wait_ended(results)


@on_both_brokers
def test_waiting_tasks_hold_no_pool_process(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    gated = celery_setup.send_many("one", 30, gate=gate)
    celery_setup.wait_running(1, "one")

    # More than the workers prefetch, so that both have enough.
    ordinary = [celery_setup.send("ordinary", gate=gate) for _ in range(50)]

    wait(
        lambda: len(celery_setup.sweep.runs(name="ordinary")) == 2 * CONCURRENCY["prefork"] - 1,
        what=lambda: f"all other processes are busy; {celery_setup.state()}",
    )
    gate.open()
    celery_setup.wait_ended(gated + ordinary)


@pytest.mark.smoke
@everywhere
def test_an_ordinary_task_beside_a_full_limit_runs_at_once(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    gated = celery_setup.send_many("one", 40, gate=gate)
    celery_setup.wait_running(1, "one")

    if celery_setup.pool == "solo":
        # One of the two workers is busy, and what it has prefetched waits with it: as ever with this pool.
        ordinary = celery_setup.send_many("ordinary", 8)
        wait(lambda: celery_setup.sweep.runs(name="ordinary"), 5, "one of them ran")
    else:
        ordinary = celery_setup.send_many("ordinary", 5)
        celery_setup.wait_ended(ordinary, timeout=5)

    gate.open()
    celery_setup.wait_ended(gated + ordinary)


@on_both_brokers
def test_purging_the_queue_removes_what_waits_and_later_tasks_run(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    first = celery_setup.send("one", tag="first", gate=gate)
    celery_setup.wait_running(1, "one")
    celery_setup.send_many("one", 5)
    wait(lambda: celery_setup.waiting("one") == 5, what="5 wait")

    purge = celery_setup.start_celery("purge", "purge", "--force", "--queues", "one")
    assert purge.wait_exit() == 0
    assert "Purged 5 messages" in purge.logs()
    later = celery_setup.send("one", tag="later")
    gate.open()

    celery_setup.wait_ended([first, later])
    assert celery_setup.sweep.tags("one") == ["first", "later"]
    celery_setup.assert_slots_are_free("one", 1)


@on_both_brokers
def test_tasks_published_after_a_purge_of_an_idle_queue_run_at_once(celery_setup: Setup) -> None:
    celery_setup.settle()
    sent = time.monotonic()
    result = celery_setup.send("one")
    celery_setup.wait_ended([result])
    assert time.monotonic() - sent < 2


def test_inspect_active_queues_shows_the_dedicated_queues(celery_setup: Setup) -> None:
    queues = celery_setup.app.control.inspect(timeout=2).active_queues()

    assert len(queues) == 2
    for shown in queues.values():
        names = [queue["name"] for queue in shown]
        assert {"celery", "one", "two", "eight", "gpu_queue", "nameless"} <= set(names)
        assert len(names) == len(set(names))


def test_the_inspect_command_shows_the_dedicated_queues(celery_setup: Setup) -> None:
    command = celery_setup.start_celery("inspect", "inspect", "--timeout=2", "active_queues")

    assert command.wait_exit() == 0
    assert "gpu_queue" in command.logs()
