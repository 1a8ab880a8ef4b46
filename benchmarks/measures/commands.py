"""Redis commands of a gated task, by MONITOR (scripts' inner commands left out), less those of a plain task.

All that clients send from the first publish to the last end counts: broker, results, semaphore, heartbeats.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.monitor import Monitor
from benchmarks.report import Goal, Row
from benchmarks.side import Side


def commands_per_task(bench: Bench, side: Side, number: int, seconds: float) -> tuple[float, float]:
    """Commands to broker and results, and to the semaphore."""
    batch = side.new_batch()
    with Monitor(bench.redis.port) as monitor:
        side.publisher.publish(tasks=["limit2"], each=number, batch=batch, seconds=seconds)
        side.finished(batch, number)
    return monitor.count(side.config.backend) / number, monitor.count(side.config.semaphore) / number


def run(bench: Bench) -> list[Row]:
    number = bench.choose(full=400, quick=200)
    rows = []
    with bench.gated() as gated, bench.plain() as plain:
        for side in (gated, plain):
            side.run("limit2", 50, places=2)  # connections and scripts are there
        for seconds in (0.01, 0.1):
            common, semaphore = commands_per_task(bench, gated, number, seconds)
            plain_common, _ = commands_per_task(bench, plain, number, seconds)
            label = f"limit 2, {number} tasks of {seconds * 1000:.0f} ms"
            extra = Row(f"commands beyond plain's, {label}", "per task", common + semaphore - plain_common)
            rows += [
                Row(extra.figure, extra.unit, extra.ours, goal=Goal(6, of_ratio=False)),
                Row("  of these to the semaphore", "per task", semaphore),
                Row("  broker and results", "per task", common, plain_common),
            ]
    return rows
