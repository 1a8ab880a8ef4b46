"""An operator changes limits, pauses ids and frees slots while workers run; what the tasks did is the judge."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from celery_concurrency_id import Concurrency, InvalidControl
from harness.fixtures import for_each_broker, on_both_brokers
from harness.setup import Setup
from harness.sweep import Run, Sweep
from harness.waiting import stays, wait

#: Seconds in which a change must have reached every worker.
REACHED = 1.0


@pytest.fixture
def control(celery_setup: Setup) -> Iterator[Concurrency]:
    """The shared setup's control; what a test changes is taken back."""
    control = Concurrency(celery_setup.app, by="tester")
    yield control
    for status in control.list():
        if status.override:
            control.reset(status.id)
        if status.pause:
            control.resume(status.id)


def at_start(sweep: Sweep, run: Run) -> int:
    """How many of its id ran when a run started, itself included."""
    return sum(other.start <= run.start and (other.end or run.start + 1) > run.start for other in sweep.runs(run.id))


@on_both_brokers
def test_a_raised_limit_is_used_at_once_and_a_lowered_one_lets_what_runs_end(
    celery_setup: Setup, control: Concurrency
) -> None:
    gate = celery_setup.gate()
    results = celery_setup.send_many("two", 12, gate=gate)
    celery_setup.wait_running(2, "two")

    assert control.set("two", 5, note="more").limit == 5

    celery_setup.wait_running(5, "two")
    lowered = control.set("two", 1)
    assert (lowered.limit, lowered.running, lowered.code_limit, lowered.source) == (1, 5, 2, "override")
    stays(lambda: len(celery_setup.running("two")) == 5, REACHED, "they run on, and no other starts")
    since = time.monotonic_ns()
    gate.open()
    celery_setup.wait_ended(results)
    later = [run for run in celery_setup.sweep.runs("two") if run.start > since]
    assert len(later) == 7
    assert {at_start(celery_setup.sweep, run) for run in later} == {1}
    assert celery_setup.sweep.peak("two") == 5
    assert not celery_setup.sweep.twice()
    assert control.reset("two").limit == 2
    celery_setup.assert_slots_are_free("two", 2)


@on_both_brokers
def test_a_pause_holds_although_the_worker_had_leave_to_keep_its_slot(
    celery_setup: Setup, control: Concurrency
) -> None:
    before, gate = celery_setup.gate(), celery_setup.gate()
    zero = celery_setup.send("one", tag="zero", gate=before)
    celery_setup.wait_running(1, "one")
    first = celery_setup.send("one", tag="first", gate=gate)
    later = celery_setup.send_many("one", 5)
    before.open()
    # When this one starts, its worker hears that more wait, and that it may keep the slot for them.
    wait(lambda: celery_setup.sweep.tags("one") == ["zero", "first"], what=celery_setup.state)
    celery_setup.wait_ended([zero])
    stays(lambda: len(celery_setup.running("one")) == 1, 0.5, "that answer has come")

    status = control.pause("one", note="disk full")

    assert status.pause is not None
    assert (status.pause.by, status.pause.note, status.limit) == ("tester", "disk full", 1)
    stays(lambda: len(celery_setup.running("one")) == 1, REACHED, "the limit is reached")
    gate.open()
    celery_setup.wait_ended([first])
    stays(lambda: len(celery_setup.sweep.runs("one")) == 2, 1.5, "nothing starts while it is paused")
    celery_setup.wait_ended([celery_setup.send("other")])  # other ids do not notice

    assert control.resume("one").pause is None

    celery_setup.wait_ended(later)
    assert celery_setup.sweep.peak("one") == 1
    assert celery_setup.sweep.tags("one") == ["zero", "first", 0, 1, 2, 3, 4]


def peak_once_set(setup: Setup, control: Concurrency, limit: int) -> int:
    """Set a limit, wait until what is over it has ended, and return how many of those that start then run at once."""
    control.set("eight", limit)
    wait(lambda: control.show("eight").status.running <= limit, what=setup.state)
    sweep = setup.sweep.mark()
    wait(lambda: len(sweep.ended("eight")) >= 5, what=setup.state)
    return sweep.peak("eight")


@on_both_brokers
def test_changes_under_load_never_let_more_start_than_they_allow(celery_setup: Setup, control: Concurrency) -> None:
    control.pause("eight")  # until all are there: they must not be over before the limits have changed
    results = celery_setup.send_many("eight", 400, seconds=0.05)
    control.set("eight", 1)
    control.resume("eight")
    celery_setup.wait_running(1, "eight")
    for limit in (3, 6, 1):
        assert peak_once_set(celery_setup, control, limit) <= limit
    drained = control.drain("eight", timeout=30)
    assert drained.done and drained.running == 0 and drained.waiting > 0, drained
    sweep = celery_setup.sweep.mark()
    stays(lambda: not sweep.runs("eight"), 1, "nothing starts once it is drained")
    control.reset("eight")
    control.resume("eight")

    celery_setup.wait_ended(results, timeout=60)
    assert sweep.peak("eight") <= 8
    assert not celery_setup.sweep.twice()


def test_an_override_ends_by_itself_up_and_down(celery_setup: Setup, control: Concurrency) -> None:
    gate, later = celery_setup.gate(), celery_setup.gate()
    control.set("eight", 1, expires=3)
    up = celery_setup.send_many("eight", 4, gate=gate)
    control.set("one", 3, expires=3)
    down = celery_setup.send_many("one", 6, gate=later)
    celery_setup.wait_running(1, "eight")
    celery_setup.wait_running(3, "one")
    assert len(celery_setup.running("eight")) == 1 or not control.show("eight").status.override

    celery_setup.wait_running(4, "eight")  # nobody is told; idle workers find out
    gate.open()
    celery_setup.wait_ended(up)
    wait(lambda: not control.show("one").status.override, what="the other is over too")
    stays(lambda: len(celery_setup.running("one")) == 3, REACHED, "they run on")
    since = time.monotonic_ns()
    later.open()
    celery_setup.wait_ended(down)
    after = [run for run in celery_setup.sweep.runs("one") if run.start > since]
    assert {at_start(celery_setup.sweep, run) for run in after} == {1}
    assert len(after) == 3


@on_both_brokers
def test_a_purge_deletes_what_waits_and_forgets_it(celery_setup: Setup, control: Concurrency) -> None:
    gate = celery_setup.gate()
    running = celery_setup.send("one", tag="running", gate=gate)
    celery_setup.wait_running(1, "one")
    celery_setup.send_many("one", 5)
    wait(lambda: control.show("one").status.waiting == 5, what="all are announced")
    # What a worker has fetched ahead is not the broker's; it does so for half a second at most.
    wait(lambda: celery_setup.waiting("one") == 5, what="all are in the queue")

    assert control.purge("one") == 5

    assert control.show("one").status.waiting == 0
    after = celery_setup.send("one", tag="after")
    gate.open()
    celery_setup.wait_ended([running, after])
    assert celery_setup.sweep.tags("one") == ["running", "after"]


def test_a_slot_freed_by_hand_goes_to_the_next_and_its_task_goes_on(celery_setup: Setup, control: Concurrency) -> None:
    gate, other = celery_setup.gate(), celery_setup.gate()
    stuck = celery_setup.send("one", tag="stuck", gate=gate)
    celery_setup.wait_running(1, "one")
    next_one = celery_setup.send("one", tag="next", gate=other)
    wait(lambda: control.why(next_one.id).state == "waiting", what="it is announced")
    (holder,) = control.show("one").holders
    assert (holder.task, holder.worker.endswith("@test")) == (stuck.id, True)

    assert control.release("one", holder.token).task == stuck.id

    celery_setup.wait_running(2, "one")
    wait(lambda: any("an operator released" in node.logs() for node in celery_setup.workers), what=celery_setup.state)
    stays(lambda: len(control.show("one").holders) == 1, 3, "its worker does not take it back")
    with pytest.raises(InvalidControl, match="token"):
        control.release("one", holder.token)
    gate.open()
    other.open()
    celery_setup.wait_ended([stuck, next_one])
    celery_setup.assert_slots_are_free("one", 1)


def test_why_says_what_holds_a_task_back(celery_setup: Setup, control: Concurrency) -> None:
    gate = celery_setup.gate()
    running = celery_setup.send("one", gate=gate)
    celery_setup.wait_running(1, "one")
    waiting = celery_setup.send_many("one", 2)
    wait(lambda: control.why(waiting[1].id).state == "waiting", what="it is announced")

    said = control.why(running.id)
    assert (said.state, said.id, said.holder is not None) == ("running", "one", True)
    said = control.why(waiting[1].id)
    assert said.id == "one" and said.place is not None and said.place.rank == 1
    assert any("limit 1" in reason and "reached" in reason for reason in said.reasons)
    assert any(running.id in reason for reason in said.reasons), "who holds the slot"
    assert any(reason.startswith("1 of 2 ") for reason in said.reasons), "how many are ahead"
    control.pause("one", note="deploying")
    assert "paused by tester (deploying)" in control.why(waiting[0].id).reasons[0]
    control.resume("one")
    gate.open()
    celery_setup.wait_ended([running, *waiting])
    assert wait(lambda: control.why(running.id).state == "done", what="the result is there")
    assert control.why("nobody-knows-it").state == "unknown"
    parked = celery_setup.send("one", options={"countdown": 6})
    wait(lambda: control.why(parked.id).state == "held", what="a worker keeps it until it is due")
    celery_setup.wait_ended([parked])


def test_workers_carry_out_commands_and_tell_how_ids_are(celery_setup: Setup, control: Concurrency) -> None:
    remote = celery_setup.app.control

    def say(command: str, **arguments: Any) -> list[dict[str, Any]]:
        replies = remote.broadcast(command, arguments=arguments, reply=True, timeout=10, limit=2)
        return [reply for each in replies or () for reply in each.values()]

    replies = say("concurrency_set", id="two", limit=4, expires=600, note="remote")
    assert [reply["ok"]["limit"] for reply in replies] == [4, 4]
    (status,) = [each for each in control.list() if each.id == "two"]
    assert status.override is not None
    assert (status.override.by, status.override.note) == ("celery control", "remote")
    assert [reply["ok"]["source"] for reply in say("concurrency_reset", id="two")] == ["task", "task"]
    assert all(reply["ok"]["pause"] for reply in say("concurrency_pause", id="two"))
    assert not any(reply["ok"]["pause"] for reply in say("concurrency_resume", id="two"))
    assert all("limit 0 is refused" in reply["error"] for reply in say("concurrency_set", id="two", limit=0))
    assert all("'tow'" in reply["error"] and "'two'" in reply["error"] for reply in say("concurrency_pause", id="tow"))
    for told in say("concurrency"):
        assert {each["id"] for each in told} >= {"one", "two", "gpu_queue", "nameless"}


@pytest.mark.parametrize("id", ["tow", "", None, 7], ids=repr)
def test_an_id_that_nobody_knows_is_refused_with_those_that_are_close(celery_setup: Setup, id: Any) -> None:
    with pytest.raises(InvalidControl) as caught:
        Concurrency(celery_setup.app).set(id, 3)

    assert (caught.value.command, caught.value.argument, caught.value.value) == ("set", "id", id)
    assert "a concurrency id such as" in caught.value.expected
    assert id != "tow" or "'two'" in caught.value.expected


@pytest.mark.faults
def test_a_pause_outlasts_a_killed_worker(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(workers=2, concurrency=2)
    control, gate = Concurrency(setup.app), setup.gate()
    running = setup.send_many("two", 2, gate=gate)
    setup.wait_running(2, "two")
    waiting = setup.send_many("two", 6, seconds=0.02)
    control.pause("two")

    setup.workers[0].container.kill()

    wait(lambda: "is gone" in setup.workers[1].logs(), what=setup.state)
    stays(lambda: len(setup.sweep.runs("two")) == 2, 2, "its slots are free, but the id is paused")
    gate.open()
    control.resume("two")
    setup.wait_ended(waiting)
    killed = {result.id for result in running}
    assert setup.sweep.peak("two", killed) <= 2
    setup.assert_slots_are_free("two", 2)


@pytest.mark.faults
@for_each_broker
def test_what_an_operator_said_outlasts_a_deployment_and_a_restart_of_redis(
    make_setup: Callable[..., Setup], broker: str
) -> None:
    setup = make_setup(broker=broker, workers=1, concurrency=4, redis_keeps_data=True)
    control = Concurrency(setup.app, by="me")
    control.set("one", 3, note="for the night")
    control.pause("other")
    held = setup.send("other")

    setup.backend.container.restart()
    setup.stop_workers()
    setup.start_workers(1, concurrency=4, concurrency_limits={"one": 2})

    gate = setup.gate()
    results = setup.send_many("one", 5, gate=gate)
    setup.wait_running(3, "one", timeout=30)
    stays(lambda: len(setup.running("one")) == 3 and not setup.sweep.runs("other"), 1, "as the operator said")
    status = control.show("one").status
    assert status.override is not None
    assert (status.override.note, status.override.by, status.code_limit) == ("for the night", "me", 2)
    gate.open()
    control.resume("other")
    setup.wait_ended([*results, held])
    assert setup.sweep.peak("one") == 3


def test_what_nobody_serves_and_what_cannot_be_reached_is_said(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup("-Q", "celery", broker="rabbitmq", workers=1)
    result = setup.send("one")  # the first that this Redis is told of
    control = Concurrency(setup.app)

    said = wait(lambda: (why := control.why(result.id)).state == "waiting" and why, what="it is announced")
    assert "no worker that is alive serves 'one'" in said.reasons[0]

    setup.backend.container.stop()
    said = control.why(result.id)
    assert said.state == "unavailable"
    assert "Redis at redis://" in said.reasons[0]
