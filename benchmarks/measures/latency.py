"""An ordinary 5 ms task while 200 gated ones of 500 ms wait at a limit of 1, versus plain Celery at rest.

Latency is from just before `apply_async` to the end of the task; percentiles are over all rounds together.
"""

from __future__ import annotations

from benchmarks.analysis import percentile
from benchmarks.bench import Bench
from benchmarks.report import Goal, Row, compared
from benchmarks.side import Side

LOAD, LOAD_SECONDS = 200, 0.5


def latencies_ms(side: Side, number: int) -> list[float]:
    batch = side.new_batch()
    side.publisher.publish(tasks=["ordinary"], each=number, batch=batch, seconds=0.005, every=0.02, stamp=True)
    runs = side.finished(batch, number)
    return [(run.end - side.log.sent[batch, run.number]) / 1e6 for run in runs]


def run(bench: Bench) -> list[Row]:
    number = bench.choose(full=300, quick=200)
    with bench.gated() as gated, bench.plain() as plain:
        for side in (gated, plain):
            side.run("ordinary", 200)  # every pool process has seen a task
        load = gated.new_batch()
        if not bench.null:
            gated.publisher.publish(tasks=["limit1"], each=LOAD, batch=load, seconds=LOAD_SECONDS)
        pairs = bench.interleave(lambda side: latencies_ms(side, number), gated, plain)
        gated.log.read()
        if not bench.null and not 0 < gated.log.ended[load] < LOAD:
            raise RuntimeError(f"{gated.log.ended[load]} of the {LOAD} waiting tasks have ended: no load to speak of")
    ours, theirs = ([value for values in side for value in values] for side in zip(*pairs))
    rows = []
    for share in (0.5, 0.99):
        figure = f"ordinary task p{share * 100:.0f}"
        rows.append(compared(figure, "ms", percentile(ours, share), percentile(theirs, share), Goal(1.1)))
    return rows
