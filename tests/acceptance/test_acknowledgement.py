"""Early and late acknowledgement are Celery's own."""

from __future__ import annotations

from typing import Callable

import pytest

from harness.fixtures import everywhere, for_each_broker
from harness.setup import Setup
from harness.waiting import wait


@everywhere
def test_tasks_that_acknowledge_late_keep_to_limit_and_order(celery_setup: Setup) -> None:
    results = celery_setup.send_many("late", 15, seconds=0.01)

    celery_setup.wait_ended(results)

    assert celery_setup.sweep.peak("late") == 1
    assert celery_setup.sweep.tags("late") == list(range(15))
    assert not celery_setup.sweep.twice()
    wait(lambda: celery_setup.waiting("late") == 0, what="all are acknowledged")


@pytest.mark.faults
def test_a_task_that_acknowledges_late_runs_again_when_its_worker_is_killed(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(broker="rabbitmq", workers=2)
    gate = setup.gate()
    victim, other = setup.send("late", tag="victim", gate=gate), setup.send("late", tag="other")
    (run,) = setup.wait_running(1, "late")

    killed = next(node for node in setup.workers if run.pid in node.children())
    killed.kill("SIGKILL")
    setup.workers.remove(killed)

    wait(lambda: len(setup.sweep.runs("late")) == 2, 30, lambda: f"redelivered; {setup.state()}")
    gate.open()
    setup.wait_ended([victim, other])
    assert setup.sweep.peak("late", killed={victim.id}) == 1
    assert victim.get(timeout=10) == "victim"


@pytest.mark.faults
@for_each_broker
def test_a_task_that_acknowledges_early_is_gone_with_its_worker_and_its_slot_comes_back(
    make_setup: Callable[..., Setup], broker: str
) -> None:
    setup = make_setup(broker=broker, workers=2)
    never = setup.gate()
    victim, others = setup.send("one", tag="victim", gate=never), setup.send_many("one", 3)
    (run,) = setup.wait_running(1, "one")
    # The worker acknowledges once its pool process has told it of the task, which may already have written its start.
    wait(lambda: acknowledged(setup, victim.id), what="the victim is acknowledged")

    killed = next(node for node in setup.workers if run.pid in node.children())
    killed.kill("SIGKILL")
    setup.workers.remove(killed)

    # The short tier of the lease: far sooner than the lease's full length of 15 s.
    setup.wait_ended(others, timeout=8)
    assert setup.sweep.tags("one") == ["victim", 0, 1, 2]
    assert setup.sweep.peak("one", killed={victim.id}) == 1


def acknowledged(setup: Setup, task_id: str) -> bool:
    active = setup.app.control.inspect(timeout=2).active() or {}
    return any(task["id"] == task_id and task["acknowledged"] for tasks in active.values() for task in tasks)
