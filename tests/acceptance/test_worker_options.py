"""The options of ``celery worker`` mean for gated tasks what they always meant."""

from __future__ import annotations

from typing import Callable

import pytest

from harness.fixtures import for_each_broker
from harness.setup import Setup
from harness.waiting import stays


@for_each_broker
def test_queues_chooses_which_ids_a_worker_serves(make_setup: Callable[..., Setup], broker: str) -> None:
    setup = make_setup("--queues=celery", broker=broker)
    waiting = [setup.send("one"), setup.send("other")]
    setup.wait_ended([setup.send("ordinary")])
    stays(lambda: not setup.sweep.runs("one"), 1, "nobody serves one")

    (server,) = setup.start_workers(1, "--queues=one")

    setup.wait_ended(waiting[:1])
    assert setup.sweep.runs("one")[0].pid in server.children()
    ordinary = [setup.send("ordinary") for _ in range(6)]
    setup.wait_ended(ordinary)
    assert not {run.pid for run in setup.sweep.runs(name="ordinary")} & set(server.children())
    assert not setup.sweep.runs("other"), "nobody serves other"
    assert setup.waiting("other") == 1


@for_each_broker
def test_exclude_queues_leaves_an_id_out(make_setup: Callable[..., Setup], broker: str) -> None:
    setup = make_setup("--exclude-queues=one", broker=broker)
    excluded = setup.send("one")
    setup.wait_ended([setup.send("other"), setup.send("ordinary")])
    stays(lambda: not setup.sweep.runs("one"), 1, "nobody serves one")

    setup.start_workers(1)

    setup.wait_ended([excluded])


@for_each_broker
def test_autoscale_grows_the_pool_for_gated_tasks(make_setup: Callable[..., Setup], broker: str) -> None:
    setup = make_setup("--autoscale=4,1", broker=broker)
    gate = setup.gate()
    results = setup.send_many("eight", 6, gate=gate)

    setup.wait_running(4, "eight", timeout=30)

    gate.open()
    setup.wait_ended(results)
    assert setup.sweep.peak("eight") == 4
    assert not setup.sweep.twice()


@for_each_broker
def test_processes_replaced_after_max_tasks_per_child_leave_no_slot_taken(
    make_setup: Callable[..., Setup], broker: str
) -> None:
    setup = make_setup("--max-tasks-per-child=2", broker=broker, workers=2, concurrency=2)
    results = setup.send_many("two", 20, seconds=0.01)

    setup.wait_ended(results, timeout=60)

    pids = [run.pid for run in setup.sweep.runs("two")]
    assert max(pids.count(pid) for pid in pids) <= 2
    assert setup.sweep.peak("two") <= 2
    assert not setup.sweep.twice()
    setup.assert_slots_are_free("two", 2)


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_worker_with_room_for_one_runs_gated_and_ordinary_tasks_in_turn(
    make_setup: Callable[..., Setup], pool: str
) -> None:
    setup = make_setup(concurrency=1, pool=pool)
    setup.wait_ended([setup.send("two"), setup.send("ordinary")])
    setup.begin()
    gated = setup.send_many("two", 20, seconds=0.01)
    ordinary = setup.send_many("ordinary", 20, seconds=0.01)

    setup.wait_ended(gated + ordinary)

    names = [run.name for run in setup.sweep.runs()]
    assert "ordinary" in names[:20] and "two" in names[:20], f"neither starves: {names}"
    assert setup.sweep.peak() == 1
