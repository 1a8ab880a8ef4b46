"""The last minutes: how many ran and waited, as those who looked have seen it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from ..control.views import IdStatus

__all__ = ("SPAN", "STEP", "History")

#: Seconds that are kept, and seconds of which the most is kept.
SPAN, STEP = 600, 5
#: Seconds over which a rate is taken.
_RATE = 60.0


class _Seen(NamedTuple):
    """The most that was seen within a step, and how the last look in it was."""

    running: int
    waiting: int
    limit: int | None
    taken: int
    at: float


class History:
    """Keeps what was seen of some ids. Nobody looked: there is a gap. May be shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, OrderedDict[int, _Seen]] = {}

    def add(self, now: float, statuses: Iterable[IdStatus]) -> None:
        """Keep what a look has seen of these ids."""
        with self._lock:
            self._add(int(now // STEP), now, statuses)

    def _add(self, number: int, now: float, statuses: Iterable[IdStatus]) -> None:
        for each in statuses:
            steps = self._seen.setdefault(each.id, OrderedDict())
            before = steps.get(number)
            running, waiting = each.running, each.waiting
            if before:
                running, waiting = max(running, before.running), max(waiting, before.waiting)
            steps[number] = _Seen(running, waiting, each.limit, each.taken, now)
        oldest = number - SPAN // STEP
        for id, steps in list(self._seen.items()):
            while steps and next(iter(steps)) <= oldest:
                steps.popitem(last=False)
            if not steps:
                del self._seen[id]

    def line(self, id: str, now: float, step: int) -> list[tuple[int, int, int | None] | None]:
        """Return the most that ran and waited, and the limit, in each step of so many seconds, the oldest first.

        Args:
            step: A multiple of ``STEP``.
        """
        size = step // STEP
        last = int(now // STEP) // size
        line: list[tuple[int, int, int | None] | None] = [None] * (SPAN // step)
        for number, seen in self._steps(id):
            place = number // size - last - 1
            if -len(line) <= place < 0:
                before = line[place]
                running, waiting = seen.running, seen.waiting
                if before:
                    running, waiting = max(running, before[0]), max(waiting, before[1])
                line[place] = (running, waiting, seen.limit)
        return line

    def rate(self, id: str, now: float) -> float | None:
        """Return the tasks per second that left the queue in the last minute; None where nobody looked twice."""
        seen = [each for _, each in self._steps(id) if each.at >= now - _RATE]
        if len(seen) < 2:
            return None
        return max(0, seen[-1].taken - seen[0].taken) / max(0.001, seen[-1].at - seen[0].at)

    def _steps(self, id: str) -> list[tuple[int, _Seen]]:
        with self._lock:
            return list(self._seen.get(id, {}).items())
