"""Tasks with an ETA: they hold no slot before they are due, and go back to their queue when they are."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import Any

from celery.utils.time import maybe_iso8601, maybe_make_aware
from celery.worker import state

from .compat import cancel_timer
from .move import Mover

__all__ = ("Parking", "seconds_until")

logger = logging.getLogger(__name__)

#: RabbitMQ closes a channel on which a message is unacknowledged for ``consumer_timeout``, 30 minutes by default.
_LONGEST = 900.0


def seconds_until(eta: Any, app: Any) -> float:
    """Return the seconds until an ETA as a message has it; not positive once it is due.

    Raises:
        ValueError, TypeError, AttributeError: It is no time; Celery refuses such a message.
    """
    when: Any = maybe_iso8601(eta)
    return float((maybe_make_aware(when, app.timezone) - datetime.now(timezone.utc)).total_seconds())


class Parking:
    """Keeps requests that are not due, as Celery does: unacknowledged, on the worker's timer.

    Args:
        consumer: Celery's consumer.
        visibility_timeout: Seconds after which the broker delivers an unacknowledged message again, if it does.
    """

    def __init__(self, consumer: Any, loop: Any, visibility_timeout: float | None) -> None:
        self._consumer = consumer
        self._loop = loop
        self._mover = Mover(consumer.app)
        self._longest = min(_LONGEST, visibility_timeout * 0.5) if visibility_timeout else _LONGEST
        self._parked: set[Any] = set()
        self._forgotten = False

    def forget(self) -> None:
        """The broker is gone, and delivers anew what was not acknowledged: a copy would be one too many."""
        self._forgotten = True
        self._parked.clear()

    def park(self, request: Any) -> None:
        """Take in a request that Celery has put on its timer."""
        # Celery made room in the prefetch window for a message that never stood in it.
        self._consumer.qos.decrement_eventually()
        self._parked.add(request)
        if seconds_until(request.request_dict["eta"], self._consumer.app) > self._longest:
            self._loop.call_later(self._longest, self._renew, request)

    def due(self, request: Any) -> None:
        """The ETA has come: put a copy into the queue, where the task now waits for its slot."""
        self._consumer.qos.increment_eventually()
        if request in self._parked:
            self.give_up(request)
        else:
            # Renewed meanwhile, or it came over a connection that is gone: the broker has another copy.
            state.task_ready(request)

    def _renew(self, request: Any) -> None:
        """Let a fresh copy wait before the broker takes the message for lost."""
        if request in self._parked and self.give_up(request):
            cancel_timer(request, self._consumer.timer)

    def give_up(self, request: Any) -> bool:
        """Publish a copy and acknowledge the original; say whether that went well."""
        if self._forgotten:
            state.task_ready(request)
            return False
        try:
            self._mover.move(request.message, request.type, request.concurrency_home)
        except Exception:
            logger.exception("concurrency: task %s could not be put back into its queue; trying again", request)
            self._loop.call_later(5.0, self.give_up, request)
            return False
        self._parked.discard(request)
        request.acknowledge()
        state.task_ready(request)
        return True
