"""1000 ids with a limit of 1 and 5 no-op tasks each, published id by id, versus plain Celery without limits.

The time is from the first publish to the last end.
"""

from __future__ import annotations

from benchmarks.analysis import inverted_pairs
from benchmarks.bench import Bench
from benchmarks.config import id_names
from benchmarks.report import Goal, Row, medians
from benchmarks.side import Side

IDS, EACH = 1000, 5


def time_and_inversions(side: Side) -> tuple[float, float]:
    batch = side.new_batch()
    answer = side.publisher.publish(tasks=id_names(IDS), each=EACH, batch=batch)
    runs = side.finished(batch, IDS * EACH)
    return (max(run.end for run in runs) - answer["began"]) / 1e9, inverted_pairs(runs)


def run(bench: Bench) -> list[Row]:
    with bench.gated(ids=IDS) as gated, bench.plain(ids=IDS) as plain:
        pairs = bench.interleave(time_and_inversions, gated, plain)
    inverted = max(ours[1] for ours, _ in pairs)
    return [
        medians("1000 ids of 5 tasks", "s", [(ours[0], theirs[0]) for ours, theirs in pairs], Goal(1.3)),
        Row("inverted pairs within an id", "share (worst round)", inverted, goal=Goal(0.0, of_ratio=False)),
    ]
