"""Signals, sent in the worker's main process.

Each has the task as its sender, and the arguments ``request`` (Celery's request), ``concurrency_id``, ``token`` (int,
the fencing token of the slot) and ``slots`` (how many slots it takes of each limit, by concurrency id). What a receiver
raises is logged and goes no further.
"""

from __future__ import annotations

from celery.utils.dispatch import Signal

__all__ = ("slot_acquired", "slot_lost", "slot_released")

_ARGUMENTS = ["request", "concurrency_id", "token", "slots"]

#: A task goes to the pool, in a slot.
slot_acquired = Signal(name="slot_acquired", providing_args=_ARGUMENTS)

#: The pool has let go of a task: its slot is free for the next one. It is sent in the thread of a pool where that is
#: where the task's end is noticed while the worker stops.
slot_released = Signal(name="slot_released", providing_args=_ARGUMENTS)

#: A worker learned that it lost the slot of a task that runs on: its lease had lapsed.
slot_lost = Signal(name="slot_lost", providing_args=_ARGUMENTS)
