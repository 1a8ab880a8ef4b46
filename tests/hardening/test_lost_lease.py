"""A worker that slept longer than its lease: it learns what it lost, says so, and takes nothing that is others'."""

from __future__ import annotations

import os
import signal
from typing import Any, Callable

import pytest

from hardening.events import events
from harness import truth
from harness.setup import Setup, alive
from harness.sweep import Run
from harness.waiting import stays, wait
from harness.worker import WorkerNode

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def freeze(worker: WorkerNode) -> None:
    worker.container.kill(signal.SIGSTOP)


def wake(worker: WorkerNode) -> None:
    worker.container.kill(signal.SIGCONT)


def taken_over(setup: Setup, id: str, by: WorkerNode) -> Run:
    """Wait until another worker runs a task of the id."""

    def theirs() -> list[Run]:
        return [run for run in setup.running(id) if run.pid in by.children()]

    found: list[Run] = wait(theirs, 40, lambda: f"{by.name()} takes the slot; {setup.state()}")
    return found[0]


def told_of(setup: Setup, worker: WorkerNode, task: Any, seen: list[dict[str, Any]]) -> None:
    """Wait until log, event and signal have told of a task whose slot was lost."""

    def lost() -> list[dict[str, Any]]:
        return [each for each in truth.read(setup.truth_file, "slot_lost") if each["task"] == task.id]

    wait(lambda: "lease lapsed" in worker.logs(), 20, lambda: f"it knows; {setup.state()}")
    [told] = wait(lost, 20, lambda: f"the signal; {setup.state()}")
    line = next(line for line in worker.logs().splitlines() if "was lost with this worker's lease" in line)
    assert task.id in line and told["name"] in line and repr(told["concurrency_id"]) in line
    [event] = wait(lambda: seen, 20, lambda: f"the event; {setup.state()}")
    assert (event["uuid"], event["name"]) == (task.id, told["name"])
    assert (event["concurrency_id"], event["token"]) == (told["concurrency_id"], told["token"])
    assert event["hostname"] == worker.hostname()
    [began] = [each for each in truth.read(setup.truth_file, "begins") if each["task"] == task.id]
    assert told["token"] == began["token"], "the token that was lost is the one that the task knows"


def test_a_worker_frozen_longer_than_its_lease_says_what_it_lost_and_its_task_goes_on(
    make_setup: Callable[..., Setup],
) -> None:
    setup = make_setup("-E", workers=1, concurrency=2, harness_signals=True, concurrency_lease_ttl=3)
    sleeper, gate, later_gate = setup.worker, setup.gate(), setup.gate()
    first = setup.send("one", tag="first", gate=gate)
    setup.wait_running(1, "one")
    [other] = setup.start_workers(1, "-E", concurrency=2)
    later = setup.send_many("one", 4, gate=later_gate)

    with events(setup.app, "concurrency-slot-lost") as seen:
        freeze(sleeper)
        try:
            taken_over(setup, "one", other)
        finally:
            wake(sleeper)
        told_of(setup, sleeper, first, seen)

    stays(lambda: len(setup.running("one")) == 2, 1.5, "it goes on, and nothing else starts")
    gate.open()
    assert first.get(timeout=30) == "first"
    judged = setup.sweep.mark()
    later_gate.open()
    setup.wait_ended(later)
    assert judged.peak("one") <= 1
    assert not setup.sweep.twice()
    tokens = [each["token"] for each in truth.read(setup.truth_file, "begins")]
    assert tokens == sorted(tokens) and tokens[1] > tokens[0], f"tokens grow with every grant: {tokens}"
    setup.assert_slots_are_free("one", 1)


def test_a_worker_that_wakes_up_starts_nothing_in_a_slot_that_it_kept(make_setup: Callable[..., Setup]) -> None:
    """Its task ends while it is frozen: the first thing that it sees is a slot without a task, and more to do.

    Its mailbox is cut, so that its lease ends after the short tier.
    """
    setup = make_setup(broker="rabbitmq", workers=0, concurrency_lease_ttl=60, task_ignore_result=True)
    gate, later_gate = setup.gate(), setup.gate()
    first = setup.send("one", tag="first", gate=gate)
    later = setup.send_many("one", 4, gate=later_gate)
    [sleeper] = setup.start_workers(1, concurrency=2)
    setup.wait_running(1, "one")
    [other] = setup.start_workers(1, concurrency=2)
    redis = setup.backend.container.client

    os.kill(sleeper.pid, signal.SIGSTOP)
    try:
        redis.client_kill_filter(_type="pubsub")
        taken_over(setup, "one", other)
        judged = setup.sweep.mark()
        gate.open()
        setup.wait_ended([first])
        redis.client_pause(1000)  # it cannot ask at once
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    wait(lambda: "lease lapsed" in sleeper.logs(), 20, lambda: f"it knows; {setup.state()}")
    stays(lambda: len(setup.running("one")) == 1, 1, "the other worker has the slot")
    later_gate.open()
    setup.wait_ended(later)
    assert judged.peak("one") <= 1
    assert not setup.sweep.twice()


@pytest.mark.parametrize("name", ["one", "late"])
def test_with_terminate_the_task_is_killed_and_starts_over_once_in_its_turn(
    make_setup: Callable[..., Setup], name: str
) -> None:
    setup = make_setup(
        "-E",
        workers=1,
        concurrency=2,
        harness_signals=True,
        concurrency_lease_ttl=3,
        concurrency_on_lease_lost="terminate",
    )
    sleeper, never, gate = setup.worker, setup.gate(), setup.gate()
    first = setup.send(name, tag="first", gate=never)
    [run] = setup.wait_running(1, name)
    [other] = setup.start_workers(1, "-E", concurrency=2)
    later = setup.send_many(name, 3, gate=gate)

    with events(setup.app, "concurrency-slot-lost") as seen:
        freeze(sleeper)
        try:
            taken_over(setup, name, other)
        finally:
            wake(sleeper)
        told_of(setup, sleeper, first, seen)

    wait(lambda: not alive(run.pid), 20, lambda: f"its process is killed; {setup.state()}")
    judged = setup.sweep.mark()
    never.open()
    gate.open()
    setup.wait_ended([first, *later], timeout=40)
    assert first.get(timeout=30) == "first"
    assert judged.peak(name) <= 1
    assert setup.sweep.twice() == {first.id: 2}, "it started over, once, and no other did"
    assert setup.sweep.tags(name)[-1] == "first", "in its turn, behind those that waited"
    setup.assert_slots_are_free(name, 1)
    assert len([run for run in setup.sweep.runs(name) if run.task == first.id]) == 2


def test_a_task_on_its_way_to_the_pool_starts_over_too(make_setup: Callable[..., Setup]) -> None:
    """No process had begun it when its slot was lost: it is killed as soon as one does."""
    setup = make_setup(
        workers=1, concurrency=1, harness_signals=True, concurrency_lease_ttl=3, concurrency_on_lease_lost="terminate"
    )
    sleeper, never, gate = setup.worker, setup.gate(), setup.gate()
    [child] = sleeper.children()
    os.kill(child, signal.SIGSTOP)
    first = setup.send("one", tag="first", gate=never)
    wait(lambda: first.id in sleeper.logs(), 20, lambda: f"it is received; {setup.state()}")
    later = setup.send_many("one", 2, gate=gate)
    freeze(sleeper)
    [other] = setup.start_workers(1, concurrency=1)
    taken_over(setup, "one", other)

    os.kill(sleeper.pid, signal.SIGCONT)
    wait(lambda: truth.read(setup.truth_file, "slot_lost"), 20, lambda: f"it knows; {setup.state()}")
    wake(sleeper)

    wait(lambda: not alive(child), 20, lambda: f"its process is killed; {setup.state()}")
    never.open()
    gate.open()
    setup.wait_ended([first, *later], timeout=40)
    assert first.get(timeout=30) == "first"
    assert len([run for run in setup.sweep.runs("one") if run.task == first.id and run.end]) == 1
    setup.assert_slots_are_free("one", 1)
