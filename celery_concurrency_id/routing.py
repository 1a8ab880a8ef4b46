"""The routing rule: a gated task goes to the queue of its concurrency id, whatever else names a queue."""

from __future__ import annotations

from typing import Any

from .policy import Policy
from .queues import dedicated_queue

__all__ = ("ConcurrencyRouter",)

#: Where a message goes; for a gated task only its concurrency id says that.
_DESTINATION = ("queue", "exchange", "routing_key", "exchange_type")


class ConcurrencyRouter:
    """Stands before Celery's router.

    Other options that ``task_routes`` sets, such as a priority, still hold.
    """

    def __init__(self, router: Any, policy: Policy) -> None:
        self._router = router
        self._policy = policy
        self._queues: dict[str, Any] = {}

    def route(self, options: Any, name: str, args: Any = (), kwargs: Any = None, task_type: Any = None) -> Any:
        id = self._policy.id_of(name)
        if id is None:
            return self._router.route(options, name, args, kwargs, task_type)
        routed = dict(options)
        for key in _DESTINATION:
            routed.pop(key, None)
        if self._router.routes:
            routed = dict(self._router.route(routed, name, args, kwargs, task_type))
            for key in _DESTINATION:
                routed.pop(key, None)
        queue = self._queues.get(id)
        if queue is None:
            queue = self._queues[id] = dedicated_queue(self._router.app, id)
        routed["queue"] = queue
        return routed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._router, name)
