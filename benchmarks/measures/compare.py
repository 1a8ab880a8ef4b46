"""Other ways to run at most two at once: tasks of 100 ms in a burst, and ordinary tasks of 5 ms beside them.

Eight places in each case. Ours stand beside each of the others; the exit code is about ours only.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median

from benchmarks.analysis import inverted_pairs, percentile, times_exceeded
from benchmarks.bench import Bench
from benchmarks.monitor import Monitor
from benchmarks.report import Row, compared
from benchmarks.side import Side

SECONDS, ORDINARY, EVERY = 0.1, 60, 0.05


@dataclass
class Figures:
    """Of one way, over all rounds."""

    took: float
    latencies: list[float]
    commands: float
    inverted: float
    peak: int
    exceeded: int


def peak(side: Side, batch: str) -> int:
    """The most that ran at once."""
    moments = [(run.start, 1) for run in side.log.runs(batch)] + [(run.end, -1) for run in side.log.runs(batch)]
    now = most = 0
    for _, step in sorted(moments):
        now += step
        most = max(most, now)
    return most


def measure(bench: Bench, side: Side, number: int) -> Figures:
    """Run all rounds of one way; nobody else's workers are alive."""
    warm = side.new_batch()
    side.publisher.publish(tasks=["ordinary", "limit2"], each=16, batch=warm)
    side.finished(warm, 32)
    took, latencies, commands, inverted, most = [], [], [], [], 0
    for _ in range(bench.rounds):
        limited, ordinary = side.new_batch(), side.new_batch()
        with Monitor(bench.redis.port) as monitor:
            began = side.publisher.publish(tasks=["limit2"], each=number, batch=limited, seconds=SECONDS)["began"]
            side.publisher.publish(
                tasks=["ordinary"], each=ORDINARY, batch=ordinary, seconds=0.005, every=EVERY, stamp=True
            )
            runs = side.finished(limited, number)
            others = side.finished(ordinary, ORDINARY)
        took.append((max(run.end for run in runs) - began) / 1e9)
        latencies += [(run.end - side.log.sent[ordinary, run.number]) / 1e6 for run in others]
        sent = sum(sum(counted.values()) for counted in monitor.commands.values())
        commands.append(sent / (number + ORDINARY))
        inverted.append(inverted_pairs(runs))
        most = max(most, peak(side, limited))
    exceeded = times_exceeded(side.log, {"limit2": 2})
    return Figures(median(took), latencies, median(commands), max(inverted), most, exceeded)


def run(bench: Bench) -> list[Row]:
    number = bench.choose(full=100, quick=60)
    ways: dict[str, AbstractContextManager[Side]] = {
        "dedicated worker": bench.dedicated_beside_others(),
        "rate_limit": bench.plain_with("rate_limit"),
        "lock and retry": bench.plain_with("retry"),
        "lock in the task": bench.plain_with("blocking"),
        "dramatiq": bench.plain_with("dramatiq"),
    }
    if bench.broker != "redis":
        del ways["dramatiq"]  # its app here knows Redis only
    with bench.gated() as gated:
        ours = measure(bench, gated, number)
    rows = []
    for name, way in ways.items():
        with way as side:
            theirs = measure(bench, side, number)
        rows += [
            compared(f"{name}: {number} tasks, ideal {number * SECONDS / 2:g}", "s", ours.took, theirs.took),
            Row("  most at once", "tasks", ours.peak, theirs.peak),
            Row("  started in another order", "share of pairs", ours.inverted, theirs.inverted),
            *(
                compared(
                    f"  ordinary task p{share * 100:.0f}",
                    "ms",
                    percentile(ours.latencies, share),
                    percentile(theirs.latencies, share),
                )
                for share in (0.5, 0.99)
            ),
            compared("  Redis commands", "per task", ours.commands, theirs.commands),
        ]
    return rows
