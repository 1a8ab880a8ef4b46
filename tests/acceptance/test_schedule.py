"""Tasks with a time of their own: countdown, eta, expires, beat."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Callable

import pytest

from harness.fixtures import everywhere, on_both_brokers
from harness.setup import Setup
from harness.waiting import stays, wait


@everywhere
def test_a_task_with_a_countdown_holds_no_slot_before_it_is_due(celery_setup: Setup) -> None:
    due = time.monotonic_ns() + 2_000_000_000
    later = celery_setup.send("one", tag="later", options={"countdown": 2})

    now = celery_setup.send_many("one", 5)

    celery_setup.wait_ended([later, *now])
    assert celery_setup.sweep.tags("one") == [0, 1, 2, 3, 4, "later"]
    before = [run for run in celery_setup.sweep.ended("one") if run.end is not None and run.end < due]
    assert len(before) == 5, "the others did not wait for it"
    assert celery_setup.sweep.runs("one")[-1].start >= due - 50_000_000, "not before its time"


@on_both_brokers
def test_tasks_with_an_eta_keep_to_the_limit_when_they_are_due_together(celery_setup: Setup) -> None:
    eta = datetime.now(timezone.utc) + timedelta(seconds=1.5)
    results = [celery_setup.send("two", tag=tag, seconds=0.05, options={"eta": eta}) for tag in range(12)]

    celery_setup.wait_ended(results)

    assert celery_setup.sweep.peak("two") == 2
    assert not celery_setup.sweep.twice()


@on_both_brokers
def test_a_task_that_is_due_while_the_limit_is_full_waits_for_a_slot(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    first = celery_setup.send("one", tag="first", gate=gate)
    celery_setup.wait_running(1, "one")
    due = time.monotonic() + 1
    later = celery_setup.send("one", tag="later", options={"countdown": 1})

    wait(lambda: time.monotonic() > due)
    stays(lambda: len(celery_setup.sweep.runs("one")) == 1, 0.5, "it is due and waits")

    gate.open()
    celery_setup.wait_ended([first, later])
    assert celery_setup.sweep.peak("one") == 1


@on_both_brokers
def test_a_task_that_expires_while_it_waits_is_not_run_and_leaves_no_slot_taken(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    first = celery_setup.send("one", tag="first", gate=gate)
    celery_setup.wait_running(1, "one")
    victims = [celery_setup.send("one", tag="victim", options={"expires": 0.5}) for _ in range(3)]
    gone = time.monotonic() + 0.6
    last = celery_setup.send("one", tag="last")

    wait(lambda: time.monotonic() > gone)
    gate.open()

    celery_setup.wait_ended([first, last])
    assert celery_setup.sweep.tags("one") == ["first", "last"]
    # Celery also tells RabbitMQ, which drops what has expired without a word to anybody.
    dropped = "PENDING" if celery_setup.conf["broker_url"].startswith("amqp") else "REVOKED"
    assert {victim.state for victim in victims} <= {"REVOKED", dropped}
    celery_setup.assert_slots_are_free("one", 1)


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_beat_publishes_gated_tasks(make_setup: Callable[..., Setup], broker: str) -> None:
    entry = {"task": "one", "schedule": 0.2, "kwargs": {"tag": "tick", "seconds": 0.3}}
    setup = make_setup(broker=broker, workers=2, beat_schedule={"tick": entry}, beat_max_loop_interval=0.2)

    beat = setup.start_celery("beat", "beat", "--schedule", str(setup.directory / "beat.db"), "--pidfile=")

    wait(lambda: len(setup.sweep.ended("one")) >= 4, 20, lambda: f"four ticks; {beat.logs()} {setup.state()}")
    beat.stop()
    assert setup.sweep.peak("one") == 1
