"""How soon slots are usable again: each goal with its figure, which is printed with the campaign's table."""

from __future__ import annotations

import os
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import pytest
from kombu.transport.redis import Channel as RedisChannel

from celery_concurrency_id.semaphore.semaphore import SHORT_TIER
from faults.observer import PREFIX
from faults.report import Measure
from harness.fixtures import for_each_broker
from harness.servers import Servers
from harness.setup import Setup
from harness.waiting import PATIENCE, wait

pytestmark = [pytest.mark.faults, pytest.mark.slow]

RETRY = {"broker_connection_retry": True, "broker_connection_max_retries": None}
VISIBILITY = {"visibility_timeout": 8, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
FALSE_ALARMS = ("is gone;", "lease lapsed", "lost its state", "disagreed")


def first_start(setup: Setup, id: str | None, since: int, name: str | None = None) -> int | None:
    """When the first task began that began after some moment."""
    return next((run.start for run in setup.sweep.runs(id, name) if run.start > since), None)


def kill_and_wait(pid: int) -> int:
    """Kill a process; returns when (ns) it was dead."""
    watched = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([watched], [], [], 10)
    dead = time.monotonic_ns()
    os.close(watched)
    return dead


def test_the_slot_of_a_dead_pool_process_is_used_again_at_once(
    make_setup: Callable[..., Setup], measured: Measure
) -> None:
    # Not one of Celery's own means may help: these pools never learn that their only process is dead.
    setup = make_setup(workers=0, imports=["faults.blind"])
    setup.start_workers(5, concurrency=1)
    gate = setup.gate()
    setup.send_many("one", 5, gate=gate)
    seconds = []
    for count in range(1, 5):
        wait(lambda count=count: len(setup.sweep.runs("one")) == count, 15, lambda: setup.state())
        # Its worker knows by now which process has it.
        assert setup.app.control.ping(timeout=5, limit=5)
        died = kill_and_wait(setup.sweep.runs("one")[-1].pid)
        started = wait(lambda died=died: first_start(setup, "one", died), 15, lambda: setup.state())
        seconds.append((started - died) / 1e9)
    measured("pool process dead: its slot is used again", seconds, goal=0.1)

    assert len(setup.sweep.runs("one")) == 5
    assert statistics.median(seconds) < 1.0 * PATIENCE, seconds


def test_the_slots_of_a_killed_worker_are_usable_within_seconds(
    make_setup: Callable[..., Setup], measured: Measure
) -> None:
    setup = make_setup(workers=1)
    gate = setup.gate()
    setup.send_many("two", 8, gate=gate)
    seconds = []
    for count in (2, 4):
        setup.wait_running(count, "two")
        [victim] = [worker for worker in setup.workers if worker.container.status == "running"]
        setup.start_workers(1)
        victim.container.kill("SIGKILL")
        died = time.monotonic_ns()
        wait(lambda count=count: len(setup.sweep.runs("two")) == count + 2, 20, lambda: setup.state())
        seconds.append((setup.sweep.runs("two")[-1].start - died) / 1e9)
    measured("worker killed: all its slots are used again", seconds, goal=3.0)

    assert min(seconds) < 3.0 * PATIENCE, seconds
    assert max(seconds) < 6.0 * PATIENCE, seconds


@contextmanager
def busy_cores() -> Iterator[None]:
    """Twice as many processes as there are cores do nothing but compute."""
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def test_a_busy_machine_and_a_pool_that_holds_the_gil_are_no_dead_workers(
    make_setup: Callable[..., Setup], measured: Measure, long: bool
) -> None:
    setup = make_setup(workers=1, pool="threads", concurrency=1, imports=["faults.hog"])
    setup.start_workers(1, pool="prefork", concurrency=2, imports=[])
    client = setup.broker.container.client  # holds the slots as well
    known: set[str] = set()

    def joined() -> bool:
        known.update(client.zrange(PREFIX + "workers", 0, -1))
        return len(known) == 2

    wait(joined, 10, lambda: setup.state())  # a worker is ready before its lease has begun
    silences: list[float] = []
    until = time.monotonic() + (180 if long else 20)
    results: list[Any] = []
    with busy_cores():
        while time.monotonic() < until:
            if len(setup.sweep.lost({result.id for result in results})) < 4:
                results.append(setup.send("two", seconds=0.2))
            seconds, micros = client.time()
            silences += [
                int(seconds) + int(micros) / 1e6 - heard / 1e6
                for _, heard in client.zrange(PREFIX + "workers", 0, -1, withscores=True)
            ]
            time.sleep(0.01)  # between two looks
        setup.wait_ended(results, timeout=90)
    measured("machine busy, GIL held: the longest silence of a worker that nobody took for dead", [max(silences)])

    assert max(silences) > SHORT_TIER, "no worker was ever silent for so long that it could be taken for dead"
    said = [line for worker in setup.workers for line in worker.logs().splitlines()]
    assert not [line for line in said if any(alarm in line for alarm in FALSE_ALARMS)]
    assert set(client.zrange(PREFIX + "workers", 0, -1)) == known
    assert setup.sweep.peak("two") == 2
    assert not setup.sweep.twice()


def flush_before_all_can_tell(setup: Setup, pid: int) -> None:
    """Flush while the worker of one process is frozen, and let it go on once others had time to take its slots."""
    client = setup.backend.container.client
    [holder] = [worker for worker in setup.workers if pid in worker.children()]
    os.kill(holder.pid, signal.SIGSTOP)
    try:
        client.flushall()
        wait(lambda: client.zcard(PREFIX + "workers") == len(setup.workers) - 1, 15, lambda: setup.state())
        time.sleep(0.3)  # of the two seconds that it has to tell what it holds
    finally:
        os.kill(holder.pid, signal.SIGCONT)


@pytest.mark.parametrize("how", ["restarted empty", "flushed"])
def test_a_redis_without_its_data_lets_nobody_exceed_the_limit_and_loses_no_task(
    make_setup: Callable[..., Setup], measured: Measure, how: str
) -> None:
    """Where it restarts, its workers are back within milliseconds of each other: what may happen between them is the
    model's and the campaign's to show. Where it is flushed, one of them tells late what it holds."""
    setup = make_setup(
        broker="rabbitmq", workers=2, concurrency=6, concurrency_limits={"two": 4}, task_ignore_result=True
    )
    gate, container = setup.gate(), setup.backend.container
    outlasting = setup.send_many("two", 2, gate=gate)
    setup.wait_running(2, "two")
    results = setup.send_many("two", 98, seconds=0.1)
    seconds = []
    # Workers go on for a second with what they kept; the second outage is longer than that.
    for done, outage in ((10, 0.0), (34, 2.0)):
        wait(lambda done=done: len(setup.sweep.ended("two")) >= done, 60, lambda: setup.state())
        if how == "flushed":
            flush_before_all_can_tell(setup, setup.running("two")[0].pid)
        else:
            container.kill()
            time.sleep(outage)  # how long Redis is away
            container.start()
            container.ready()
        back = time.monotonic_ns()

        def starts(back: int = back) -> list[int]:
            return [run.start for run in setup.sweep.runs("two") if run.start > back]

        wait(lambda starts=starts: len(starts()) >= 12, 60, lambda: setup.state())
        seconds.append(max(then - start for start, then in zip([back, *starts()], starts())) / 1e9)
    gate.open()
    setup.wait_ended(outlasting + results, timeout=60)
    measured(f"Redis {how}: the longest time in which no task starts, once it is back", seconds, goal=3.0)

    assert setup.sweep.peak("two") == 4
    assert not setup.sweep.twice()
    assert min(seconds) < 3.0 * PATIENCE, seconds
    assert max(seconds) < 6.0 * PATIENCE, seconds


@for_each_broker
def test_after_the_broker_restarts_gated_tasks_come_back_as_fast_as_ordinary_ones(
    make_setup: Callable[..., Setup], servers: Servers, measured: Measure, broker: str
) -> None:
    node = servers.redis_broker(persistent=True) if broker == "redis" else servers.rabbitmq_broker(private=True)
    # kombu delivers what a lost Redis connection had prefetched, of any task, after this.
    options = {"broker_transport_options": VISIBILITY} if broker == "redis" else {}
    setup = make_setup(broker=node, workers=1, concurrency=8, worker_prefetch_multiplier=1, **options, **RETRY)
    # Every place of the worker is taken until the broker is gone, so that others are left for when it is back.
    gate = setup.gate()
    results = [setup.send(name, gate=gate) for name in ("two", *["ordinary"] * 6, "two")]
    setup.wait_running(8)
    results += [setup.send(name, seconds=0.1) for _ in range(10) for name in ("two", "ordinary")]

    begun = time.monotonic_ns()
    node.container.stop()
    gate.open()
    if setup.worker.container.status != "running":  # losing a Redis broker may end a worker: Celery's own
        setup.worker.container.start()
    # What the worker had in its hands when the broker went away is over.
    wait(lambda: not setup.running(), 15, lambda: setup.state())
    at = time.monotonic_ns()
    node.container.start()
    node.container.ready()
    if setup.worker.container.status != "running":
        setup.worker.container.start()
    for name in ("two", "ordinary"):
        wait(lambda name=name: first_start(setup, None, at, name), 60, lambda: setup.state())
    gated, ordinary = ((first_start(setup, None, at, name) - at) / 1e9 for name in ("two", "ordinary"))
    measured(f"broker restarted ({broker}): gated tasks start, after the broker is told to", [gated])
    measured(f"broker restarted ({broker}): ordinary tasks of the same worker start", [ordinary])
    setup.wait_ended(results, timeout=60)

    # The goal of issue and docs; where one Redis holds broker and slots, it includes a recovery of up to 2 s.
    assert gated < ordinary + 3.0 * PATIENCE
    assert setup.sweep.peak("two") == 2
    # Acknowledgements of what ran then were lost with the connection: at-least-once.
    excused = {run.task for run in setup.sweep.runs() if run.start < at and (run.end or at) > begun - 1_000_000_000}
    assert not set(setup.sweep.twice()) - excused


def test_a_wait_that_is_longer_than_the_visibility_timeout_runs_nothing_twice(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(workers=2, concurrency=2, broker_transport_options={**VISIBILITY, "visibility_timeout": 2})
    gate = setup.gate()
    first = setup.send("one", gate=gate)
    setup.wait_running(1, "one")
    waiting = setup.send_many("one", 6)
    # Ordinary tasks that are prefetched and wait for a process: plain Celery delivers them again.
    ordinary = [setup.send("ordinary", gate=gate) for _ in range(8)]
    begun = time.monotonic()
    wait(lambda: time.monotonic() - begun > 5, 30)
    gate.open()

    setup.wait_ended([first, *waiting, *ordinary], timeout=60)
    assert setup.sweep.peak("one") == 1
    gated = {first.id, *(result.id for result in waiting)}
    assert sorted(run.task for run in setup.sweep.runs("one")) == sorted(gated), "each ran once"
    if hasattr(RedisChannel, "unacked_restore_interval"):  # older kombus look every 100 s
        assert set(setup.sweep.twice()) - gated, "nothing was delivered again: the timeout was never over"
