"""One task at a time, published to idle workers, versus plain Celery: how quickly does an idle worker wake?

The time is from just before `apply_async` to the start of the task; percentiles are over all rounds together.
"""

from __future__ import annotations

from functools import partial

from benchmarks.analysis import percentile
from benchmarks.bench import Bench
from benchmarks.report import Row, compared
from benchmarks.side import Side


def wakes_ms(side: Side, task: str, number: int) -> list[float]:
    batch = side.new_batch()
    side.publisher.publish(tasks=[task], each=number, batch=batch, every=0.1, stamp=True)
    return [(run.start - side.log.sent[batch, run.number]) / 1e6 for run in side.finished(batch, number)]


def run(bench: Bench) -> list[Row]:
    number = bench.choose(full=30, quick=20)
    rows = []
    with bench.gated() as gated, bench.plain() as plain:
        for side in (gated, plain):
            side.run("limit8", 50, places=8)  # every process has seen a task
        for task in ("limit1", "limit8"):
            pairs = bench.interleave(partial(wakes_ms, task=task, number=number), gated, plain)
            ours, theirs = ([value for values in side for value in values] for side in zip(*pairs))
            for share in (0.5, 0.99):
                figure = f"publish to start, idle, {task}, p{share * 100:.0f}"
                rows.append(compared(figure, "ms", percentile(ours, share), percentile(theirs, share)))
    return rows
