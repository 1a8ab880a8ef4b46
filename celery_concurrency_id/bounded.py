"""Refuse a publish to a queue in which as many tasks wait as may wait, before anything is sent."""

from __future__ import annotations

from typing import Any, Callable

from .exceptions import QueueFullError
from .policy import policy_of
from .producer import waiting_key

__all__ = ("bounded",)


def bounded(send: Callable[..., Any], app: Any) -> Callable[..., Any]:
    """Return a ``send_task_message`` that takes a place in a bounded queue before it sends.

    A retry belongs to work that was accepted, and is not refused; what a worker moves or the broker delivers again does
    not come this way.

    Raises:
        QueueFullError: From the function returned; nothing was sent.
    """
    policy = policy_of(app)

    def send_task_message(producer: Any, name: str, message: Any, *args: Any, **kwargs: Any) -> Any:
        queue = kwargs.get("queue")
        id: Any = getattr(queue, "name", queue)
        reservations: Any = policy.reservations if id in policy.gated else None
        limit = policy.max_waiting_of(id) if reservations is not None else None
        if limit is None:
            return send(producer, name, message, *args, **kwargs)
        about = message.headers if "id" in message.headers else message.body
        task, retries = waiting_key(about["id"], about.get("retries"))
        if retries:
            return send(producer, name, message, *args, **kwargs)
        size = reservations.reserve(id, task, retries, limit)
        if size is not None:
            _forget_result(app, about["id"])
            raise QueueFullError(id, size, limit)
        try:
            return send(producer, name, message, *args, **kwargs)
        except BaseException:
            reservations.cancel(id, task, retries)
            raise

    return send_task_message


def _forget_result(app: Any, task_id: str) -> None:
    """Celery has subscribed to the result already, which will never come."""
    forget = getattr(app.backend, "remove_pending_result", None)
    if forget is not None:
        forget(app.AsyncResult(task_id))
