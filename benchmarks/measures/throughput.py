"""No-op tasks behind a limit that never binds, versus plain Celery; two workers of 4 processes each.

Once with results, as Celery's default is, and once without: less work in each task lets the cost of the
semaphore show more. The workers' processor time for each task says the same with less noise.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.report import Goal, Row, medians
from benchmarks.side import Side


def rate_and_cost(side: Side, number: int) -> tuple[float, float]:
    """Tasks per second between the first start and the last end, and processor time of a task in microseconds."""
    batch = side.new_batch()
    with side.held("unbounded", side.places):
        side.publisher.publish(tasks=["unbounded"], each=number, batch=batch)
        before = side.cpu_seconds()
    runs = side.finished(batch, number)
    cost = (side.cpu_seconds() - before) / number
    return number / ((max(run.end for run in runs) - runs[0].start) / 1e9), cost * 1e6


def run(bench: Bench) -> list[Row]:
    number = bench.choose(full=2000, quick=1500)
    rows = []
    for results in (True, False):
        with bench.gated(results=results) as gated, bench.plain(results=results) as plain:
            for side in (gated, plain):
                side.run("unbounded", 500)  # a first round is slower: every process opens its connections
            pairs = bench.interleave(lambda side: rate_and_cost(side, number), gated, plain)
        kind = "with results" if results else "results ignored"
        rates, costs = ([(ours[i], theirs[i]) for ours, theirs in pairs] for i in (0, 1))
        rows.append(medians(f"no-op throughput, {kind}", "tasks/s", rates, Goal(0.9, at_least=True)))
        rows.append(medians("  processor time of the workers", "us per task", costs))
    return rows
