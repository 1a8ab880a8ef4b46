"""Tasks that someone takes back, before and while they run."""

from __future__ import annotations

from typing import Callable

import pytest

from harness.fixtures import on_both_brokers
from harness.setup import Setup
from harness.waiting import wait


@on_both_brokers
def test_a_task_revoked_while_it_waits_is_not_run_and_leaves_no_slot_taken(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    first = celery_setup.send("one", tag="first", gate=gate)
    celery_setup.wait_running(1, "one")
    victim = celery_setup.send("one", tag="victim")
    last = celery_setup.send("one", tag="last")

    replies = celery_setup.app.control.revoke(victim.id, reply=True, timeout=5, limit=2)
    assert len(replies) == 2
    gate.open()

    celery_setup.wait_ended([first, last])
    assert celery_setup.sweep.tags("one") == ["first", "last"]
    assert victim.state == "REVOKED"
    celery_setup.assert_slots_are_free("one", 1)


@on_both_brokers
@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_a_task_terminated_while_it_runs_makes_room_for_the_next_only_when_it_is_dead(
    celery_setup: Setup, signal: str
) -> None:
    never = celery_setup.gate()
    victim = celery_setup.send("one", tag="victim", gate=never)
    celery_setup.wait_running(1, "one")
    others = celery_setup.send_many("one", 3)

    victim.revoke(terminate=True, signal=signal)

    celery_setup.wait_ended(others)
    assert celery_setup.sweep.tags("one") == ["victim", 0, 1, 2]
    assert celery_setup.sweep.peak("one", killed={victim.id}) == 1
    wait(lambda: victim.state == "REVOKED", what=lambda: f"state {victim.state}")
    celery_setup.assert_slots_are_free("one", 1)


def test_a_gevent_task_that_is_revoked_while_it_runs_keeps_its_slot_until_it_ends(
    make_setup: Callable[..., Setup],
) -> None:
    """Without terminate a running task goes on: Celery's rule."""
    setup = make_setup(pool="gevent")
    gate = setup.gate()
    victim = setup.send("one", tag="victim", gate=gate)
    setup.wait_running(1, "one")
    last = setup.send("one", tag="last")

    setup.app.control.revoke(victim.id, reply=True, timeout=2)
    assert setup.sweep.tags("one") == ["victim"]
    gate.open()

    setup.wait_ended([victim, last])
    assert setup.sweep.peak("one") == 1
