"""Figures from runs."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.tasklog import Run, TaskLog


@dataclass
class Faults:
    """What must never happen in a run without a fault."""

    exceeded: int = 0
    lost: int = 0
    twice: int = 0

    def add(self, other: Faults) -> None:
        self.exceeded += other.exceeded
        self.lost += other.lost
        self.twice += other.twice

    def __bool__(self) -> bool:
        return bool(self.exceeded or self.lost or self.twice)

    def __str__(self) -> str:
        return f"limit exceeded {self.exceeded}, lost {self.lost}, run twice {self.twice}"


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` 0.5 is the median."""
    ordered = sorted(values)
    rank = max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)
    return ordered[rank]


def times_exceeded(log: TaskLog, limits: dict[str, int]) -> int:
    """How many starts found the limit of their task already reached."""
    moments: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for run in log.all_runs():
        moments[run.task] += [(run.start, +1), (run.end, -1)]
    for task, start in log.running_starts():
        moments[task].append((start, +1))
    exceeded = 0
    for task, limit in limits.items():
        running = 0
        for _, step in sorted(moments[task]):  # an end sorts before a start of the same nanosecond
            running += step
            exceeded += step > 0 and running > limit
    return exceeded


def batch_faults(log: TaskLog, batch: str, published: int) -> Faults:
    counts = Counter(run.number for run in log.runs(batch))
    return Faults(lost=published - len(counts), twice=sum(count - 1 for count in counts.values()))


def gaps_ms(runs: Iterable[Run], limit: int) -> list[float]:
    """Time from each end to the start that took the freed place, while work was waiting.

    With `limit` places, the k-th end makes room for the start number k + limit.
    """
    runs = list(runs)
    starts = sorted(run.start for run in runs)
    ends = sorted(run.end for run in runs)
    return [(start - end) / 1e6 for start, end in zip(starts[limit:], ends)]


def slot_use(runs: Sequence[Run], limit: int) -> float:
    """Share of the places that were busy between the moment all were taken and the last start."""
    starts = sorted(run.start for run in runs)
    begin, end = starts[limit - 1], starts[-1]
    busy = sum(max(0, min(run.end, end) - max(run.start, begin)) for run in runs)
    return busy / (limit * (end - begin))


def inverted_pairs(runs: Sequence[Run]) -> float:
    """Share of the pairs of one task that started in the opposite order of their publishing; 0.5 is random."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.start):
        numbers[run.task].append(run.number)
    pairs = inverted = 0
    for sequence in numbers.values():
        seen: list[int] = []
        for number in sequence:
            inverted += len(seen) - bisect_left(seen, number)
            pairs += len(seen)
            insort(seen, number)
    return inverted / pairs if pairs else 0.0
