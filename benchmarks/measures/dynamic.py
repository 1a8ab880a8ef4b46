"""10,000 ids made from arguments (2,000 on RabbitMQ) versus ten of them: cost of a task, idle commands, worker start.

Both take turns in the same workers and servers; every id of the many is alive before anything is measured.
"""

from __future__ import annotations

import time
from statistics import median

from benchmarks.bench import Bench
from benchmarks.monitor import Monitor
from benchmarks.report import Goal, Row, medians
from benchmarks.side import Side
from benchmarks.workers import TWO_WORKERS, Worker

FEW = 10


def seconds_and_cpu(side: Side, members: int, tasks: int) -> tuple[float, float]:
    """Seconds from the first publish to the last end, and the workers' processor time of a task in ms."""
    batch, before = side.new_batch(), side.cpu_seconds()
    answer = side.publisher.publish(tasks=[], members=members, each=tasks, batch=batch)
    runs = side.finished(batch, tasks)
    return (max(run.end for run in runs) - answer["began"]) / 1e9, (side.cpu_seconds() - before) / tasks * 1000


def start_seconds(side: Side, name: str) -> float:
    """Seconds until one more worker is ready."""
    ready, began = side.log.ready, time.monotonic()
    worker = Worker(name, TWO_WORKERS[0], side.config.to_environment(), side.directory)
    try:
        while side.log.ready == ready:
            time.sleep(0.005)  # between two looks
            side.log.read()
            worker.check()
        return time.monotonic() - began
    finally:
        worker.kill()


def idle(bench: Bench, side: Side) -> float:
    """Redis commands a second of the semaphore while nothing happens."""
    time.sleep(3.0)  # what the rounds before have left to do is over
    seconds = bench.choose(full=30, quick=10)
    with Monitor(bench.redis.port) as monitor:
        time.sleep(seconds)  # this is the measurement: a stretch of time in which nothing happens
    return monitor.count(side.config.semaphore) / seconds


def run(bench: Bench) -> list[Row]:
    many = bench.choose(full=2_000 if bench.broker == "rabbitmq" else 10_000, quick=1_000)
    tasks, starts = bench.choose(full=5_000, quick=1_000), []
    with bench.gated(results=False) as few, bench.gated(results=False) as gated, bench.plain(results=False) as plain:
        for side, members in ((few, FEW), (gated, many)):
            seconds_and_cpu(side, members, many)
        idle_pair = idle(bench, gated), idle(bench, few)
        rounds = bench.interleave(lambda side: seconds_and_cpu(side, many if side is gated else FEW, tasks), gated, few)
        for number in range(bench.rounds):
            starts.append((start_seconds(gated, f"late{number}"), start_seconds(plain, f"late{number}")))
    late = median(ours - theirs for ours, theirs in starts)
    return [
        medians(
            f"{tasks} tasks over {many} ids / {FEW} ids",
            "s",
            [(ours[0], theirs[0]) for ours, theirs in rounds],
            Goal(1.3),
        ),
        medians("  workers' processor time of a task", "ms", [(ours[1], theirs[1]) for ours, theirs in rounds]),
        Row(f"idle semaphore commands, {many} ids / {FEW} ids, 2 workers", "per second", *idle_pair),
        medians(f"start of a worker beside {many} ids / plain Celery", "s", starts),
        Row("  later than plain Celery", "s", late, goal=Goal(1.0, of_ratio=False)),
    ]
