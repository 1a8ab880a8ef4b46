"""What operations.md and the README say that operators have to know, tried with workers."""

from __future__ import annotations

import time
from typing import Callable

from harness.setup import Setup
from harness.waiting import stays, wait


def test_the_limits_of_the_worker_that_started_last_hold_for_all(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(workers=1, concurrency=3, concurrency_limits={"one": 1})
    gate = setup.gate()
    results = setup.send_many("one", 6, gate=gate)
    setup.wait_running(1, "one")
    stays(lambda: len(setup.running("one")) == 1, 0.5, "the limit is 1")

    setup.start_workers(1, concurrency=3, concurrency_limits={"one": 4})

    setup.wait_running(4, "one")
    stays(lambda: len(setup.running("one")) == 4, 0.5, "the limit is 4 for both")
    assert len({run.pid for run in setup.running("one")}) == 4
    gate.open()
    setup.wait_ended(results)


def test_a_limit_that_is_lowered_kills_nothing_and_holds_once_enough_have_ended(
    make_setup: Callable[..., Setup],
) -> None:
    setup = make_setup(workers=1, concurrency=4, concurrency_limits={"one": 4})
    gate = setup.gate()
    results = setup.send_many("one", 4, gate=gate)
    setup.wait_running(4, "one")

    setup.start_workers(1, concurrency=4, concurrency_limits={"one": 1})
    later = setup.send_many("one", 10, seconds=0.05)
    stays(lambda: len(setup.running("one")) == 4, 1, "those that ran go on, and no other starts")
    lowered = setup.sweep.mark()
    gate.open()

    setup.wait_ended(results + later)
    assert lowered.peak("one") == 1, "of those that started after that"


def test_a_worker_that_names_its_queues_serves_only_ids_among_them(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup("-Q", "celery", workers=1)
    result = setup.send("one")
    setup.wait_ended([setup.send("ordinary")])

    stays(lambda: not setup.sweep.runs("one"), 1, "nobody serves it")
    setup.start_workers(1, "-Q", "celery,one")

    setup.wait_ended([result])


def test_a_worker_that_starts_without_redis_runs_ordinary_tasks(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(workers=1, concurrency_url="redis://127.0.0.1:1/0")
    began = time.monotonic()
    waiting = [setup.send("one") for _ in range(20)]
    held_up = time.monotonic() - began

    setup.wait_ended([setup.send("ordinary")])
    wait(lambda: "cannot be reached" in setup.worker.logs(), what=setup.state)
    assert setup.waiting("one") == len(waiting)
    assert held_up < 5, "a publish does not wait for Redis each time"
