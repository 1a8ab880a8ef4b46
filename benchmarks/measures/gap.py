"""Hand-off from one task to the next, and slot use, versus one dedicated worker `--concurrency=LIMIT`.

The limit is shared by two workers of 4 processes each. Percentiles are over the gaps of all rounds together.
"""

from __future__ import annotations

from benchmarks.analysis import gaps_ms, percentile, slot_use
from benchmarks.bench import Bench
from benchmarks.report import Goal, Row, compared, medians
from benchmarks.side import Side

#: Slot use has goals at a limit of 2: an absolute one for long tasks, a share of the dedicated worker's for short.
USE_GOALS = {(2, 0.1): Goal(0.985, at_least=True, of_ratio=False), (2, 0.01): Goal(0.97, at_least=True)}


def compare(bench: Bench, gated: Side, dedicated: Side, limit: int, seconds: float) -> list[Row]:
    """Gaps and slot use with one limit and one length of task."""
    number = limit * (bench.choose(40, 12) if seconds >= 0.1 else bench.choose(200, 60))
    pairs = bench.interleave(lambda side: side.run(f"limit{limit}", number, seconds, places=limit), gated, dedicated)
    label = f"limit {limit}, {seconds * 1000:.0f} ms tasks"
    goal = Goal(1.0) if seconds >= 0.1 else None
    ours, theirs = ([gap for runs in side for gap in gaps_ms(runs, limit)] for side in zip(*pairs))
    rows = []
    for share in (0.5, 0.99):
        figure = f"gap p{share * 100:.0f}, {label}"
        rows.append(compared(figure, "ms", percentile(ours, share), percentile(theirs, share), goal))
    uses = [(slot_use(gated_runs, limit), slot_use(dedicated_runs, limit)) for gated_runs, dedicated_runs in pairs]
    return [*rows, medians(f"slot use, {label}", "share", uses, USE_GOALS.get((limit, seconds)))]


def run(bench: Bench) -> list[Row]:
    rows = []
    for limit in (1, 2, 8):
        # Only the two sides that are compared are alive: idle workers also take turns on the processor.
        ours = bench.dedicated(limit) if bench.null else bench.gated()
        with ours as gated, bench.dedicated(limit) as dedicated:
            for side in (gated, dedicated):
                side.run(f"limit{limit}", 20 * limit, places=limit)  # every process has seen a task
            for seconds in (0.1, 0.01):
                rows += compare(bench, gated, dedicated, limit, seconds)
    return rows
