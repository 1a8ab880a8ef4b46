"""No-op tasks behind a limit that never binds, versus plain Celery; two workers of 4 processes each.

Once with results, as Celery's default is, and once without: less work in each task lets the cost of the
semaphore show more.
"""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.report import Goal, Row, medians
from benchmarks.side import Side


def rate(side: Side, number: int) -> float:
    """Tasks per second, between the first start and the last end."""
    runs = side.run("unbounded", number)
    return number / ((max(run.end for run in runs) - runs[0].start) / 1e9)


def run(bench: Bench) -> list[Row]:
    number = bench.choose(full=2000, quick=1500)
    rows = []
    for results in (True, False):
        with bench.gated(results=results) as gated, bench.plain(results=results) as plain:
            for side in (gated, plain):
                side.run("unbounded", 500)  # a first round is slower: every process opens its connections
            pairs = bench.interleave(lambda side: rate(side, number), gated, plain)
        kind = "with results" if results else "results ignored"
        rows.append(medians(f"no-op throughput, {kind}", "tasks/s", pairs, Goal(0.9, at_least=True)))
    return rows
