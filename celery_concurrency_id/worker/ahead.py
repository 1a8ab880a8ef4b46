"""Fetching ahead: while a short task runs, the next message of its id is already here.

A message fetched ahead counts as waiting until it starts. It is held for half a second at the most, and then goes back
to the head of its queue.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

from celery.worker import state

from .compat import clock
from .loop import BrokerLost
from .slot import Slot, State

__all__ = ("Ahead",)

#: Seconds: only for ids whose tasks have lately taken less than this, from the pool's taking them to their end.
SHORT_TASK = 0.25
#: Seconds: of tasks that take less, as many are fetched at once as there are slots; of others one at each start, so
#: that the end of a task does not have to wait until several messages were handled.
VERY_SHORT_TASK = 0.02
#: Seconds after which a message goes back.
HELD_AT_MOST = 0.5
#: Where so many wait, what one worker has fetched ahead is not missed by another one that has room for it.
PLENTY = 50
#: How many ids' tasks it remembers the length of.
MOST_IDS = 5000


class Ahead:
    """The tasks fetched ahead, by id."""

    def __init__(self, gate: Any, handover: Any, loop: Any, enabled: bool) -> None:
        self._gate = gate
        self._handover = handover
        self._loop = loop
        self._enabled = enabled
        self._clock = clock()
        self._requests: dict[str, deque[tuple[Any, float]]] = defaultdict(deque)
        self._took: dict[str, float] = {}
        self._watching = False

    def took(self, id: str, seconds: float) -> None:
        """A task has ended; remember how long such tasks take."""
        lately = self._took.get(id, seconds)
        # Quick to believe that tasks are long, slow to believe that they are short.
        self._took[id] = seconds if seconds > lately else 0.8 * lately + 0.2 * seconds
        if len(self._took) > MOST_IDS:
            del self._took[next(iter(self._took))]

    def consider(self, slot: Slot) -> None:
        """A task has started: fetch the next ones, if such tasks are short, until one is here for each slot.

        Very short ones once the last of those that were fetched before has started: one round trip for all.
        """
        gate, id = self._gate, slot.id
        took = self._took.get(id, SHORT_TASK)
        here = len(self._requests.get(id, ()))
        if not self._enabled or took >= SHORT_TASK or (here and took < VERY_SHORT_TASK):
            return
        if not gate.serving or gate.fetcher.counts_deliveries(id):
            return
        waiting = gate.claimable(id)
        if slot.ahead or (slot.keep and waiting >= PLENTY):
            most = min(waiting, gate.holding(id) - here, waiting if took < VERY_SHORT_TASK else 1)
            for message in gate.fetch_ahead(id, most) if most > 0 else ():
                stand_in = Slot(id)
                stand_in.state = State.AHEAD
                self._handover.receive(stand_in, message)

    def keep(self, request: Any) -> None:
        """Celery would start a task that was fetched ahead: it waits for its slot."""
        request.concurrency_ahead = True
        self._requests[request.concurrency_slot.id].append((request, self._clock()))
        if not self._watching:
            self._watching = True
            self._loop.call_later(HELD_AT_MOST, self._put_back_old)

    def has(self, id: str) -> bool:
        """Say whether a task of an id is here."""
        return bool(self._requests.get(id))

    def pop(self, id: str) -> Any:
        """Return the request of the task of an id that came first, or None."""
        requests = self._requests.get(id)
        return requests.popleft()[0] if requests else None

    def trim(self, id: str) -> None:
        """A slot of an id is given back: put back what no slot here is left for."""
        requests = self._requests.get(id)
        slots = self._gate.holding(id) if requests else 0
        while requests and len(requests) > slots:
            self._put_back(requests.pop()[0])
        if not self.has(id):
            self._requests.pop(id, None)

    def recall(self, id: str) -> None:
        """No more of an id (empty: of any) may start in the slots held here: put back what is here."""
        for each in [id] if id else list(self._requests):
            requests = self._requests.get(each)
            while requests:
                self._put_back(requests.pop()[0])

    def forget(self, put_back: bool) -> None:
        """The worker closes, or the broker is gone, which delivers anew what was not acknowledged."""
        for requests in self._requests.values():
            while requests:
                request = requests.pop()[0]
                if put_back:
                    self._put_back(request)
                else:
                    state.task_ready(request)

    def _put_back_old(self) -> None:
        self._watching = False
        oldest = self._clock() - HELD_AT_MOST
        left = False
        for id, requests in self._requests.items():
            if requests and requests[0][1] <= oldest:
                self._took[id] = SHORT_TASK
                while requests:
                    self._put_back(requests.pop()[0])
            left = left or bool(requests)
        if left:
            self._watching = True
            self._loop.call_later(HELD_AT_MOST / 2, self._put_back_old)

    def _put_back(self, request: Any) -> None:
        state.task_ready(request)
        if self._gate.fetcher is None:
            return
        try:
            self._gate.fetcher.put_back(request.concurrency_slot.id, request.message)
            self._handover.tell("back", request.concurrency_slot.id, request)
        except BrokerLost:
            pass  # it comes back by itself: it was never acknowledged
