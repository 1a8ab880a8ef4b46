"""Looking again where a task was announced and its queue is empty: RabbitMQ may show a message later than that.

First a slot waits for the message, for less than a tenth of a second in all. Then the slot goes back, and only the
queue's length is looked up, for about half a minute, ever more seldom. The safety poll finds what comes even later.
"""

from __future__ import annotations

import math
from typing import Any, Callable

from .compat import clock
from .slot import Slot

__all__ = ("Looks",)

#: Seconds before each look that a slot waits for.
WITH_SLOT = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
#: Seconds before the first look without a slot, and the most between two.
FIRST, LONGEST = 0.1, 2.0
#: Seconds after which an id is left to the safety poll.
GIVE_UP = 30.0
#: How many ids are looked at; so many that one round of looks takes some seconds.
_MOST = 400
#: Seconds between two batches of lengths, so that other work has its turn.
_BETWEEN = 0.05


class Looks:
    """The ids whose announced tasks have not shown up.

    The looks of an id count on from slot to slot, and the pauses go on growing until a message has come: an id that is
    announced and stays empty must not bring a worker one slot after the other.

    Args:
        loop: Where everything runs.
        found: Called with the lengths of queues that are not empty.
    """

    def __init__(self, loop: Any, found: Callable[[dict[str, int]], Any]) -> None:
        self._loop = loop
        self._found = found
        self._clock = clock()
        self._fetcher: Any = None
        self._left_off: dict[str, int] = {}
        #: When to look next, the pause before that, and until when to go on.
        self._late: dict[str, tuple[float, float, float]] = {}
        self._timers = 0  # names the newest timer: those of a lost broker may or may not survive it
        self._next = math.inf  # when that goes off

    def attach(self, fetcher: Any) -> None:
        """The broker is connected."""
        self._fetcher = fetcher
        self._next = math.inf
        if self._late:
            self._look_at(self._clock() + FIRST)

    def detach(self) -> None:
        """The broker is gone; what is looked for is looked for again when it is back."""
        self._fetcher = None

    def granted(self, slot: Slot) -> None:
        """A slot came; it goes on where the last one of its id, which went back for want of a place, had to stop."""
        slot.looks = self._left_off.pop(slot.id, 0)

    def given_back(self, slot: Slot) -> None:
        """A slot goes back, maybe before it has looked enough."""
        if slot.fresh and slot.looks:
            self._left_off[slot.id] = slot.looks

    def pause(self, slot: Slot) -> float | None:
        """Return the seconds before a slot that found nothing is to look again; None once it has looked enough."""
        if slot.looks >= len(WITH_SLOT):
            return None
        slot.looks += 1
        return WITH_SLOT[slot.looks - 1]

    def go_on(self, id: str) -> None:
        """The slot goes back: look on without one."""
        if id not in self._late and len(self._late) >= _MOST:
            return
        now = self._clock()
        _, pause, _ = self._late.get(id, (now, FIRST, now))
        self._late[id] = (now + pause, pause, now + GIVE_UP)
        self._look_at(now + pause)

    def fetched(self, id: str) -> None:
        """A message of an id has come."""
        if id in self._late:
            when, _, until = self._late[id]
            self._late[id] = (when, FIRST, until)

    def _look_at(self, when: float) -> None:
        if when < self._next:
            self._next = when
            self._timers += 1
            self._loop.call_later(max(when - self._clock(), 0.0), self._look, self._timers)

    def _look(self, timer: int) -> None:
        fetcher = self._fetcher
        if timer != self._timers or fetcher is None:
            return
        self._next = math.inf
        now = self._clock()
        due = sorted((entry[0], id) for id, entry in self._late.items() if entry[0] <= now)
        ids = [id for _, id in due[: fetcher.batch]]
        for id in ids:
            _, pause, until = self._late.pop(id)
            if now < until:
                pause = min(2 * pause, LONGEST)
                self._late[id] = (now + pause, pause, until)
        if self._late:
            self._look_at(max(min(entry[0] for entry in self._late.values()), now + _BETWEEN))
        lengths = fetcher.lengths(ids)
        here = {id: length for id, length in lengths.items() if length}
        if here:
            self._found(here)
