"""Workers that end in good order."""

from __future__ import annotations

from typing import Callable

import pytest

from harness.fixtures import for_each_broker
from harness.setup import Setup
from harness.waiting import wait


@for_each_broker
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_warm_shutdown_ends_what_runs_and_leaves_what_waits_in_the_broker(
    make_setup: Callable[..., Setup], broker: str, pool: str
) -> None:
    setup = make_setup(broker=broker, pool=pool)
    gate = setup.gate()
    results = setup.send_many("one", 6, gate=gate)
    setup.wait_running(1, "one")

    setup.worker.container.kill("SIGTERM")
    wait(lambda: "shutdown" in setup.worker.logs().lower(), what="the worker says that it shuts down")
    gate.open()
    setup.worker.container.wait_exit()

    assert [run.outcome for run in setup.sweep.runs("one")] == ["ok"]
    assert setup.waiting("one") == 5
    setup.start_workers(1)
    setup.wait_ended(results)
    assert setup.sweep.tags("one") == list(range(6))
    assert not setup.sweep.twice()


@for_each_broker
def test_when_one_of_two_workers_shuts_down_the_other_goes_on(make_setup: Callable[..., Setup], broker: str) -> None:
    setup = make_setup(broker=broker, workers=2)
    results = setup.send_many("two", 60, seconds=0.05)
    wait(lambda: len(setup.sweep.ended("two")) >= 5, what="work is under way")

    setup.worker.warm_shutdown()

    setup.wait_ended(results)
    assert setup.sweep.peak("two") == 2
    assert not setup.sweep.twice()


@pytest.mark.faults
@for_each_broker
def test_a_cold_shutdown_frees_the_slots(make_setup: Callable[..., Setup], broker: str) -> None:
    setup = make_setup(broker=broker)
    never = setup.gate()
    victim = setup.send("one", tag="victim", gate=never)
    setup.wait_running(1, "one")
    others = setup.send_many("one", 2)

    setup.worker.container.kill("SIGQUIT")
    setup.worker.container.wait_exit()
    setup.start_workers(1)

    setup.wait_ended(others)
    assert setup.sweep.peak("one", killed={victim.id}) == 1
