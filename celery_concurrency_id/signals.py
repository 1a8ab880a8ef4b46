"""Signals, sent in the worker's main process."""

from __future__ import annotations

from celery.utils.dispatch import Signal

__all__ = ("slot_lost",)

#: A worker learned that it lost the slot of a task that runs on: its lease had lapsed. Sender: the task. Arguments:
#: ``request`` (Celery's request), ``concurrency_id`` and ``token`` (int, the fencing token of the lost slot).
slot_lost = Signal(name="slot_lost", providing_args=["request", "concurrency_id", "token"])
