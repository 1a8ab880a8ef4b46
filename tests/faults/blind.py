"""A worker in which Celery itself never notices that a pool process died: what frees the slot then is ours alone.

Loaded by ``imports`` of the worker's settings, once its pool's classes are there.
"""

from __future__ import annotations

from celery.concurrency.asynpool import AsynPool


def notices_nothing(self: AsynPool) -> None:
    """In the place of what looks for dead processes, reports their tasks as lost, and starts others."""


AsynPool.maintain_pool = notices_nothing
