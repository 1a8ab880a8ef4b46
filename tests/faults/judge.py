"""From the tasks' own log of starts and ends to figures.

Which runs count against the limit: all of them, with two exceptions that the definition of a lease makes.

- A run ends when its process is killed; the test knows when, because it killed it.
- A worker that the test killed, froze or cut off loses its lease after a while. From the moment at which Redis ended
  that lease, as the observer saw it, the runs that worker had begun before no longer count: others may have
  their slots. Runs it begins between that moment and its next lease must not exist (``unleased``), save for those that
  it had handed to its pool before it was frozen.

When Redis itself is broken nobody is excused, however long that takes: every worker lives.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from faults.observer import Observer
from harness.sweep import FOREVER, Run

#: A frozen worker's pool may begin, once it wakes, what it had been handed before.
HANDED_OVER = 250_000_000
#: A lease can end a little after the fault is over: a half-open connection is only noticed by its silence.
AFTERWARDS = 4_000_000_000


@dataclass
class Injury:
    """What a fault did, in ns of CLOCK_MONOTONIC.

    Attributes:
        at: When it began.
        over: From when on everything that is needed for full capacity is there.
        lapsing: Workers whose lease may end because of it.
        muted: Workers that may not have been able to acknowledge what they ran, or to learn what they were given.
        dead_pids: Processes that were killed.
        dead_hosts: Workers all of whose processes were killed or ended by a cold shutdown.
        notes: Figures of this fault's own.
    """

    at: int
    over: int
    lapsing: frozenset[str] = frozenset()
    muted: frozenset[str] = frozenset()
    dead_pids: frozenset[int] = frozenset()
    dead_hosts: frozenset[str] = frozenset()
    notes: dict[str, float] = field(default_factory=dict)

    def killed(self, run: Run) -> bool:
        """Whether it killed the process of a run that had not ended."""
        dead = run.pid in self.dead_pids or run.tag["host"] in self.dead_hosts
        return dead and run.end is None and run.start <= self.over

    def harmed(self, run: Run) -> bool:
        """Whether it may have kept a run from being acknowledged."""
        touched = self.killed(run) or run.tag["host"] in self.lapsing | self.dead_hosts | self.muted
        return touched and run.start <= self.over and (run.end is None or run.end >= self.at - 1_000_000_000)

    def overlaps(self, run: Run) -> bool:
        """Whether a run was under way, or had just ended, when the fault struck."""
        return run.start <= self.over and (run.end is None or run.end >= self.at - 1_000_000_000)


def counted(runs: list[Run], injuries: list[Injury], observer: Observer) -> list[tuple[int, int]]:
    """The time in which each run counts against the limit."""
    spans = []
    waking, _ = unleased(runs, injuries, observer)
    for run in runs:
        if run in waking:
            continue
        end = FOREVER if run.end is None else run.end
        for injury in injuries:
            if injury.killed(run):
                end = min(end, injury.at)
            if run.tag["host"] in injury.lapsing and end >= injury.at:
                lapse = observer.lapse(run.tag["host"], injury.at)
                if lapse is not None and run.start <= lapse <= injury.over + AFTERWARDS:
                    end = min(end, lapse)
        if end > run.start:
            spans.append((run.start, end))
    return spans


def peak(spans: list[tuple[int, int]]) -> int:
    """The highest number at once."""
    now = highest = 0
    for _, change in sorted(change for start, end in spans for change in ((start, 1), (end, -1))):
        now += change
        highest = max(highest, now)
    return highest


def unleased(runs: list[Run], injuries: list[Injury], observer: Observer) -> tuple[list[Run], list[Run]]:
    """Runs that a worker began although its lease had ended: on waking, and at other times."""
    waking, others = [], []
    for run in runs:
        host = run.tag["host"]
        mine = [injury for injury in injuries if host in injury.lapsing and run.start >= injury.at]
        lapses = [observer.lapse(host, injury.at) for injury in mine if not injury.killed(run)]
        if not any(lapse is not None and run.start > lapse for lapse in lapses) or observer.leased(host, run.start):
            continue
        woke = any(injury.over <= run.start <= injury.over + HANDED_OVER for injury in mine)
        (waking if woke else others).append(run)
    return waking, others


def full_since(spans: list[tuple[int, int]], limit: int, since: int) -> int | None:
    """When, after some moment, a task began and made as many run at once as the limit allows."""
    now = 0
    for at, change in sorted(change for start, end in spans for change in ((start, 1), (end, -1))):
        now += change
        if now >= limit and change > 0 and at >= since:
            return at
    return None


def idle(spans: list[tuple[int, int]], limit: int, since: int, until: int) -> float:
    """Seconds between two moments in which a slot or more stood idle: what a fault cost after it was over."""
    now, last, seconds = 0, since, 0
    for at, change in sorted(change for start, end in spans for change in ((start, 1), (end, -1))):
        at = min(max(at, since), until)
        if now < limit:
            seconds += at - last
        last = at
        now += change
    return seconds / 1e9
