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


def test_a_countdown_holds_where_celery_lets_rabbitmq_delay_tasks(make_setup: Callable[..., Setup]) -> None:
    """By an exchange that knows only queues that somebody declared; a dedicated queue was declared by nobody."""
    setup = make_setup(
        broker="rabbitmq",
        task_default_queue_type="quorum",
        task_default_exchange_type="topic",
        task_default_exchange="tasks",
        task_create_missing_queue_type="quorum",
        task_create_missing_queue_exchange_type="topic",
    )
    due = time.monotonic_ns() + 1_000_000_000

    later = setup.send("one", tag="later", options={"countdown": 1})
    retried = setup.send("retrying", tag="first", countdown=1)

    setup.wait_ended([later])
    assert setup.sweep.runs("one")[0].start >= due - 50_000_000, "not before its time"
    assert retried.get(timeout=30) == 1


def test_messages_that_rabbitmq_drops_by_the_queues_own_ttl_leave_no_slot_taken(
    make_setup: Callable[..., Setup],
) -> None:
    """They were announced, and nobody says that they are gone."""
    setup = make_setup(broker="rabbitmq", workers=0, task_queues={"celery": {}, "one": {"x-message-ttl": 3000}})
    setup.send_many("one", 3)
    wait(lambda: setup.waiting("one") == 0, what="all that waited are dropped")
    setup.start_workers(1)
    setup.wait_ended([setup.send("ordinary")])  # by now it has looked for them

    setup.wait_ended([setup.send("one", tag="last")], timeout=10)
    assert setup.sweep.tags("one") == ["last"]


def test_a_rate_limit_holds_beside_the_concurrency_limit(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(task_annotations={"two": {"rate_limit": "5/s"}})
    setup.wait_ended([setup.send("two", tag="takes the first token")])
    setup.begin()
    began = time.monotonic_ns()

    limited = setup.send_many("two", 8, seconds=0.3)
    setup.wait_ended([setup.send("ordinary") for _ in range(4)], timeout=5)
    setup.wait_ended(limited)

    for number, run in enumerate(setup.sweep.runs("two")):
        assert run.start >= began + (number - 1) * 200_000_000, "not more than five a second"
    assert setup.sweep.peak("two") <= 2
    assert not setup.sweep.twice()
    setup.app.control.rate_limit("two", 0)
    setup.assert_slots_are_free("two", 2)


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_beat_publishes_gated_tasks(make_setup: Callable[..., Setup], broker: str) -> None:
    entry = {"task": "one", "schedule": 0.2, "kwargs": {"tag": "tick", "seconds": 0.3}}
    setup = make_setup(broker=broker, workers=2, beat_schedule={"tick": entry}, beat_max_loop_interval=0.2)

    beat = setup.start_celery("beat", "beat", "--schedule", str(setup.directory / "beat.db"), "--pidfile=")

    wait(lambda: len(setup.sweep.ended("one")) >= 4, 20, lambda: f"four ticks; {beat.logs()} {setup.state()}")
    beat.stop()
    assert setup.sweep.peak("one") == 1
