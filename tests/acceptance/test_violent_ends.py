"""Time limits and pool processes that die: the slot comes back, and not before the process is gone."""

from __future__ import annotations

import os
import signal

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError

from harness.fixtures import on_both_brokers
from harness.setup import Setup


@on_both_brokers
def test_a_soft_time_limit_ends_the_task_and_gives_its_slot_back(celery_setup: Setup) -> None:
    never = celery_setup.gate()
    slow = celery_setup.send("one", tag="slow", gate=never, options={"soft_time_limit": 1})
    celery_setup.wait_running(1, "one")
    others = celery_setup.send_many("one", 2)

    with pytest.raises(SoftTimeLimitExceeded):
        slow.get(timeout=20)

    celery_setup.wait_ended(others)
    assert celery_setup.sweep.peak("one") == 1
    assert celery_setup.sweep.runs("one")[0].outcome == "SoftTimeLimitExceeded"
    celery_setup.assert_slots_are_free("one", 1)


@on_both_brokers
def test_a_hard_time_limit_kills_the_task_and_gives_its_slot_back(celery_setup: Setup) -> None:
    never = celery_setup.gate()
    slow = celery_setup.send("one", tag="slow", gate=never, options={"time_limit": 1})
    celery_setup.wait_running(1, "one")
    others = celery_setup.send_many("one", 2)

    with pytest.raises(TimeLimitExceeded):
        slow.get(timeout=20)

    celery_setup.wait_ended(others)
    assert celery_setup.sweep.peak("one", killed={slow.id}) == 1
    celery_setup.assert_slots_are_free("one", 1)


@on_both_brokers
@pytest.mark.parametrize("death", ["exit", "kill"])
def test_a_pool_process_that_dies_gives_its_slot_back(celery_setup: Setup, death: str) -> None:
    dying = celery_setup.send("one", tag="dying", fail=death)

    with pytest.raises(WorkerLostError):
        dying.get(timeout=30)

    celery_setup.wait_ended(celery_setup.send_many("one", 3))
    assert celery_setup.sweep.peak("one", killed={dying.id}) == 1
    celery_setup.assert_slots_are_free("one", 1)


@on_both_brokers
def test_a_pool_process_killed_from_outside_gives_its_slot_back(celery_setup: Setup) -> None:
    never = celery_setup.gate()
    victims = celery_setup.send_many("two", 2, gate=never)
    running = celery_setup.wait_running(2, "two")
    others = celery_setup.send_many("two", 3)

    os.kill(running[0].pid, signal.SIGKILL)

    celery_setup.wait_ended(others, timeout=40)
    assert celery_setup.sweep.peak("two", killed={running[0].task}) == 2
    never.open()
    celery_setup.wait_ended([victim for victim in victims if victim.id != running[0].task])
    celery_setup.assert_slots_are_free("two", 2)
