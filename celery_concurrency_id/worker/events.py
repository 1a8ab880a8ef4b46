"""Tells of slots taken and freed: Celery events where the worker sends them, signals where somebody listens."""

from __future__ import annotations

from typing import Any

from ..signals import slot_acquired, slot_released
from .slot import Slot

__all__ = ("SlotEvents",)

#: Without ``-E``, a worker sends events of some groups only.
_GROUP = "concurrency"


class SlotEvents:
    """Sends ``concurrency-slot-acquired`` and ``-released``, which cost nothing where nobody wants them.

    Not of the group ``task``: Celery's and Flower's picture of a task would take them for states of it.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def acquired(self, slot: Slot, request: Any) -> None:
        """A task goes to the pool."""
        self._tell("concurrency-slot-acquired", slot_acquired, slot, request)

    def released(self, slot: Slot, request: Any) -> None:
        """The pool has let go of a task."""
        self._tell("concurrency-slot-released", slot_released, slot, request)

    def _tell(self, event: str, signal: Any, slot: Slot, request: Any) -> None:
        dispatcher = self._consumer.event_dispatcher
        if dispatcher is not None and dispatcher.enabled and (not dispatcher.groups or _GROUP in dispatcher.groups):
            dispatcher.send(event, uuid=request.id, name=request.name, **slot.told)
        if signal.receivers:
            signal.send(sender=request.task, request=request, **slot.told)
