"""Where a waiting task stands, and when it is expected to start; the order in which tasks then start is the judge."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Callable

import pytest

from celery_concurrency_id import Concurrency, InvalidControl, Position
from harness.fixtures import for_each_broker, on_both_brokers
from harness.setup import Setup
from harness.waiting import wait


def ranks(results: list[Any]) -> list[int | None]:
    return [result.position().rank for result in results]


class Follower(threading.Thread):
    """Follows a task to its end, and keeps what it is told."""

    def __init__(self, result: Any) -> None:
        super().__init__(daemon=True)
        self.result = result
        self.told: list[tuple[float, Position]] = []
        self.start()

    def run(self) -> None:
        for position in self.result.positions(interval=0.1):
            self.told.append((time.monotonic(), position))

    def ended(self) -> list[Position]:
        self.join(30)
        assert not self.is_alive(), self.told[-3:]
        return [position for _, position in self.told]


@on_both_brokers
def test_each_waiting_task_is_told_its_place_until_it_is_done(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    first = celery_setup.send("one", tag="first", gate=gate)
    celery_setup.wait_running(1, "one")
    wait(lambda: first.position().state == "running", what="its start is known")
    results = celery_setup.send_many("one", 4, seconds=0.3)
    wait(lambda: ranks(results) == [0, 1, 2, 3], what=lambda: f"{ranks(results)}")
    told = results[2].position()
    assert (told.state, told.id, told.waiting, told.running, told.limit) == ("waiting", "one", 4, 1, 1)
    follower = Follower(results[3])
    wait(lambda: follower.told, what="what is so now is told at once")

    gate.open()

    celery_setup.wait_ended([first, *results])
    told_ranks = [position.rank for position in follower.ended() if position.state == "waiting"]
    assert told_ranks[0] == 3
    assert told_ranks == sorted(told_ranks, reverse=True)
    assert {0, 1, 2} & set(told_ranks), "it moved"
    assert [position.state for position in follower.ended()][-1] == "done"
    assert results[0].position() == Position(results[0].id, "done")


@for_each_broker
def test_ranks_are_in_the_brokers_order_where_the_queue_has_priorities(
    make_setup: Callable[..., Setup], broker: str
) -> None:
    queues = {"celery": {}, "ranked": {"x-max-priority": 10}} if broker == "rabbitmq" else None
    setup = make_setup(broker=broker, workers=1, **({"task_queues": queues} if queues else {}))
    gate = setup.gate()
    setup.send("ranked", tag="first", gate=gate)
    setup.wait_running(1, "ranked")
    results = [
        setup.send("ranked", tag=number, **({"options": {"priority": priority}} if priority is not None else {}))
        for number, priority in enumerate([3, None, 9, 0, 6, 9, 4, 2])
    ]
    wait(lambda: sum(result.position().state == "waiting" for result in results) == len(results), what="all wait")
    told = ranks(results)
    assert sorted(told) == list(range(len(results)))
    assert told != list(range(len(results)))

    gate.open()

    setup.wait_ended(results)
    started = setup.sweep.tags("ranked")[1:]
    assert started == sorted(range(len(results)), key=told.__getitem__)


@on_both_brokers
def test_what_leaves_the_line_in_another_way_lets_the_others_move_up(celery_setup: Setup) -> None:
    control, gate = Concurrency(celery_setup.app), celery_setup.gate()
    celery_setup.send("retrying", tag="first", times=1, gate=gate)
    celery_setup.wait_running(1, "retrying")
    revoked, *others = [celery_setup.send("retrying", tag=tag, times=0) for tag in range(3)]
    wait(lambda: ranks([revoked, *others]) == [0, 1, 2], what=lambda: f"{ranks([revoked, *others])}")
    celery_setup.app.control.revoke(revoked.id, reply=True, timeout=5, limit=2)
    control.pause("retrying")
    gate.open()

    # It is retried, and joins the end.
    retried = celery_setup.app.tasks["retrying"].AsyncResult(celery_setup.sweep.runs("retrying")[0].task)
    wait(lambda: retried.position().rank == 3, what=lambda: f"{retried.position()}")
    assert ranks([revoked, *others]) == [0, 1, 2]
    paused = others[1].position()
    assert paused.starts_in is None, "nobody knows when it is resumed"

    control.resume("retrying")
    wait(lambda: revoked.position().state == "done", what=lambda: f"{revoked.position()}")
    celery_setup.wait_ended(others)
    wait(lambda: retried.position().state == "done", what=lambda: f"{retried.position()}")
    control.pause("retrying")
    purged = [celery_setup.send("retrying", tag=f"purged {tag}") for tag in range(2)]
    wait(lambda: ranks(purged) == [0, 1], what=lambda: f"{ranks(purged)}")
    assert control.purge("retrying") == 2
    assert [result.position().state for result in purged] == ["unknown"] * 2
    control.resume("retrying")


def test_a_task_starts_and_ends_when_it_was_expected_to(celery_setup: Setup) -> None:
    """Long ones and short ones: the sum of what is ahead counts, not their number."""
    gpu = {"gpu_render": 0.2, "gpu_train": 1.5}
    warm = [celery_setup.send(name, seconds=seconds) for name, seconds in gpu.items() for _ in range(4)]
    celery_setup.wait_ended(warm)
    gates = [celery_setup.gate() for _ in range(2)]
    for gate in gates:
        celery_setup.send("gpu_sample", tag="hold", gate=gate)
    celery_setup.wait_running(2, "gpu_queue")
    names = ["gpu_train"] * 2 + ["gpu_render"] * 6 + ["gpu_train"] * 2
    results = [celery_setup.send(name, seconds=gpu[name], tag="judged") for name in names]
    asked = results[-1]
    wait(lambda: asked.position().rank == 9, what=lambda: f"{asked.position()}")
    gates[0].open()  # the first that ends: from now on it is known how long such tasks take
    gates[1].open()
    follower = Follower(asked)

    celery_setup.wait_ended(results)

    follower.ended()
    run = next(run for run in celery_setup.sweep.runs("gpu_queue") if run.task == asked.id)
    started, ended = run.start / 1e9, (run.end or 0) / 1e9
    known = [(at, told) for at, told in follower.told if told.state == "waiting" and told.starts_in and told.ends_in]
    assert known, follower.told
    at, told = known[0]
    assert told.starts_in is not None and told.ends_in is not None
    # Busy machines are slower than they were: from half of what was said to twice that, and some seconds.
    assert told.starts_in.low / 2 - 0.5 <= started - at <= 2 * told.starts_in.high + 5, (told, started - at)
    assert told.ends_in.low / 2 - 0.5 <= ended - at <= 2 * told.ends_in.high + 5, (told, ended - at)
    assert told.starts_in.likely > 1.2, "two of 1.5 s and six of 0.2 s at once, by two"
    running = [told for _, told in follower.told if told.state == "running"]
    assert not running or running[0].ends_in is not None


def test_the_position_is_told_to_those_who_know_only_a_tasks_id(celery_setup: Setup) -> None:
    producer = celery_setup.distant_producer()
    control, gate = Concurrency(producer), celery_setup.gate()
    sent = {
        id: [producer.send_task(name, kwargs={**more, "gate": str(gate)}) for _ in range(3)]
        for id, name, more in (("tenant-x", "tenant", {"tenant": "x"}), ("one", "one", {}))
    }

    def told() -> dict[str, list[Position]]:
        return {id: [control.position(each.id) for each in results] for id, results in sent.items()}

    # Their messages go by the workers, which tell their ids; of two workers, either may be the first.
    wait(
        lambda: all({each.rank for each in group} == {None, 0, 1} for group in told().values()),
        what=lambda: f"{told()}",
    )
    for id, group in told().items():
        assert {each.id for each in group} == {id}
        assert sorted(each.state for each in group) == ["running", "waiting", "waiting"]
        assert {each.waiting for each in group} == {2}
    # By one who has the code, but did not publish it, and by one who is told the id.
    last = next(each for each in told()["tenant-x"] if each.rank == 1).task
    assert celery_setup.app.tasks["tenant"].AsyncResult(last).position().rank == 1
    assert control.position(last, concurrency_id="tenant-x").rank == 1
    with pytest.raises(InvalidControl, match=r"position: concurrency_id 'on' is refused.*'one'"):
        control.position("nobody", concurrency_id="on")
    sent_at_all = [each for results in sent.values() for each in results]
    gate.open()
    celery_setup.wait_ended(sent_at_all)
    wait(lambda: {control.position(each.id).state for each in sent_at_all} == {"done"}, what="all are done")


def test_many_follow_their_tasks_in_one_event_loop(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    celery_setup.send("eight", tag="other")
    celery_setup.send("one", tag="first", gate=gate)
    celery_setup.wait_running(1, "one")
    results = celery_setup.send_many("one", 20)
    wait(lambda: results[-1].position().rank == 19, what=lambda: f"{results[-1].position()}")
    threads = threading.active_count()
    most = 0

    async def follow(result: Any) -> list[Position]:
        nonlocal most
        told = []
        async for position in result.apositions(timeout=60):
            told.append(position)
            most = max(most, threading.active_count())
            if len(told) == 1 and result is results[-1]:
                gate.open()
        assert (await result.aposition()).state == "done"
        return told

    async def all_of_them() -> list[list[Position]]:
        return await asyncio.gather(*(follow(result) for result in results for _ in range(3)))

    told = asyncio.run(all_of_them())

    assert {positions[-1].state for positions in told} == {"done"}
    assert max(positions[0].rank or 0 for positions in told) == 19
    assert most - threads <= 1 + 20, "one thread follows all; the others are the loop's, for aposition"


def test_an_iterator_ends_in_time_and_wrong_arguments_are_refused(celery_setup: Setup) -> None:
    task, control = celery_setup.app.tasks["one"], Concurrency(celery_setup.app)
    nobody = task.AsyncResult("nobody")
    assert nobody.position() == Position("nobody", "unknown")
    assert [position.state for position in nobody.positions(timeout=3)] == ["unknown"]
    for wrong in ("", 5, None, "x" * 501):
        with pytest.raises(InvalidControl, match="task_id"):
            control.position(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidControl, match=r"interval 0 is refused: expected seconds, 0\.1 or more"):
        nobody.positions(interval=0)
    with pytest.raises(InvalidControl, match="timeout -1"):
        control.apositions("nobody", timeout=-1)
