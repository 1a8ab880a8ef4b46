"""Publishing from one process while both workers are up and busy, versus plain Celery."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.report import Goal, Row, medians
from benchmarks.side import Side


def rate(side: Side, number: int) -> float:
    """Messages per second of one publisher in a plain loop of `apply_async`."""
    batch = side.new_batch()
    # Both the limit and every process are taken, so that the workers' own work does not enter the figure.
    with side.held("limit8", places=8):
        answer = side.publisher.publish(tasks=["limit8"], each=number, batch=batch)
    side.finished(batch, number)
    return number / answer["seconds"]


def run(bench: Bench) -> list[Row]:
    number = bench.choose(full=2000, quick=1000)
    with bench.gated() as gated, bench.plain() as plain:
        for side in (gated, plain):
            rate(side, 300)  # opens connections
        pairs = bench.interleave(lambda side: rate(side, number), gated, plain)
    return [medians("publish rate", "messages/s", pairs, Goal(0.9, at_least=True))]
