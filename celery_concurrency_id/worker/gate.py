"""Slot first, then pull: brings slots, places and messages together.

Everything here runs on one thread, the worker's loop; nothing waits for the semaphore.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, Callable

from ..semaphore.semaphore import Report, Turn
from .ahead import Ahead
from .compat import clock
from .counts import Counts
from .demand import Demand
from .events import SlotEvents
from .full import FullIds
from .hand import Hand
from .handover import HandOver
from .looks import Looks
from .loop import BrokerLost
from .lost import LostSlots
from .reserve import Reserve
from .slot import Slot, State

__all__ = ("Gate",)

logger = logging.getLogger(__name__)


class Gate:
    """One worker's side of the limits.

    Args:
        app: The Celery app.
        pool: The worker's pool.
        loop: Where everything runs.
        places: Turns at the pool.
        link: The line to the semaphore.
        children: Watches pool processes.
        fetch_ahead: Whether messages may be fetched ahead, and slots asked for before there is a place.
        on_lost: Called with the slot of a running task when it is lost, and its ``accepted`` when a process begins it
            only after that.
        events: Tells of slots taken and freed.
    """

    def __init__(
        self,
        app: Any,
        pool: Any,
        loop: Any,
        places: Any,
        link: Any,
        children: Any,
        fetch_ahead: bool,
        on_lost: LostSlots,
        events: SlotEvents,
    ) -> None:
        self._loop = loop
        self._link = link
        self._children = children
        self._on_lost = on_lost
        self._events = events
        self._full = FullIds()
        self._hand = Hand(places, self._place_came)
        self._handover = HandOver(app, pool, link, self, places.blocks)
        self._slots: dict[str, Slot] = {}
        self._open: deque[Slot] = deque()
        self._counts = Counts()
        self._ahead = Ahead(self, self._handover, loop, fetch_ahead)
        self._looks = Looks(loop, link.tell_lengths)
        self._reserve = Reserve(places, fetch_ahead)
        self._demand = Demand(self._hand, link, self._reserve)
        self._wakes = False  # whether somebody looks again when slots have waited long enough for a place
        self._scheduled = False
        self._closing = False
        self._joins = 0
        self._clock = clock()
        self.fetcher: Any = None
        #: The worker, as the semaphore knows it.
        self.worker = ""

    # What happens to the worker

    def attach(self, fetcher: Any, parking: Any, on_message: Callable[[Any], Any]) -> None:
        """The broker is connected."""
        self.fetcher = fetcher
        self._looks.attach(fetcher)
        self._handover.attach(on_message, parking, fetcher.errors)
        self._link.refuse(False)
        self._scheduled = False
        self.seek()

    def detach(self, dropped: Callable[[Slot], bool]) -> None:
        """The broker is gone, or the worker closes; ``dropped`` says of a slot whether its task will never run."""
        fetcher = self.fetcher
        self._handover.tell_begun()
        self._link.refuse(True)
        self._ahead.forget(put_back=self._closing)
        self._handover.detach()
        self.fetcher = None
        self._looks.detach()
        for slot in list(self._slots.values()):
            if slot.state in (State.RUNNING, State.HELD) and dropped(slot):
                slot.state = State.OPEN
        self._give_back_open()
        self._hand.forget()
        self._demand.forget()
        if fetcher is not None and not self._closing:
            fetcher.close()

    def close(self) -> None:
        """Take no new task; running ones end and free their slots."""
        self._closing = True
        self._demand.seeking = False
        self._handover.tell_begun()
        self._link.refuse(True)
        self._give_back_open()

    def seek(self) -> None:
        """There may be work for this worker."""
        if self._closing or self.fetcher is None:
            return
        self._demand.seeking = True
        self._schedule()

    def invited(self) -> None:
        """The semaphore has work and took this worker for idle."""
        if not self._hand.free and not self._hand.places.soon():
            # Our place is a while off: let the next idle worker be invited.
            self._link.flush()
        self.seek()

    def at_rest(self) -> bool:
        """Say whether nothing is under way that would bring more work: whether this worker counts on an invitation."""
        return self.fetcher is not None and not self._closing and not self._demand.pending

    # What the link says

    def turned(self, turn: Turn, want: int) -> None:
        """The semaphore has answered."""
        for verdict in turn.verdicts:
            slot = self._slots.get(verdict.token)
            if slot is not None:
                slot.keep, slot.ahead = verdict.keep, verdict.ahead
                self._counts.told(slot.id, verdict.claimable)
                if verdict.ahead and verdict.claimable:
                    self._full.wait(slot.id, verdict.claimable)
                if not verdict.held:
                    self._lost(frozenset([verdict.token]))
        for grant in turn.grants:
            slot = Slot(grant.id, grant.token, grant.seq, grant.keep, grant.ahead, grant.needs)
            self._looks.granted(slot)
            self._slots[grant.token] = slot
            self._counts.granted(grant.id)
            self._counts.told(grant.id, grant.claimable + 1)
            self._open.append(slot)
        if want:
            self._demand.answered(turn, want)
        if turn.recovery:
            self._loop.call_later(turn.recovery, self.seek)
        if self.fetcher is None or self._closing:
            self._give_back_open()
        else:
            self._schedule()

    def joined(self, lost: frozenset[str], joins: int) -> None:
        """The lease has begun anew; the slots that are not lost stand."""
        self._lost(lost)
        self._joins = joins
        self.seek()

    def recalled(self, id: str) -> None:
        """An operator lowered or paused an id (empty: any): its slots go back when their tasks end."""
        for slot in list(self._slots.values()):
            if slot.id == id or not id:
                slot.keep = slot.ahead = False
                if slot.state is State.OPEN and slot.short_since is not None:
                    self._give_back(slot)  # it waits for a place
        if self.fetcher is not None:
            self._ahead.recall(id)

    def released(self, token: str) -> None:
        """An operator freed a slot."""
        slot = self._slots.get(token)
        if slot is not None and slot.state is State.RUNNING:
            logger.warning(
                "concurrency: an operator released the slot of %s in %r; the task goes on, beside the limit",
                slot.request,
                slot.id,
            )
        self._lost(frozenset([token]), tell=False)

    def _lost(self, tokens: frozenset[str], tell: bool = True) -> None:
        """These slots belong to others now, or to nobody."""
        for token in tokens:
            slot = self._slots.pop(token, None)
            if slot is None:
                continue
            self._counts.gone(slot.id)
            if slot.state is not State.RUNNING:
                slot.state = State.GONE
            elif tell:
                self._on_lost(slot)

    # What happens to tasks

    def task_ended(self, slot: Slot, request: Any, unless_alive: bool = False) -> None:
        """A task has ended; may be called from the pool's threads, and more than once.

        Args:
            request: Whose task: by now the slot may have another.
            unless_alive: Its process may still live; if so, its death ends the slot.
        """
        if self._closing or self._loop.inside():
            # Once the worker closes, its loop no longer runs; what is left to do then is safe from any thread.
            try:
                self._ended(slot, request, unless_alive)
            except BrokerLost as lost:
                # The pool, whose callback this is, would keep it to itself.
                self._loop.call_soon(_pass_on, lost)
        else:
            self._loop.call_soon(self._ended, slot, request, unless_alive)

    def accepted(self, slot: Slot, request: Any, pid: int) -> None:
        """A pool process has begun a task."""
        if self._children is not None and slot.request is request:
            slot.pid = pid
            self._children.watch(pid)
            if slot.token not in self._slots:
                self._loop.call_soon(self._on_lost.accepted, slot)

    def child_died(self, pid: int) -> None:
        """A pool process is dead, and what it ran has ended."""
        for slot in list(self._slots.values()):
            if slot.pid == pid and slot.state is State.RUNNING:
                self._ended(slot, slot.request, False, died=True)

    def _ended(self, slot: Slot, request: Any, unless_alive: bool, died: bool = False) -> None:
        if slot.state is not State.RUNNING or slot.request is not request:
            return
        self._handover.tell_begun()
        if unless_alive and self._children is not None and self._children.watches(slot.pid):
            return
        slot.state = State.OPEN
        slot.fresh = False
        slot.request = slot.result = slot.pid = None
        slot.left = request if slot.token in self._slots else None
        self._hand.places.ended()
        slot.ended = self._clock()
        seconds = slot.ended - slot.since
        try:
            self._go_on(slot, died)
        finally:
            # What nobody waits for comes after that.
            self._tell_left(slot)
            self._ahead.took(slot.id, seconds)
            self._reserve.took(seconds)

    def _go_on(self, slot: Slot, died: bool) -> None:
        """Use a slot whose task has ended for another one, or give it back."""
        if slot.token not in self._slots:
            slot.state = State.GONE
        elif self._closing or self.fetcher is None:
            self._give_back(slot)
        elif self._link.given_back(slot.token):
            # Its task gave it back for a while, and may have ended before it had it again.
            self._give_back(slot)
            self._schedule()
        elif self._ahead.has(slot.id) and self._may_continue(slot) and self._hand.ready():
            self._serve(slot)
        elif died and not self._hand.ready():
            # The process's place comes back only once Celery notices, seconds later: others can use the slot meanwhile.
            self._give_back(slot)
            self._schedule()
        else:
            self._open.append(slot)
            self._schedule()

    def _tell_left(self, slot: Slot) -> None:
        request, slot.left = slot.left, None
        if request is not None:
            self._events.released(slot, request)

    # Bringing it together

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.next_tick(self._tick)

    def _place_came(self) -> None:
        if self._open:
            self._schedule()
        else:
            # No slot waits for it; the task that just ended in it, if it was one of ours, may be followed by another.
            self._loop.after_writes(self._schedule, wake=True)

    def _tick(self) -> None:
        self._scheduled = False
        if self.fetcher is None or self._closing:
            return
        waiting = 0
        for _ in range(len(self._open)):
            slot = self._open.popleft()
            if slot.state is not State.OPEN:
                continue
            if not self._may_continue(slot):
                self._give_back(slot)
                continue
            if self._hand.free <= 0 and self._hand.requested <= waiting:
                if self._reserve.size:
                    self._hand.request()
                else:
                    self._hand.request_if_soon()
            if self._hand.free > 0:
                self._serve(slot)
            elif self._hand.requested > waiting and self._may_wait(slot):
                waiting += 1
                self._open.append(slot)
            else:
                # Others are before us: a slot must not stand idle meanwhile.
                self._give_back(slot)
        self._demand.look(len(self._open))

    def _may_wait(self, slot: Slot) -> bool:
        """Say whether an open slot may wait for a place that was requested.

        It may for as long as the pool takes to hand over a free one. What comes later stands behind other tasks, which
        may take minutes, while other workers are idle. One beyond the places may for as long as the reserve says.
        """
        now = self._clock()
        if slot.short_since is None:
            slot.short_since = now
        left = (
            slot.short_since - now + max(self._hand.places.lag, self._reserve.patience if self._reserve.size else 0.0)
        )
        if left <= 0:
            return False
        if not self._wakes:
            self._wakes = True
            self._loop.call_later(left, self._wake)
        return True

    def _wake(self) -> None:
        self._wakes = False
        self._schedule()

    def _lease_stands(self) -> bool:
        return self._link.joins == self._joins and bool(self._link.fresh())

    def _may_continue(self, slot: Slot) -> bool:
        if not self._lease_stands():
            return False
        if slot.fresh or self._ahead.has(slot.id):
            return True
        return slot.keep and self._counts.claimable(slot.id) > 0

    def _serve(self, slot: Slot) -> None:
        """Fetch a message into an open slot, and start it in a place."""
        request = self._ahead.pop(slot.id)
        if request is not None:
            self._served(slot, self._hand.use(lambda: self._handover.start_ahead(slot, request)))
            return
        try:
            messages = self.fetcher.get(slot.id)
        except BrokerLost:
            self._open.appendleft(slot)
            raise
        if messages:
            self._receive(slot, messages[0])
        else:
            self._found_nothing(slot)

    def fetch_ahead(self, id: str, most: int) -> list[Any]:
        """Fetch messages for which no slot waits.

        Raises:
            BrokerLost: The broker failed.
        """
        messages: list[Any] = self.fetcher.get(id, most)
        self._counts.fetched(id, len(messages))
        if len(messages) < most:
            self._counts.told(id, 0)
        return messages

    def _receive(self, slot: Slot, message: Any) -> None:
        self._counts.fetched(slot.id)
        self._looks.fetched(slot.id)
        if self._closing or not self._lease_stands():
            # Where the worker was frozen while it fetched, the slot may be somebody else's by now.
            self.fetcher.put_back(slot.id, message)
            self._give_back(slot)
            return
        self._served(slot, self._hand.use(lambda: self._handover.receive(slot, message)))

    def _served(self, slot: Slot, started: bool) -> None:
        slot.fresh, slot.looks, slot.short_since = False, 0, None
        if started:
            self._loop.after_writes(self._after_start, slot)
        elif slot.state is State.OPEN:
            self._open.appendleft(slot)
            self._schedule()

    def _after_start(self, slot: Slot) -> None:
        """The pool has its task; only now is there time for anything else."""
        self._handover.tell_begun()
        self._link.nudge()
        self._ahead.consider(slot)

    def _found_nothing(self, slot: Slot) -> None:
        if self.fetcher.lagging:
            if not slot.fresh:
                # What was known when the last task started may be stale. If the semaphore still has something
                # announced, it grants a slot for that.
                self._counts.told(slot.id, 0)
                self._give_back(slot)
                return
            pause = self._looks.pause(slot)
            if pause is not None:
                slot.state = State.WAITING
                self._loop.call_later(pause, self._look_again, slot)
                return
            self._looks.go_on(slot.id)
        self._counts.told(slot.id, 0)
        self._forget(slot, Report("drop", slot.id, slot.token, "", slot.seq))

    def _look_again(self, slot: Slot) -> None:
        if slot.state is State.WAITING:
            slot.state = State.OPEN
            self._open.append(slot)
            self._schedule()

    def _give_back(self, slot: Slot) -> None:
        self._looks.given_back(slot)
        self._forget(slot, Report("release", slot.id, slot.token))

    def _forget(self, slot: Slot, report: Report) -> None:
        slot.state = State.GONE
        if self._slots.pop(slot.token, None) is not None:
            self._counts.gone(slot.id)
            # What is here must be back in its queue before others may have the slot.
            try:
                self._ahead.trim(slot.id)
            finally:
                self._link.report(report, urgent=not self._reserve.size)
        self._demand.seeking = not self._closing

    def _give_back_open(self) -> None:
        self._open.clear()
        for slot in list(self._slots.values()):
            if slot.state in (State.OPEN, State.WAITING):
                self._give_back(slot)

    def start(self, request: Any, otherwise: Any) -> None:
        """Celery wants to run a request; ``otherwise`` is its own way."""
        self._handover.start(request, otherwise)

    # For those that help

    @property
    def serving(self) -> bool:
        """Whether new tasks are taken."""
        return self.fetcher is not None and not self._closing

    def begun(self, slot: Slot, request: Any) -> None:
        """A task went to the pool."""
        self._tell_left(slot)
        self._events.acquired(slot, request)

    def keep_ahead(self, request: Any) -> None:
        """A task was fetched ahead."""
        self._ahead.keep(request)

    def claimable(self, id: str) -> int:
        """Return how many tasks of an id wait that nobody is about to fetch, as far as this worker knows."""
        return self._counts.claimable(id)

    @property
    def slots(self) -> dict[str, int]:
        """Slots held here, by id."""
        return self._counts.by_id()

    def holding(self, id: str) -> int:
        """Return how many slots of an id are held here."""
        return self._counts.held(id)


def _pass_on(lost: BrokerLost) -> None:
    raise lost
