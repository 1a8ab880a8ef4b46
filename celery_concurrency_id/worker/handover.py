"""From a message, or a request that was fetched ahead, to a task in the pool."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, Callable

from celery.exceptions import TaskRevokedError

from ..policy import policy_of
from ..producer import plain_name, waiting_key
from ..semaphore.semaphore import Report
from .compat import clock
from .parking import seconds_until
from .request import GatedRequest
from .slot import Slot, State

__all__ = ("HandOver",)

logger = logging.getLogger(__name__)


class HandOver:
    """Hands messages to Celery as if they had been consumed, and starts their tasks in their slots.

    Args:
        app: The Celery app.
        pool: The worker's pool.
        link: The line to the semaphore.
        gate: What the slots belong to.
        at_once: Whether a task runs inside the call that starts it, so that nothing can be reported after that.
    """

    def __init__(self, app: Any, pool: Any, link: Any, gate: Any, at_once: bool) -> None:
        self._app = app
        self._policy = policy_of(app)
        self._pool = pool
        self._link = link
        self._gate = gate
        self._at_once = at_once
        self._handing: Slot | None = None
        self._untold: deque[tuple[Slot, Any]] = deque()
        self._on_message: Callable[[Any], Any] | None = None
        self._parking: Any = None
        self._errors: tuple[Any, ...] = ()
        self._clock = clock()

    def attach(self, on_message: Callable[[Any], Any], parking: Any, errors: tuple[Any, ...]) -> None:
        """The broker is connected.

        Args:
            on_message: Celery's handler of messages.
            parking: Takes the requests that are not due.
            errors: What the connection raises when the broker fails.
        """
        self._on_message, self._parking, self._errors = on_message, parking, errors

    def detach(self) -> None:
        """The broker is gone, or the worker closes."""
        if self._parking is not None:
            self._parking.forget()

    def receive(self, slot: Slot, message: Any) -> bool:
        """Give a fetched message to Celery as if it had been consumed; say whether a task came of it."""
        assert self._on_message is not None
        message.concurrency_slot = slot
        message.concurrency_gate = self._gate
        self._take_due_eta(message)
        slot.request, slot.began = None, False
        self._handing = slot
        try:
            _check(message)
            self._on_message(message)
        except Exception:
            logger.exception("concurrency: message %r in the queue of %r cannot be handled", message, slot.id)
            # One that makes no request never will; what made a request is somebody's task.
            message.reject_log_error(logger, self._errors, requeue=slot.request is not None)
            slot.began = False
        finally:
            self._handing = None
        request = slot.request
        if slot.began:
            return True
        if request is not None and not request.acknowledged and not message.acknowledged:
            if request.eta is not None:
                slot.request = request.concurrency_slot = None
                self._parking.park(request)
                if self._policy.max_waiting_of(slot.id) is not None:
                    left = max(0, int(1000 * seconds_until(request.eta, self._app)))
                    self._link.report(Report("park", slot.id, str(left), *_about(message)))
                    return False
            else:
                # Its rate limit makes it wait; Celery starts it later.
                if slot.state is State.OPEN:
                    slot.state = State.HELD
                return False
        self._link.report(Report("skip", slot.id, slot.token, *_about(message)))
        return False

    def start_ahead(self, slot: Slot, request: Any) -> bool:
        """Start a task that was fetched ahead; say whether it started."""
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
                self._parking.due(request)
            else:
                otherwise(request)
        elif slot.state is State.AHEAD:
            slot.began = True
            self.tell("skip", slot.id, request)
            self._gate.keep_ahead(request)
        elif slot.state is State.GONE:
            # It waited for its rate limit when its slot was lost: back to the queue.
            self._parking.give_up(request)
        elif slot is not self._handing:
            self._begin(slot, request)
            self._tell_begun(slot, request)
            otherwise(request)
        else:
            self._run(slot, request)

    def _run(self, slot: Any, request: Any) -> None:
        self._begin(slot, request)
        if self._at_once:
            self._tell_begun(slot, request)
        try:
            request.execute_using_pool(self._pool)
        except TaskRevokedError:
            slot.state, slot.began = State.OPEN, False
        except Exception:
            slot.state = State.OPEN
            raise
        else:
            result = request._apply_result
            slot.result = result() if result is not None else None
            if not self._at_once:
                self._untold.append((slot, request))

    def _begin(self, slot: Slot, request: Any) -> None:
        slot.state = State.RUNNING
        slot.began = True
        slot.request = request
        slot.since = self._clock()
        request.note_wait()

    def tell_begun(self) -> None:
        """Tell of the tasks that went to the pool: nobody waits for that, and the pool is to have them first."""
        while self._untold:
            self._tell_begun(*self._untold.popleft())

    def _tell_begun(self, slot: Slot, request: Any) -> None:
        self._gate.begun(slot, request)
        kind = "resume" if request.concurrency_ahead else "start"
        about = *request.concurrency_key, plain_name(request.name)
        self._link.report(Report(kind, slot.id, slot.token, *about), urgent=self._at_once)

    def tell(self, kind: str, id: str, request: Any) -> None:
        """Report about a task that is in no slot."""
        about = *request.concurrency_key, plain_name(request.name)
        self._link.report(Report(kind, id, "", *about), urgent=kind == "back")


def _check(message: Any) -> None:
    """Refuse what Celery would choke on only after it has made a request: put back, it would come again and again.

    Raises:
        ValueError: A header is not what any Celery sends.
    """
    headers = message.headers if isinstance(message.headers, dict) else {}
    if isinstance(headers.get("id"), (list, dict)):
        raise ValueError("its id is no text")
    limits = headers.get("timelimit")
    if limits and not (
        isinstance(limits, (list, tuple))
        and len(limits) == 2
        and all(limit is None or type(limit) in (int, float) for limit in limits)
    ):
        raise ValueError("its timelimit is not two numbers")


def _about(message: Any) -> tuple[str, int]:
    headers = message.headers if isinstance(message.headers, dict) else {}
    return waiting_key(headers.get("id"), headers.get("retries"))
