"""Gets that are under way: RabbitMQ's replies come by the event loop, and nothing waits for them.

A get belongs to an id, not to a slot. Replies come in the order of the gets, and of the slots that wait for a message
of the id, the first takes the first, whether that was asked for by a slot or to be fetched ahead.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from functools import partial
from typing import Any

from .compat import GET_TIMEOUT, clock
from .loop import BrokerLost
from .slot import Slot, State

__all__ = ("Gets",)

#: Seconds to read what has come, before a broker that did not answer in time counts as lost: the loop may have been
#: busy with something else all the time.
_GRACE = 0.5


class Gets:
    """What the broker was asked for and has not brought yet, and the slots that wait for it.

    Args:
        gate: Gets the messages: ``fetched(slot, message)`` and ``fetched_ahead(id, message)``.
        loop: Where everything runs.
    """

    def __init__(self, gate: Any, loop: Any) -> None:
        self._gate = gate
        self._loop = loop
        self._clock = clock()
        self._under_way: Counter[str] = Counter()
        self._slots: dict[str, deque[Slot]] = defaultdict(deque)
        self._arrived: deque[tuple[Any, str, Any]] = deque()
        self._sent: deque[float] = deque()
        self._watching: Any = None  # the fetcher whose answers are being watched: its timer may die with it

    def under_way(self, id: str) -> int:
        """Return how many messages of an id were asked for and have not come."""
        return self._under_way[id]

    def ahead(self, id: str) -> int:
        """Return how many of them no slot waits for."""
        return max(self._under_way[id] - len(self._slots.get(id, ())), 0)

    def fetch(self, slot: Slot) -> None:
        """Bring a message into an open slot.

        Raises:
            BrokerLost: The broker failed; the slot is as it was.
        """
        waiting = self._slots[slot.id]
        if len(waiting) >= self._under_way[slot.id]:
            self.fetch_ahead(slot.id)
        waiting.append(slot)
        slot.state = State.FETCHING

    def fetch_ahead(self, id: str) -> None:
        """Bring a message for whichever slot of an id is the next to need one.

        Raises:
            BrokerLost: The broker failed.
        """
        fetcher = self._gate.fetcher
        self._under_way[id] += 1
        self._sent.append(self._clock())
        try:
            fetcher.get_soon(id, partial(self._arrive, fetcher, id))
        except BrokerLost:
            self._under_way[id] -= 1
            self._sent.pop()
            raise
        if self._watching is not fetcher and self._sent:
            self._watching = fetcher
            self._loop.call_later(GET_TIMEOUT, self._watch, fetcher)

    def leave(self, slot: Slot) -> None:
        """A slot waits no more; what comes for it goes to the next one, or is fetched ahead, or goes back."""
        if slot in self._slots.get(slot.id, ()):
            self._slots[slot.id].remove(slot)

    def settle(self) -> None:
        """Wait for all that was asked for.

        Raises:
            BrokerLost: The broker failed.
        """
        if self._sent:
            self._gate.fetcher.settle()
        while self._arrived:
            self._deliver()

    def forget(self) -> None:
        """The broker is gone: what it has brought it delivers anew."""
        self._under_way.clear()
        self._slots.clear()
        self._arrived.clear()
        self._sent.clear()
        self._watching = None

    def _arrive(self, fetcher: Any, id: str, message: Any) -> None:
        if fetcher is self._gate.fetcher:
            self._sent.popleft()
            self._arrived.append((fetcher, id, message))
            self._loop.soon(self._deliver)

    def _deliver(self) -> None:
        if not self._arrived:
            return
        fetcher, id, message = self._arrived.popleft()
        if fetcher is not self._gate.fetcher:
            return
        self._under_way[id] -= 1
        slots = self._slots[id]
        slot = slots.popleft() if slots else None
        if not self._under_way[id] and not slots:
            # Ids come and go.
            del self._under_way[id], self._slots[id]
        if slot is not None:
            self._gate.fetched(slot, message)
        else:
            self._gate.fetched_ahead(id, message)

    def _watch(self, fetcher: Any) -> None:
        """Notice a broker that does not answer."""
        if self._watching is not fetcher:
            return
        self._watching = None
        if not self._sent:
            return
        left = self._sent[0] + GET_TIMEOUT - self._clock()
        if left <= 0:
            fetcher.settle(_GRACE)
            left = GET_TIMEOUT
        if self._sent:
            self._watching = fetcher
            self._loop.call_later(left, self._watch, fetcher)
