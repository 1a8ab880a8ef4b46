"""``celery inspect active_queues``, and Flower, show the dedicated queues among those that a worker serves."""

from __future__ import annotations

from typing import Any

from celery.worker.control import inspect_command

from ..queues import dedicated_queue

__all__ = ("active_queues",)


@inspect_command()
def active_queues(state: Any) -> list[dict[str, Any]]:
    """List the task queues a worker is currently consuming from."""
    consumer = state.consumer
    if not consumer.task_consumer:
        return []
    served = consumer.concurrency.ids if hasattr(consumer, "concurrency") else []
    queues = [*consumer.task_consumer.queues, *(dedicated_queue(consumer.app, id) for id in served)]
    return [dict(queue.as_dict(recurse=True)) for queue in queues]
