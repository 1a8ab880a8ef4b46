"""What happens to a task whose slot was lost while it runs: say so, and go on or start over."""

from __future__ import annotations

import logging
import signal
from typing import Any
from weakref import WeakSet

from celery.worker import state

from ..signals import slot_lost
from .compat import can_kill
from .move import Mover
from .slot import Slot

__all__ = ("LostSlots",)

logger = logging.getLogger(__name__)


class LostSlots:
    """Tells of lost slots, and ends their tasks where the user wants that.

    Args:
        consumer: Celery's consumer.
        terminate: Whether tasks are killed and started over (``concurrency_on_lease_lost = "terminate"``).
    """

    def __init__(self, consumer: Any, terminate: bool) -> None:
        self._consumer = consumer
        self._terminate = terminate and can_kill(consumer.pool)
        self._mover = Mover(consumer.app)
        # Those on their way to a process. Some never get there: then nobody else keeps them either.
        self._handed: WeakSet[Any] = WeakSet()
        #: How many slots of running tasks were lost.
        self.count = 0

    def __call__(self, slot: Slot) -> None:
        """The slot of a running task was lost."""
        request = slot.request
        self.count += 1
        logger.error(
            "concurrency: the slot of %s in %r was lost with this worker's lease; the task %s",
            request,
            slot.id,
            "is killed and starts over" if self._terminate else "goes on, beside the limit",
        )
        told = slot.told
        if self._consumer.event_dispatcher:
            self._consumer.event_dispatcher.send("concurrency-slot-lost", uuid=request.id, name=request.name, **told)
        slot_lost.send(sender=request.task, request=request, **told)
        if self._terminate and slot.pid:
            self._start_over(request, slot.pid)
        elif self._terminate:
            self._handed.add(request)

    def accepted(self, slot: Slot) -> None:
        """A process has begun a task whose slot was lost while it was on its way to the pool."""
        if slot.request in self._handed and slot.pid:
            self._handed.discard(slot.request)
            self._start_over(slot.request, slot.pid)

    def _start_over(self, request: Any, pid: int) -> None:
        """Put a copy into the queue, then kill the run."""
        try:
            self._mover.move(request.message, request.type, request.concurrency_home)
        except Exception:
            logger.exception("concurrency: %s could not be put back into its queue; it goes on", request)
            return
        request.acknowledge()
        # Celery then takes the death for what it is: neither a failure nor a revoke.
        request._already_cancelled = True
        state.task_ready(request)
        self._consumer.pool.terminate_job(pid, signal.SIGKILL)
