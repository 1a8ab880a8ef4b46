"""The routing rule: a gated task goes to the queue of its concurrency id, whatever else names a queue."""

from __future__ import annotations

from typing import Any

from .exceptions import InvalidOption
from .families import HEADER
from .policy import Policy
from .queues import dedicated_queue, dynamic_queue

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
        policy = self._policy
        if not policy.gates(name):
            return self._router.route(self._carried(options, name), name, args, kwargs, task_type)
        routed = dict(options)
        id, headers = routed.pop(HEADER, None), routed.get("headers") or {}
        if id is not None and policy.needs_of(policy.ids.get(name, "")):
            expected = "no such option: the task needs slots of several limits, or several slots"
            raise InvalidOption(name, HEADER, id, expected)
        if "concurrency" in routed:
            expected = "no such option of a call: it stands on the task, or in concurrency_tasks"
            raise InvalidOption(name, "concurrency", routed["concurrency"], expected)
        if id is None:
            id = headers.get(HEADER)  # a retry keeps the id that its first message had
        if id is not None:
            policy.check_id(name, id)
        else:
            try:
                id = policy.id_for(name, args, kwargs)
            except InvalidOption:
                if policy.has_code(name):
                    raise
                # Only the task's name is known here: a worker can tell the id.
                return self._router.route(options, name, args, kwargs, task_type)
        if id != policy.ids.get(name):
            routed["headers"] = {**headers, HEADER: id}
        for key in _DESTINATION:
            routed.pop(key, None)
        if self._router.routes:
            routed = dict(self._router.route(routed, name, args, kwargs, task_type))
            for key in _DESTINATION:
                routed.pop(key, None)
        routed["queue"] = self._queue(id)
        return routed

    def _carried(self, options: Any, name: str) -> Any:
        """Where nobody here knows the task, the worker that gets the message shall know the id that the caller named.

        Raises:
            InvalidOption: The task is known, and has no limit.
        """
        if HEADER not in options:
            return options
        options = dict(options)
        id = options.pop(HEADER)
        if id is None:
            return options
        if name in self._router.app.tasks:
            raise InvalidOption(name, HEADER, id, "no such option: the task has no limit, since it is no QueuedTask")
        return {**options, "headers": {**(options.get("headers") or {}), HEADER: self._policy.check_id(name, id)}}

    def _queue(self, id: str) -> Any:
        if id not in self._policy.gated:
            return dynamic_queue(self._router.app, id)
        queue = self._queues.get(id)
        if queue is None:
            queue = self._queues[id] = dedicated_queue(self._router.app, id)
        return queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._router, name)
