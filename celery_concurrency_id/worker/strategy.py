"""What a worker does with a gated task's message: run it in its slot, or move it to its queue."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.strategy import default

from .move import Mover

__all__ = ("gated",)

logger = logging.getLogger(__name__)


def gated(task: Any, app: Any, consumer: Any) -> Any:
    """Return the message handler of a gated task; Celery asks for it by ``Task.Strategy``."""
    run = default(task, app, consumer)
    mover = Mover(app)

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **kwargs: Any) -> Any:
        if getattr(message, "concurrency_slot", None) is not None:
            return run(message, body, ack, reject, callbacks, **kwargs)
        cancel_consumer(message)
        try:
            mover.move(message, task.name)
        except Exception:
            logger.exception("concurrency: task %s could not be moved to its queue; it stays where it was", task.name)
            message.reject_log_error(logger, consumer.connection_errors, requeue=True)
        else:
            ack(logger, consumer.connection_errors)
        return None

    def cancel_consumer(message: Any) -> None:
        """Moving from a queue to itself would never end: nobody may consume a dedicated queue."""
        id = mover.id_of(task.name)
        came_from = (message.delivery_info or {}).get("routing_key")
        if came_from == id and consumer.task_consumer is not None and consumer.task_consumer.consuming_from(id):
            logger.warning("concurrency: queue %r is served by slots: the consumer added to it is cancelled", id)
            consumer.task_consumer.cancel_by_queue(id)

    return on_message
