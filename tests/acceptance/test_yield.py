"""A task gives its slot back while it waits for something else, and takes it again in turn."""

from __future__ import annotations

import os
import signal
from typing import Callable

import pytest
import redis
from celery.exceptions import SoftTimeLimitExceeded, TimeoutError

from celery_concurrency_id import Concurrency, DeadlockError, yield_slot
from celery_concurrency_id.policy import policy_of
from harness.fixtures import for_each_broker, on_both_brokers
from harness.setup import Setup, alive
from harness.sweep import Run
from harness.waiting import stays, wait

PREFIX = "concurrency:{celery}:"


def semaphore_of(setup: Setup) -> redis.Redis:
    """Return a client of the Redis that holds the slots: to know when a test may go on, never to judge."""
    return redis.Redis.from_url(policy_of(setup.app).settings.url, socket_timeout=5)


def wait_for_returners(setup: Setup, id: str, count: int = 1) -> None:
    """Wait until so many tasks wait to have their slots again."""
    with semaphore_of(setup) as client:
        wait(lambda: client.zcard(f"{PREFIX}back:{id}") == count, what=setup.state)


@for_each_broker
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_slot_that_is_given_back_is_used_by_others_and_taken_again_in_turn(
    make_setup: Callable[..., Setup], pool: str, broker: str
) -> None:
    # One of its own: what another test announced and purged counts as waiting until a worker has found that it is gone.
    setup = make_setup(broker=broker, pool=pool, workers=2)
    away, gate = setup.gate(), setup.gate()
    yields = setup.send("yields", tag="yields", away=away)
    setup.wait_running(1, "one-away")

    others = [setup.send("one", tag="first", gate=gate), setup.send("one", tag="earlier")]
    setup.wait_running(1, "one")  # while the other is not at its end
    away.open()
    wait_for_returners(setup, "one")
    others.append(setup.send("one", tag="later"))
    gate.open()
    setup.wait_ended(others)

    first, then = yields.get(timeout=30)
    assert setup.sweep.tags("one") == ["yields", "first", "earlier", "yields", "later"]
    assert setup.sweep.peak("one") == 1
    assert then > first, "its fencing token is newer than those of the tasks that ran meanwhile"
    setup.assert_slots_are_free("one", 1)


@on_both_brokers
def test_whatever_ends_a_task_without_its_slot_leaves_nothing_behind(celery_setup: Setup) -> None:
    never, gate, away = celery_setup.gate(), celery_setup.gate(), celery_setup.gate()
    first = celery_setup.send("yields", tag="killed while away", away=never)
    os.kill(celery_setup.wait_running(1, "one-away")[0].pid, signal.SIGKILL)
    back = celery_setup.send("yields", tag="killed while it waits", away=away)
    limited = celery_setup.send("yields", tag="too late", away=away, options={"soft_time_limit": 8})
    failing = celery_setup.send("yields", tag="fails", away=away, fail="yes")
    waiters = wait(lambda: (runs := in_their_bodies(celery_setup)) and len(runs) == 3 and runs, what=celery_setup.state)
    holder = celery_setup.send("one", tag="holder", gate=gate)
    celery_setup.wait_running(1, "one")
    away.open()
    wait_for_returners(celery_setup, "one", 3)
    os.kill(next(run.pid for run in waiters if run.task == back.id), signal.SIGKILL)
    with pytest.raises(SoftTimeLimitExceeded):
        limited.get(timeout=30)
    assert not failing.ready(), "its error is told once it has its slot again"
    assert [run.tag for run in celery_setup.running("one")] == ["holder"]
    gate.open()

    with pytest.raises(ValueError, match="told to fail"):
        failing.get(timeout=30)
    celery_setup.wait_ended([holder])
    assert celery_setup.sweep.peak("one", killed={first.id, back.id}) == 1
    celery_setup.assert_slots_are_free("one", 1)


def in_their_bodies(setup: Setup) -> list[Run]:
    """Return what runs without its slot, and was not killed."""
    return [run for run in setup.running("one-away") if alive(run.pid)]


@on_both_brokers
def test_redis_may_lose_its_data_while_slots_are_given_back(celery_setup: Setup) -> None:
    gates = [celery_setup.gate() for _ in range(4)]
    for tag, gate in (("stays away", gates[0]), ("waits", gates[1])):
        celery_setup.send("yields_two", tag=tag, away=gate)
    celery_setup.wait_running(2, "two-away")
    holders = [celery_setup.send("two", tag=f"holder {number}", gate=gates[2 + number]) for number in range(2)]
    celery_setup.wait_running(2, "two")
    gates[1].open()
    wait_for_returners(celery_setup, "two")

    with semaphore_of(celery_setup) as client:
        client.delete(*client.keys(f"{PREFIX}*"))  # not the broker's messages, which may be there, too
        client.script_flush()
    wait_for_returners(celery_setup, "two")  # by the word of their worker

    assert {run.tag for run in celery_setup.running("two")} == {"holder 0", "holder 1"}
    gates[2].open()
    wait(lambda: celery_setup.sweep.tags("two").count("waits") == 2, what=celery_setup.state)
    more = celery_setup.send("two", tag="more")
    celery_setup.wait_ended([more])  # the slot of what is away is free for it
    gates[0].open()
    wait(lambda: celery_setup.sweep.tags("two").count("stays away") == 2, what=celery_setup.state)
    gates[3].open()
    celery_setup.wait_ended(holders)
    assert celery_setup.sweep.peak("two") == 2
    celery_setup.assert_slots_are_free("two", 2)


@pytest.mark.faults
def test_without_redis_a_task_waits_for_its_slot_until_its_time_is_over(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(broker="rabbitmq", workers=1)
    away, after, never = setup.gate(), setup.gate(), setup.gate()
    setup.send("yields_two", tag="goes on", away=away)
    setup.send("yields_two", tag="too late", away=away, options={"soft_time_limit": 6})
    setup.wait_running(2, "two-away")

    setup.backend.container.kill()
    away.open()
    wait(lambda: not setup.running("two-away"), what=setup.state)
    wait(lambda: "Soft time limit (6s) exceeded" in setup.worker.logs(), 30, what=setup.state)
    assert setup.sweep.tags("two") == ["goes on", "too late"] or setup.sweep.tags("two") == ["too late", "goes on"]
    setup.backend.container.start()

    wait(lambda: setup.sweep.tags("two")[2:] == ["goes on"], 30, what=setup.state)
    # To give it back while Redis is away is made good for: its worker tells it.
    last = setup.send("yields_two", tag="gives back", away=after, last=never)
    setup.wait_running(1, "two-away")
    after.open()
    wait(lambda: len(setup.running("two")) == 1, what=setup.state)
    never.open()
    setup.wait_ended([last])
    setup.assert_slots_are_free("two", 2)
    assert setup.sweep.peak("two") == 2


def test_a_pause_and_a_lowered_limit_hold_what_wants_its_slot_again(celery_setup: Setup) -> None:
    control = Concurrency(celery_setup.app)
    away, gate = celery_setup.gate(), celery_setup.gate()
    back = [celery_setup.send("yields_two", tag=tag, away=away, last=gate) for tag in range(2)]
    celery_setup.wait_running(2, "two-away")
    control.pause("two")
    away.open()
    wait_for_returners(celery_setup, "two", 2)
    control.set("two", 1)
    stays(lambda: not celery_setup.running("two"), 1.5, "nothing goes on while it is paused")
    control.resume("two")
    celery_setup.wait_running(1, "two")
    stays(lambda: len(celery_setup.running("two")) == 1, 1.5, "one at a time")
    control.reset("two")
    celery_setup.wait_running(2, "two")
    gate.open()
    assert all(then > first for first, then in (result.get(timeout=30) for result in back))
    celery_setup.assert_slots_are_free("two", 2)


@on_both_brokers
def test_an_operator_is_told_who_is_without_a_slot_and_why_it_does_not_go_on(celery_setup: Setup) -> None:
    control = Concurrency(celery_setup.app, by="tester")
    gates, gate = [celery_setup.gate(), celery_setup.gate()], celery_setup.gate()
    first = celery_setup.send("yields", tag="first", away=gates[0])
    celery_setup.wait_running(1, "one-away")
    second = celery_setup.send("yields", tag="second", away=gates[1])
    celery_setup.wait_running(2, "one-away")

    said = control.why(first.id)
    assert (said.state, said.id, said.holder, said.place) == ("away", "one", None, None)
    assert said.away is not None and (said.away.wants_since, said.away.waits, said.away.ahead) == (None, None, None)
    assert said.reasons[0].startswith(f"it runs on {said.away.worker}, and has given its slot of 'one' back since ")
    assert said.away.worker.endswith("@test") and said.away.lease_age is not None
    assert [(each.task, each.name) for each in control.show("one").away] == [
        (first.id, "yields"),
        (second.id, "yields"),
    ]
    position = control.position(first.id)
    assert (position.state, position.id, position.running, position.ends_in) == ("running", "one", 0, None)

    holder = celery_setup.send("one", tag="holder", gate=gate)
    celery_setup.wait_running(1, "one")
    older = celery_setup.send("one", tag="older")
    wait(lambda: len(control.show("one").head) == 1, what="it is announced")
    gates[1].open()
    wait_for_returners(celery_setup, "one")
    younger = celery_setup.send("one", tag="younger")
    wait(lambda: len(control.show("one").head) == 2, what="it is announced")
    gates[0].open()
    wait_for_returners(celery_setup, "one", 2)

    # Who wants its slot again first is the first, whoever gave it back before.
    told = control.show("one")
    assert [(each.task, each.ahead) for each in told.away] == [(second.id, 1), (first.id, 3)]
    assert all(each.wants_since and each.waits is not None and each.wants_since > each.since for each in told.away)
    assert [each.task for each in told.holders] == [holder.id], "they hold none"
    said = control.why(first.id)
    assert said.state == "away" and said.away is not None
    assert said.reasons[0].startswith(f"it waits on {said.away.worker} to have its slot of 'one' again, since ")
    assert any("limit 1" in reason and "reached: 1 hold a slot" in reason for reason in said.reasons)
    assert any(holder.id in reason for reason in said.reasons), "who holds the slot"
    assert any(reason.startswith("3 tasks come before it: ") for reason in said.reasons)
    assert any(reason.startswith("1 task comes before it: ") for reason in control.why(second.id).reasons)
    returner = "1 task that wants its slot again comes before it"
    assert returner in control.why(younger.id).reasons
    assert returner not in control.why(older.id).reasons
    control.pause("one", note="deploying")
    paused = "'one' is paused by tester (deploying): `concurrency resume one` lets it go on"
    assert paused in control.why(first.id).reasons
    control.resume("one")

    gate.open()
    celery_setup.wait_ended([holder, older, younger])
    for result in (first, second):
        result.get(timeout=30)
    assert not control.show("one").away
    assert control.why(first.id).state == "done"
    celery_setup.assert_slots_are_free("one", 1)


@on_both_brokers
def test_a_task_that_waits_for_itself_is_told_so_and_one_that_gives_its_slot_back_is_not(celery_setup: Setup) -> None:
    alone = celery_setup.send("parent", "one")
    with pytest.raises(DeadlockError, match="yield_slot") as raised:
        alone.get(timeout=30)
    assert (raised.value.id, raised.value.holders) == ("one", 1)
    joined = celery_setup.send("parent", "one", "join", 2)
    with pytest.raises(DeadlockError):
        joined.get(timeout=30)
    patient = celery_setup.send("parent", "one", "timeout")
    with pytest.raises(TimeoutError, match="would wait for ever"):
        patient.get(timeout=30)

    both = [celery_setup.send("parent_two", "two", seconds=0.1) for _ in range(2)]
    ends = [result.get(timeout=30, propagate=False) for result in both]
    assert any(isinstance(end, DeadlockError) for end in ends), ends
    wait(lambda: celery_setup.sweep.tags("two").count("child") == 2, what=celery_setup.state)
    wait(lambda: not celery_setup.running("two"), what=celery_setup.state)
    # A child that will have its turn is waited for, for longer than the first looks.
    gate = celery_setup.gate()
    celery_setup.send("two", gate=gate, tag="stranger")
    celery_setup.wait_running(1, "two")
    honest = celery_setup.send("parent_two", "two")
    celery_setup.wait_running(2, "two")
    stays(lambda: {run.tag for run in celery_setup.running("two")} == {"parent", "stranger"}, 2.5, "it waits")
    gate.open()
    assert honest.get(timeout=30) == "child"

    yielding = [celery_setup.send("yielding_parent", "one", tag=tag) for tag in range(3)]
    assert [result.get(timeout=60) for result in yielding] == [f"{tag}'s child" for tag in range(3)]
    assert celery_setup.sweep.peak("one") == 1
    assert celery_setup.sweep.peak("two") == 2
    celery_setup.assert_slots_are_free("one", 1)


def test_where_no_worker_gave_a_slot_there_is_none_to_give_back(celery_setup: Setup) -> None:
    task = celery_setup.app.tasks["one"]
    with yield_slot() as given, task.yield_slot() as of_a_task:
        assert (given, of_a_task) == (False, False)
