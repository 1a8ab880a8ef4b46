"""At most ``limit`` tasks of an id run at once, over all workers, and the full limit is used."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from harness.fixtures import CONCURRENCY, everywhere, on_both_brokers
from harness.setup import Setup
from harness.waiting import wait


def fill(setup: Setup, names: list[str], limit: int) -> int:
    """Publish more tasks than the limit, see that as many run as may, let them end; return the peak."""
    gate = setup.gate()
    id = setup.app.tasks[names[0]].log_id
    results = [setup.send(name, tag=name, gate=gate) for name in names * (limit + 2)]
    setup.wait_running(limit, id)
    if limit < 2 * CONCURRENCY[setup.pool]:
        # Time for one task too many to start. Several: a worker that is full may have taken some of them.
        setup.send_many("ordinary", 6)
        wait(lambda: any(run.name == "ordinary" for run in setup.sweep.ended()), what=setup.state)
    gate.open()
    setup.wait_ended(results)
    assert not setup.sweep.twice()
    return setup.sweep.peak(id)


@pytest.mark.smoke
@everywhere
@pytest.mark.parametrize("name, limit", [("one", 1), ("two", 2), ("eight", 8)])
def test_no_more_than_the_limit_run_at_once_over_two_workers(celery_setup: Setup, name: str, limit: int) -> None:
    possible = min(limit, 2 * CONCURRENCY[celery_setup.pool])

    assert fill(celery_setup, [name], possible) == possible


@everywhere
@pytest.mark.parametrize("end", ["", "raise", "reject"])
def test_many_short_tasks_never_exceed_the_limit_and_all_run_once(celery_setup: Setup, end: str) -> None:
    """However they end: a slot that is freed twice lets one task too many run."""
    results = celery_setup.send_many("two", 60, seconds=0.005, fail=end)

    celery_setup.wait_ended(results)

    assert celery_setup.sweep.peak("two") <= 2
    assert not celery_setup.sweep.twice()


@pytest.mark.smoke
@on_both_brokers
def test_tasks_that_share_an_id_share_the_limit_that_one_of_them_names(celery_setup: Setup) -> None:
    assert fill(celery_setup, ["gpu_render", "gpu_train", "gpu_sample"], 2) == 2
    assert {run.name for run in celery_setup.sweep.runs("gpu_queue")} == {"gpu_render", "gpu_train", "gpu_sample"}


@on_both_brokers
def test_a_task_without_options_has_an_id_of_its_own_and_the_default_limit(celery_setup: Setup) -> None:
    assert fill(celery_setup, ["nameless"], 1) == 1


def test_tasks_that_share_an_id_and_name_no_limit_share_the_default_limit(celery_setup: Setup) -> None:
    assert fill(celery_setup, ["shy", "coy"], 1) == 1


def test_the_lowest_explicit_limit_wins_and_none_never_lowers(celery_setup: Setup) -> None:
    assert fill(celery_setup, ["wide", "boundless", "narrow"], 2) == 2


def test_different_limits_for_one_id_are_warned_of_once_naming_both_tasks(celery_setup: Setup) -> None:
    lines = [line for line in celery_setup.worker.logs().splitlines() if "wide" in line and "narrow" in line]
    warnings = [line for line in lines if "uneven" in line]

    assert len(warnings) == 1


@on_both_brokers
def test_limit_none_is_no_limit(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    results = celery_setup.send_many("free", 9, gate=gate)

    celery_setup.wait_running(9, "free")

    gate.open()
    celery_setup.wait_ended(results)


@on_both_brokers
def test_a_free_process_anywhere_takes_a_waiting_task_soon_while_slots_are_free(celery_setup: Setup) -> None:
    for _ in range(8):
        # Short tasks first: a worker must not conclude from them that it may keep a message for itself.
        celery_setup.wait_ended(celery_setup.send_many("free", 20))
        celery_setup.begin()
        gate = celery_setup.gate()
        results = celery_setup.send_many("free", 2 * CONCURRENCY["prefork"], gate=gate)
        celery_setup.wait_running(len(results), "free", timeout=1.5)
        gate.open()
        celery_setup.wait_ended(results)


def test_ids_do_not_hold_up_one_another(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    blocked = celery_setup.send_many("one", 5, gate=gate)
    celery_setup.wait_running(1, "one")

    results = celery_setup.send_many("other", 5)

    celery_setup.wait_ended(results)
    assert len(celery_setup.running("one")) == 1
    gate.open()
    celery_setup.wait_ended(blocked)


def test_the_configuration_stands_over_the_decorators(make_setup: Callable[..., Setup]) -> None:
    conf: dict[str, Any] = {"concurrency_limits": {"two": 3, "o*": 2}, "concurrency_default_limit": 4}
    setup = make_setup(workers=2, **conf)

    assert fill(setup, ["two"], 3) == 3
    assert fill(setup, ["one"], 2) == 2
    assert fill(setup, ["nameless"], 4) == 4
