"""Order of starts at a limit of 1, shared by two workers, versus the order of publishing."""

from __future__ import annotations

from benchmarks.analysis import inverted_pairs
from benchmarks.bench import Bench
from benchmarks.report import Goal, Row


def run(bench: Bench) -> list[Row]:
    number = bench.choose(full=1000, quick=400)
    shares = []
    with bench.gated() as gated:
        for _ in range(bench.rounds):
            batch = gated.new_batch()
            # Published into running workers, not behind a gate: queue and slot go from empty to full and back.
            gated.publisher.publish(tasks=["limit1"], each=number, batch=batch)
            shares.append(inverted_pairs(gated.finished(batch, number)))
    return [Row("inverted pairs at limit 1", "share (worst round)", max(shares), goal=Goal(0.0, of_ratio=False))]
