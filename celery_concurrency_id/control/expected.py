"""When a waiting task is expected to start and to end.

From Gradio's queue (``gradio/queueing.py``) comes what is added up: the average times of the tasks ahead, shared by the
slots, and the time until slots are free. Here each slot takes the next task when its own is expected to end, as the
workers do, and a range is told instead of one number.

For a task with k others ahead at a limit of L, with times that were observed for each task's name (mean m, standard
deviation s of the last ones; after a single one, s = m)::

    left of a task that runs for a seconds     m - a,  between  m - 2s - a  and  m + 2s - a
                                               (once it is over its time, up to as long again as it is over)
    d = sum of m over those ahead / k          what each of them takes
    start = when the slots, each free after what is left in it, have begun k others that take d each
    spread = 2 * sqrt(sum of s^2 over those ahead + (sum of s / sqrt(n) over those ahead)^2) / L
             n: how many times were observed, 19 at the most, since older ones are forgotten
    range of the start: that with the least left in each slot - spread, to that with the most + spread
    end = start + m, between start + m - 2s and start + m + 2s, of the task's own name
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..semaphore.positions import LineState, Times

__all__ = ("Expected", "end_of", "left_of", "start_of")

#: Standard deviations to each side.
_WIDTH = 2.0
#: An exponential average with a weight of a tenth knows as much as so many observations.
_KNOWN = 19
#: Seconds after which a task that waits beside a free slot does so because no worker has a place for it.
_HELD_UP = 2.0
#: Tasks ahead up to which the slots are filled one by one.
_ONE_BY_ONE = 64


@dataclass(frozen=True)
class Expected:
    """A time that is expected, in seconds from when it was asked for.

    Attributes:
        low: Hardly before this.
        likely: About this.
        high: Hardly after this.
    """

    low: float
    likely: float
    high: float


def _deviation(times: Times) -> float:
    if times.number < 2:
        return times.mean
    few = times.number / (times.number - 1) if times.number < _KNOWN else 1.0
    return math.sqrt(max(times.variance, 0.0) * few)


def left_of(times: Times | None, age: float) -> Expected | None:
    """Return how much longer a task runs that has run for ``age`` seconds; None where such tasks are not known."""
    if times is None:
        return None
    deviation = _WIDTH * _deviation(times)
    left = times.mean - age
    return Expected(max(left - deviation, 0.0), max(left, 0.0), max(left + deviation, -left, 0.0))


def start_of(
    state: LineState, ahead: Sequence[tuple[str, int]], known_left: dict[int, Any] | None = None
) -> Expected | None:
    """Return when a task starts that waits; None where nobody can tell.

    That is: while the id is paused, or no worker serves it, or none of those who do has a place; and where no task of
    a name that runs, or that is ahead, has ended yet.

    Args:
        ahead: Name and number of the tasks ahead of it.
        known_left: The same dict for all that wait in one line at one time, to spare what they have in common.
    """
    if state.paused or not state.alive or state.limit is None:
        return None
    count = sum(number for _, number in ahead)
    limit = state.limit or math.inf
    held_up = state.first is not None and state.time - state.first > _HELD_UP
    if count < limit - state.running and not held_up:
        return Expected(state.recovery, state.recovery, state.recovery)
    if state.running < limit and held_up:
        limit = state.running  # the workers have no place for more
    if not 1 <= limit < math.inf:
        return None
    slots, known = int(limit), [(state.times.get(name), number) for name, number in ahead if number]
    if any(times is None for times, _ in known):
        return None
    takes = sum(times.mean * number for times, number in known if times) / count if count else 0.0
    if known_left is None or not state.slots:
        left = _left_in_slots(state, slots, takes)
    else:
        if slots not in known_left:
            known_left[slots] = _left_in_slots(state, slots, takes)
        left = known_left[slots]
    if left is None:
        return None
    by_chance = sum(_deviation(times) ** 2 * number for times, number in known if times)
    unknown = sum(_deviation(times) * number / math.sqrt(min(times.number, _KNOWN)) for times, number in known if times)
    spread = _WIDTH * math.sqrt(by_chance + unknown**2) / slots
    low, likely, high = (_begun(each, count, takes) for each in left)
    return Expected(max(low - spread, 0.0), likely, high + spread)


def end_of(start: Expected | None, own: Times | None) -> Expected | None:
    """Return when a task ends that starts then; None where that is not known, or no such task has ended yet."""
    if start is None or own is None:
        return None
    deviation = _WIDTH * _deviation(own) * math.sqrt(1 + 1 / min(own.number, _KNOWN))
    return Expected(
        start.low + max(own.mean - deviation, 0.0), start.likely + own.mean, start.high + own.mean + deviation
    )


def _left_in_slots(state: LineState, slots: int, takes: float) -> tuple[list[float], list[float], list[float]] | None:
    """Return after how many seconds each slot is free, in order: at the least, likely, at the most."""
    if state.running and not state.slots:
        # Too many to look at each: as if they had started one after the other.
        evenly = [takes * (number + 1) / slots for number in range(slots)]
        return evenly, evenly, evenly
    each = [
        left_of(state.times.get(slot.name), state.time - slot.since) if slot.running else Expected(0.0, 0.0, 0.0)
        for slot in state.slots
    ]
    known = [left for left in each if left is not None]
    if len(known) < len(each):
        return None
    free = [0.0] * (slots - len(each))
    # Where more run than may, by a limit that was lowered, the first to end make no room.
    over = max(len(each) - slots, 0)
    low, likely, high = (
        sorted([*free, *(getattr(left, name) for left in known)])[over:] for name in ("low", "likely", "high")
    )
    return low, likely, high


def _begun(left: list[float], count: int, takes: float) -> float:
    """Return when slots that are free after these seconds have begun so many tasks, and one of them is free again."""
    if count <= _ONE_BY_ONE or takes <= 0:
        free = list(left)  # sorted, and so a heap
        for _ in range(count if takes > 0 else 0):
            heapq.heapreplace(free, free[0] + takes)
        return free[0]
    # All of them together, as if they were water: how high it stands once that much was poured in. What is poured last
    # is begun, not done.
    work, base = count * takes, 0.0
    for number, each in enumerate(left, 1):
        base += each
        level = (work + base) / number
        if number == len(left) or level <= left[number]:
            return level - takes * (number - 1) / (2 * number)
    raise AssertionError("there is at least one slot")
