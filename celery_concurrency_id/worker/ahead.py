"""Fetching ahead: while a short task runs, the next message of its id is already here.

A message fetched ahead counts as waiting until it starts. It is held for a second at the most, and then goes back to
the head of its queue.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

from .compat import clock
from .loop import BrokerLost
from .slot import Slot

__all__ = ("Ahead",)

#: Seconds: only for ids whose tasks have lately taken less than this, from the pool's taking them to their end.
SHORT_TASK = 0.25
#: Seconds after which a message goes back.
HELD_AT_MOST = 1.0


class Ahead:
    """The messages fetched ahead, by id."""

    def __init__(self, gate: Any, loop: Any, enabled: bool) -> None:
        self._gate = gate
        self._loop = loop
        self._enabled = enabled
        self._clock = clock()
        self._messages: dict[str, deque[tuple[Any, float]]] = defaultdict(deque)
        self._took: dict[str, float] = {}
        self._watching = False

    def starts(self, slot: Slot) -> None:
        """A task starts in a slot."""
        slot.since = self._clock()

    def took(self, slot: Slot) -> None:
        """The task in a slot has ended; remember how long such tasks take."""
        seconds = self._clock() - slot.since
        lately = self._took.get(slot.id, seconds)
        # Quick to believe that tasks are long, slow to believe that they are short.
        self._took[slot.id] = seconds if seconds > lately else 0.8 * lately + 0.2 * seconds

    def consider(self, slot: Slot) -> None:
        """A task was handed to the pool: fetch the next one, once the pool has it."""
        if self._enabled and slot.keep and self._took.get(slot.id, SHORT_TASK) < SHORT_TASK:
            self._loop.after_writes(self._fetch, slot)

    def _fetch(self, slot: Slot) -> None:
        gate, id = self._gate, slot.id
        if gate.fetcher is None or not slot.keep or gate.claimable(id) < 1:
            return
        if len(self._messages[id]) >= gate.running(id):
            return
        message = gate.fetcher.get(id)
        if message is None:
            gate.found_end(id)
            return
        self._messages[id].append((message, self._clock()))
        if not self._watching:
            self._watching = True
            self._loop.call_later(HELD_AT_MOST, self._put_back_old)

    def has(self, id: str) -> bool:
        """Say whether a message of an id is here."""
        return bool(self._messages.get(id))

    def pop(self, id: str) -> Any:
        """Return the oldest message of an id, or None."""
        messages = self._messages.get(id)
        return messages.popleft()[0] if messages else None

    def trim(self, id: str) -> None:
        """A slot of an id is given back: put back what no slot here is left for."""
        messages = self._messages.get(id)
        running = self._gate.running(id) if messages else 0
        while messages and len(messages) > running:
            self._put_back(messages.pop()[0])

    def forget(self, put_back: bool) -> None:
        """The worker closes, or the broker is gone, which delivers anew what was not acknowledged."""
        for messages in self._messages.values():
            while messages:
                message = messages.pop()[0]
                if put_back:
                    self._put_back(message)

    def _put_back_old(self) -> None:
        self._watching = False
        oldest = self._clock() - HELD_AT_MOST
        left = False
        for id, messages in self._messages.items():
            if messages and messages[0][1] <= oldest:
                self._took[id] = SHORT_TASK
                while messages:
                    self._put_back(messages.pop()[0])
            left = left or bool(messages)
        if left:
            self._watching = True
            self._loop.call_later(HELD_AT_MOST / 2, self._put_back_old)

    def _put_back(self, message: Any) -> None:
        if self._gate.fetcher is None:
            return
        try:
            self._gate.fetcher.put_back(message)
        except BrokerLost:
            pass  # it comes back by itself: it was never acknowledged
