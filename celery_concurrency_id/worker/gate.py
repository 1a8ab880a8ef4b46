"""Slot first, then pull: brings slots, places and messages together.

Everything here runs on one thread, the worker's loop; nothing waits for the semaphore.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from typing import Any, Callable

from celery.exceptions import TaskRevokedError

from ..producer import waiting_key
from ..semaphore.semaphore import Report, Turn
from .ahead import Ahead
from .loop import BrokerLost
from .parking import seconds_until
from .request import GatedRequest
from .slot import Slot, State

__all__ = ("Gate",)

logger = logging.getLogger(__name__)

#: Seconds before the next looks at a queue that was empty although a task was announced: RabbitMQ may show a message
#: a moment after it was published.
_LOOKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)


class Gate:
    """One worker's side of the limits.

    Args:
        app: The Celery app.
        pool: The worker's pool.
        loop: Where everything runs.
        places: Turns at the pool.
        link: The line to the semaphore.
        children: Watches pool processes.
        fetch_ahead: Whether messages may be fetched ahead.
    """

    def __init__(
        self, app: Any, pool: Any, loop: Any, places: Any, link: Any, children: Any, fetch_ahead: bool
    ) -> None:
        self._app = app
        self._pool = pool
        self._loop = loop
        self._places = places
        self._link = link
        self._children = children
        self._slots: dict[str, Slot] = {}
        self._open: deque[Slot] = deque()
        self._claimable: dict[str, int] = {}
        self._ahead = Ahead(self, loop, fetch_ahead)
        self._generation = 0  # grows when the broker is lost, and with it every place that was requested
        self._window = 1  # places to request at a time while there is more work than was acquired
        self._hand = 0  # places that have come and are not used yet
        self._requested = 0  # places that have not come yet
        self._asked = 0  # of those in hand: kept for grants that were asked for
        self._seeking = False  # whether there may be work that no slot was acquired for
        self._scheduled = False
        self._closing = False
        self._handing: Slot | None = None
        self.fetcher: Any = None
        self.parking: Any = None
        self._on_message: Callable[[Any], Any] | None = None

    # What happens to the worker

    def attach(self, fetcher: Any, parking: Any, on_message: Callable[[Any], Any]) -> None:
        """The broker is connected."""
        self.fetcher, self.parking, self._on_message = fetcher, parking, on_message
        self._link.refuse(False)
        self._scheduled = False
        self.seek()

    def detach(self, dropped: Callable[[Slot], bool]) -> None:
        """The broker is gone, or the worker closes; ``dropped`` says of a slot whether its task will never run."""
        fetcher = self.fetcher
        self._link.refuse(True)
        self._ahead.forget(put_back=self._closing)
        self.fetcher = None
        for slot in list(self._slots.values()):
            if slot.state in (State.RUNNING, State.HELD) and dropped(slot):
                slot.state = State.OPEN
        self._give_back_open()
        while self._hand > 0:
            self._release_place()
        self._requested = self._asked = 0
        self._generation += 1
        self._places.forget()
        if fetcher is not None and not self._closing:
            fetcher.close()

    def close(self) -> None:
        """Take no new task; running ones end and free their slots."""
        self._closing = True
        self._seeking = False
        self._link.refuse(True)
        self._give_back_open()

    def seek(self) -> None:
        """There may be work for this worker."""
        if self._closing or self.fetcher is None:
            return
        self._seeking = True
        self._schedule()

    def invited(self) -> None:
        """The semaphore has work and took this worker for idle."""
        if not self._places.soon() and not self._hand:
            # Our place is a while off: let the next idle worker be invited.
            self._link.flush()
        self.seek()

    def at_rest(self) -> bool:
        """Say whether nothing is under way that would bring more work: whether this worker counts on an invitation."""
        return self.fetcher is not None and not (self._closing or self._seeking or self._asked or self._requested)

    # What the link says

    def turned(self, turn: Turn, want: int) -> None:
        """The semaphore has answered."""
        self._asked = max(self._asked - want, 0)
        for verdict in turn.verdicts:
            slot = self._slots.get(verdict.token)
            if slot is not None:
                slot.keep, slot.ahead = verdict.keep, verdict.ahead
                self._claimable[slot.id] = verdict.claimable
                if not verdict.held:
                    self.lost(frozenset([verdict.token]))
        for grant in turn.grants:
            slot = Slot(grant.id, grant.token, grant.seq, grant.keep, grant.ahead)
            self._slots[grant.token] = slot
            self._claimable[grant.id] = grant.claimable + 1
            self._open.append(slot)
        if want:
            # An invitation that came while the answer was under way is not in that answer: go on seeking.
            self._seeking = self._seeking or len(turn.grants) == want
            self._window = min(2 * self._window, self._places.size) if self._seeking else 1
        if turn.recovery:
            self._loop.call_later(turn.recovery, self.seek)
        if self.fetcher is None or self._closing:
            self._give_back_open()
        else:
            self._schedule()

    def lost(self, tokens: frozenset[str]) -> None:
        """These slots belong to others now, or to nobody."""
        for token in tokens:
            slot = self._slots.pop(token, None)
            if slot is None:
                continue
            if slot.state is State.RUNNING:
                logger.warning(
                    "concurrency: the slot of %s in %r was lost; the task goes on, beside the limit",
                    slot.request,
                    slot.id,
                )
            else:
                slot.state = State.GONE

    # What happens to tasks

    def task_ended(self, slot: Slot, unless_alive: bool = False) -> None:
        """A task has ended; may be called from the pool's threads.

        Args:
            unless_alive: Its process may still live; if so, its death ends the slot.
        """
        if self._closing or self._loop.inside():
            # Once the worker closes, its loop no longer runs; what is left to do then is safe from any thread.
            self._ended(slot, unless_alive)
        else:
            self._loop.call_soon(self._ended, slot, unless_alive)

    def accepted(self, slot: Slot, pid: int) -> None:
        """A pool process has begun a task."""
        if self._children is not None:
            slot.pid = pid
            self._children.watch(pid)

    def child_died(self, pid: int) -> None:
        """A pool process is dead, and what it ran has ended."""
        for slot in list(self._slots.values()):
            if slot.pid == pid and slot.state is State.RUNNING:
                self._ended(slot, False)

    def _ended(self, slot: Slot, unless_alive: bool) -> None:
        if slot.state is not State.RUNNING:
            return
        if unless_alive and self._children is not None and self._children.watches(slot.pid):
            return
        slot.state = State.OPEN
        slot.fresh = False
        slot.request = slot.result = slot.pid = None
        self._places.ended()
        self._ahead.took(slot)
        if slot.token not in self._slots:
            slot.state = State.GONE
        elif self._closing or self.fetcher is None:
            self._give_back(slot)
        elif self._ahead.has(slot.id) and self._may_continue(slot) and self._place_now():
            self._serve(slot)
        else:
            self._open.append(slot)
            self._schedule()

    # Bringing it together

    def _place_ready(self, generation: int) -> None:
        """A place has come."""
        if generation != self._generation:
            self._places.release()
            return
        self._requested -= 1
        self._hand += 1
        # Never act in here: the pool releases a place before it tells that the task ended.
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.next_tick(self._tick)

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
            if self._hand <= self._asked and self._requested <= waiting and self._places.soon():
                self._request_place()
            if self._hand > self._asked:
                self._serve(slot)
            elif self._requested > waiting:
                waiting += 1
                self._open.append(slot)
            else:
                # Others are before us: a slot must not stand idle meanwhile.
                self._give_back(slot)
        self._look_for_more()

    def _look_for_more(self) -> None:
        """Ask for slots for the places that are left, or give those back."""
        if self._seeking and not self._asked:
            while self._requested + self._spare < self._window:
                self._request_place()
            if self._spare > 0:
                self._asked = self._spare
                self._seeking = False
                self._link.ask(self._asked)
        else:
            for _ in range(self._spare):
                self._release_place()

    @property
    def _spare(self) -> int:
        return self._hand - self._asked - len(self._open)

    def _request_place(self) -> None:
        self._requested += 1
        before = self._hand
        self._places.request(partial(self._place_ready, self._generation))
        if self._hand == before:
            self._places.short()

    def _place_now(self) -> bool:
        """Say whether there is a place for an open slot this moment."""
        if self._hand <= self._asked and not self._requested and self._places.soon():
            self._request_place()
        return self._hand > self._asked

    def _release_place(self) -> None:
        self._hand -= 1
        self._places.release()

    def _may_continue(self, slot: Slot) -> bool:
        if slot.fresh:
            return True
        if not self._link.fresh():
            return False
        if self._ahead.has(slot.id):
            return True
        return slot.keep and self._claimable.get(slot.id, 0) > 0

    def _serve(self, slot: Slot) -> None:
        """Fetch a message into an open slot, and start it in a place."""
        request = self._ahead.pop(slot.id)
        message = None
        if request is None:
            try:
                message = self.fetcher.get(slot.id)
            except BrokerLost:
                self._open.appendleft(slot)
                raise
            if message is None:
                self._found_nothing(slot)
                return
            self.counted(slot.id)
        slot.looks = 0
        self._hand -= 1
        if message is None:
            started = self._places.use(lambda: self._start_ahead(slot, request))
        else:
            started = self._places.use(lambda: self.receive(slot, message))
        slot.fresh = False
        if started:
            self._loop.after_writes(self._after_start, slot)
            return
        self._hand += 1
        if slot.state is State.OPEN:
            self._open.appendleft(slot)
            self._schedule()

    def _after_start(self, slot: Slot) -> None:
        """The pool has its task; only now is there time for anything else."""
        self._link.nudge()
        self._ahead.consider(slot)

    def receive(self, slot: Slot, message: Any) -> bool:
        """Give a fetched message to Celery as if it had been consumed; say whether a task came of it."""
        assert self._on_message is not None
        message.concurrency_slot = slot
        message.concurrency_gate = self
        self._take_due_eta(message)
        slot.request, slot.began = None, False
        self._handing = slot
        try:
            self._on_message(message)
        except Exception:
            logger.exception("concurrency: message %r in the queue of %r cannot be handled", message, slot.id)
            message.reject_log_error(logger, self.fetcher.errors, requeue=slot.began)
            slot.began = False
        finally:
            self._handing = None
        request = slot.request
        if slot.began:
            return True
        if request is not None and not request.acknowledged and not message.acknowledged:
            if request.eta is not None:
                slot.request = request.concurrency_slot = None
                self.parking.park(request)
            else:
                # Its rate limit makes it wait; Celery starts it later.
                if slot.state is State.OPEN:
                    slot.state = State.HELD
                return False
        self._link.report(Report("skip", slot.id, slot.token, *_about(message)))
        return False

    def _start_ahead(self, slot: Slot, request: Any) -> bool:
        """Start a task that was fetched ahead."""
        slot.began = False
        request.take(slot)
        self._handing = slot
        try:
            self.start(request, None)
        finally:
            self._handing = None
        return slot.began

    def _take_due_eta(self, message: Any) -> None:
        """A task that is due runs now; Celery would put it on its timer once more."""
        headers = message.headers
        eta = headers.get("eta") if isinstance(headers, dict) else None
        if eta is None:
            return
        try:
            due = seconds_until(eta, self._app) <= 0
        except (ValueError, TypeError, AttributeError):
            return
        if due:
            message.headers = {**headers, "eta": None}
            message.concurrency_eta = eta

    def start(self, request: Any, otherwise: Any) -> None:
        """Celery wants to run a request: in its slot, if it has one.

        Args:
            otherwise: Celery's own way.
        """
        slot = getattr(request, "concurrency_slot", None)
        if slot is None:
            if isinstance(request, GatedRequest):
                self.parking.due(request)
            else:
                otherwise(request)
        elif slot.state is State.AHEAD:
            slot.began = True
            self.tell("skip", slot.id, request)
            self._ahead.keep(request)
        elif slot.state is State.GONE:
            # It waited for its rate limit when its slot was lost: back to the queue.
            self.parking.give_up(request)
        elif slot is self._handing:
            self._begin(slot, request)
            try:
                request.execute_using_pool(self._pool)
            except TaskRevokedError:
                self._never_began(slot)
            except Exception:
                slot.state = State.OPEN
                raise
            else:
                result = request._apply_result
                slot.result = result() if result is not None else None
        else:
            self._begin(slot, request)
            otherwise(request)

    def _begin(self, slot: Slot, request: Any) -> None:
        slot.state = State.RUNNING
        slot.began = True
        slot.request = request
        self._ahead.starts(slot)
        kind = "resume" if request.concurrency_ahead else "start"
        self._link.report(Report(kind, slot.id, slot.token, *request.concurrency_key), urgent=self._places.blocks)

    def _never_began(self, slot: Slot) -> None:
        slot.state = State.OPEN
        slot.began = False

    def _found_nothing(self, slot: Slot) -> None:
        if self.fetcher.lagging and slot.fresh and slot.looks < len(_LOOKS):
            slot.state = State.WAITING
            self._loop.call_later(_LOOKS[slot.looks], self._look_again, slot)
            slot.looks += 1
            return
        self._claimable[slot.id] = 0
        self._forget(slot, Report("drop", slot.id, slot.token, "", slot.seq))

    def _look_again(self, slot: Slot) -> None:
        if slot.state is State.WAITING:
            slot.state = State.OPEN
            self._open.append(slot)
            self._schedule()

    def _give_back(self, slot: Slot) -> None:
        self._forget(slot, Report("release", slot.id, slot.token))

    def _forget(self, slot: Slot, report: Report) -> None:
        slot.state = State.GONE
        if self._slots.pop(slot.token, None) is not None:
            self._link.report(report)
        self._ahead.trim(slot.id)
        self._seeking = not self._closing

    def _give_back_open(self) -> None:
        self._open.clear()
        for slot in list(self._slots.values()):
            if slot.state in (State.OPEN, State.WAITING):
                self._give_back(slot)

    def tell(self, kind: str, id: str, request: Any) -> None:
        """Report about a task that is in no slot."""
        self._link.report(Report(kind, id, "", *request.concurrency_key), urgent=kind == "back")

    def counted(self, id: str) -> None:
        """A message of an id was fetched."""
        self._claimable[id] = max(self._claimable.get(id, 0) - 1, 0)

    def claimable(self, id: str) -> int:
        """Return how many tasks of an id wait, as far as this worker knows."""
        return self._claimable.get(id, 0)

    def found_end(self, id: str) -> None:
        """The queue of an id is empty."""
        self._claimable[id] = 0

    def running(self, id: str) -> int:
        """Return how many slots of an id have a running task here."""
        return sum(1 for slot in self._slots.values() if slot.id == id and slot.state is State.RUNNING)


def _about(message: Any) -> tuple[str, int]:
    headers = message.headers if isinstance(message.headers, dict) else {}
    return waiting_key(headers.get("id"), headers.get("retries"))
