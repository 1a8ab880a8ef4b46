"""Where 100,000 waiting tasks of one id stand: one look, a look for thousands who watch, and what that costs others."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import redis

from benchmarks.bench import Bench
from benchmarks.monitor import Monitor
from benchmarks.report import Goal, Row
from celery_concurrency_id.control.positions import Positions, positions_of
from celery_concurrency_id.semaphore.announcer import Announcer


def application(bench: Bench, namespace: str) -> Any:
    from celery import Celery

    app = Celery(namespace, broker=bench.redis.fresh_url(), set_as_current=False)
    app.conf.concurrency_namespace = namespace
    return app


def announced(app: Any, number: int) -> list[str]:
    """Announce tasks of two names, half of each, as producers do; return their ids."""
    announcer = Announcer(app.conf.broker_url, app.conf.concurrency_namespace)
    tasks = [f"task-{index:06}" for index in range(number)]
    for index, task in enumerate(tasks):
        announcer.announce("gpu", task, 0, kind=" odd" if index % 2 else " even")
    announcer.say_last()
    return tasks


def milliseconds(positions: Positions, tasks: list[str], times: int) -> float:
    """Milliseconds of one look at so many tasks, all at once."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        positions.of_many(tasks, None, "gpu")
        took.append(time.perf_counter() - began)
    return median(took) * 1000


def server_microseconds(app: Any, positions: Positions, tasks: list[str]) -> float:
    """Microseconds of the server's processor for each of so many tasks."""
    with redis.Redis.from_url(app.conf.broker_url) as client:
        client.config_resetstat()
        positions.of_many(tasks, None, "gpu")
        stats: Any = client.info("commandstats")
    return float(stats["cmdstat_evalsha"]["usec"]) / len(tasks)


def run(bench: Bench) -> list[Row]:
    many, few, watchers = bench.choose(100_000, 20_000), 100, bench.choose(5_000, 2_000)
    crowd, small = application(bench, "crowd"), application(bench, "small")
    waiting, handful = announced(crowd, many), announced(small, few)
    everybody, nobody_else = positions_of(crowd), positions_of(small)
    step = many // watchers
    single = [milliseconds(each, tasks[-1:], 200) for each, tasks in ((everybody, waiting), (nobody_else, handful))]
    watched = waiting[::step][:watchers]
    batch = milliseconds(everybody, watched, bench.rounds)
    server = server_microseconds(crowd, everybody, watched)
    with Monitor(bench.redis.port) as monitor:
        everybody.of_many(watched, None, "gpu")
    scripts = monitor.count(crowd.conf.broker_url)
    return [
        Row(f"one look among {many} waiting / {few}", "ms", single[0], single[1], single[0] / single[1], Goal(2.0)),
        Row(f"one look for {watchers} who watch", "ms", batch),
        Row("  commands of it", "scripts", scripts),
        Row("  Redis' processor time of it, for each who watches", "us", server, goal=Goal(50, of_ratio=False)),
    ]
