"""Redis commands of one idle worker with 1, 20 and 1000 ids of its own, by MONITOR.

"Semaphore" is the goal's figure; what the broker and the result backend see stands beside a plain worker's.
"""

from __future__ import annotations

import time

from benchmarks.bench import Bench
from benchmarks.config import id_names
from benchmarks.monitor import Monitor
from benchmarks.report import Goal, Row
from benchmarks.workers import WorkerSpec


def run(bench: Bench) -> list[Row]:
    seconds = bench.choose(full=60, quick=15)
    one_worker = [WorkerSpec(4)]
    rows = []
    for ids in (1, 20, 1000):
        with bench.gated(one_worker, ids=ids) as gated, bench.plain(one_worker, ids=ids) as plain:
            for side in (gated, plain):
                # Every id has had work, and its end has been seen, before silence is measured.
                batch = side.new_batch()
                side.publisher.publish(tasks=id_names(ids), batch=batch)
                side.finished(batch, ids)
            time.sleep(2.0)  # what the batch has left to do is over
            with Monitor(bench.redis.port) as monitor:
                time.sleep(seconds)  # this is the measurement: a stretch of time in which nothing happens
            rows.append(
                Row(
                    f"idle semaphore commands, {ids} ids",
                    "per second",
                    monitor.count(gated.config.semaphore) / seconds,
                    goal=Goal(1.0, of_ratio=False),
                )
            )
            ours, theirs = (monitor.count(side.config.backend) / seconds for side in (gated, plain))
            rows.append(Row("  broker and results", "per second", ours, theirs))
    return rows
