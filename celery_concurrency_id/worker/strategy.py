"""What a worker does with a gated task's message: run it in its slot, or move it to its queue."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.strategy import default

from .compat import restore_at_front
from .move import Mover

__all__ = ("gated",)

logger = logging.getLogger(__name__)


def gated(task: Any, app: Any, consumer: Any, otherwise: Any = default) -> Any:
    """Return the message handler of a gated task; Celery asks for it by ``Task.Strategy``.

    Args:
        otherwise: The strategy that runs a task in its slot.
    """
    run = otherwise(task, app, consumer)
    mover = Mover(app)

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **kwargs: Any) -> Any:
        if getattr(message, "concurrency_slot", None) is not None:
            return run(message, body, ack, reject, callbacks, **kwargs)
        if came_from_own_queue(message):
            restore_at_front(message)
            return None
        try:
            mover.move(message, task.name)
        except Exception:
            logger.exception("concurrency: task %s could not be moved to its queue; it stays where it was", task.name)
            message.reject_log_error(logger, consumer.connection_errors, requeue=True)
        else:
            ack(logger, consumer.connection_errors)
        return None

    def came_from_own_queue(message: Any) -> bool:
        """Say whether somebody had this worker consume a dedicated queue, and end that."""
        id = mover.id_of(task.name)
        if (message.delivery_info or {}).get("routing_key") != id:
            return False
        tasks = consumer.task_consumer
        if tasks is not None and tasks.consuming_from(id):
            logger.warning("concurrency: queue %r is served by slots: the consumer added to it is cancelled", id)
            tasks.cancel_by_queue(id)
        return True

    return on_message
