"""What a worker does with a gated task's message: run it in its slot, or move it to its queue."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.worker import strategy

from ..queues import counts_deliveries, dedicated_queue
from .compat import restore_at_front
from .move import Mover
from .request import GatedRequest

__all__ = ("gated",)

#: Celery's types say less of the module than it has.
_strategy: Any = strategy

logger = logging.getLogger(__name__)


def gated(task: Any, app: Any, consumer: Any, otherwise: Any = _strategy.default) -> Any:
    """Return the message handler of a gated task; Celery asks for it by ``Task.Strategy``.

    Args:
        otherwise: The strategy that runs a task in its slot.
    """
    run = otherwise(task, app, consumer)
    mover = Mover(app)

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **kwargs: Any) -> Any:
        if getattr(message, "concurrency_slot", None) is not None:
            # Once the broker was lost, Celery's own raise the prefetch count again with each task that ends: in a pool
            # of threads from the task's thread, where it and the main one may wait for each other's answer for ever.
            # What was never prefetched has no part in that.
            soon = getattr(consumer, "call_soon_ack", consumer.call_soon)  # the first from Celery 5.7 on
            ack, reject = partial(soon, message.ack_log_error), partial(soon, message.reject_log_error)
            return run(message, body, ack, reject, callbacks, **kwargs)
        try:
            id = mover.id_of(message, task.name)
        except Exception as exc:
            return fail(message, body, ack, reject, exc)
        if came_from_own_queue(message, id) and not counts_deliveries(dedicated_queue(app, id)):
            restore_at_front(message)
            return None
        try:
            mover.move(message, task.name, id)
        except Exception:
            logger.exception("concurrency: task %s could not be moved to its queue; it stays where it was", task.name)
            message.reject_log_error(logger, consumer.connection_errors, requeue=True)
        else:
            ack(logger, consumer.connection_errors)
        return None

    def fail(message: Any, body: Any, ack: Any, reject: Any, exc: Exception) -> None:
        """No concurrency id comes of a task's arguments: it fails, as one does whose arguments do not fit."""
        logger.error("concurrency: no concurrency id for task %s of message %r: %s", task.name, message, exc)
        try:
            headers, decoded, utc = message.headers, False, app.uses_utc_timezone()
            if "task" not in headers:
                body, headers, decoded, utc = _strategy.proto1_to_proto2(message, body)
            request = GatedRequest(
                message,
                on_ack=ack,
                on_reject=reject,
                app=app,
                hostname=consumer.hostname,
                eventer=consumer.event_dispatcher,
                task=task,
                connection_errors=consumer.connection_errors,
                body=message.body if body is None else body,
                headers=headers,
                decoded=decoded,
                utc=utc,
            )
            request.on_failure(ExceptionInfo((type(exc), exc, exc.__traceback__)))
            request.acknowledge()
        except Exception:
            # As Celery does with what it cannot read: coming back, it would come back for ever.
            logger.exception("concurrency: message %r cannot be handled, and is rejected", message)
            message.reject_log_error(logger, consumer.connection_errors)

    def came_from_own_queue(message: Any, id: str) -> bool:
        """Say whether somebody had this worker consume a dedicated queue, and end that."""
        if (message.delivery_info or {}).get("routing_key") != id:
            return False
        tasks = consumer.task_consumer
        if tasks is not None and tasks.consuming_from(id):
            logger.warning("concurrency: queue %r is served by slots: the consumer added to it is cancelled", id)
            tasks.cancel_by_queue(id)
        return True

    return on_message
