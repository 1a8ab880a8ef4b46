"""Results that notice when a task waits for one that can only run once it ends itself."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Callable

from celery import current_task
from celery.exceptions import TimeoutError

from .exceptions import DeadlockError, SemaphoreUnavailable
from .policy import policy_of
from .semaphore.tasks import Holder, tasks_line
from .yielding import holder_of

__all__ = ("WatchedResult", "WatchedSet", "watch")

#: Seconds until the first look, long enough for a task that runs at once, and between two looks.
_FIRST, _LOOK = 0.5, 1.0
#: Of a long chain, the results nearest to the end: what is looked at.
_MOST = 20


class WatchedResult:
    """Goes before a result class: ``get`` in a task that holds a slot looks now and then whether it can ever return.

    Raises:
        DeadlockError: From ``get``, where it cannot.
    """

    def get(self, timeout: Any = None, *args: Any, **kwargs: Any) -> Any:
        watch = _watch_of(self)
        get: Any = super().get  # type: ignore[misc]  # of the class behind it
        return get(timeout, *args, **kwargs) if watch is None else watch.wait(partial(_get, get, args, kwargs), timeout)

    wait = get  # Celery's old name


class WatchedSet:
    """Goes before a class of several results: a join waits for each by its ``get``, which looks; Celery's quicker way
    has no place for that."""

    def join_native(self, *args: Any, **kwargs: Any) -> Any:
        sets: Any = super()
        each = _holds_slot() and not kwargs.get("on_message")
        return (sets.join if each else sets.join_native)(*args, **kwargs)


def watch(app: Any) -> None:
    """Let the results of an app notice; classes of the user's own stay what they are otherwise."""
    for name, first in (("AsyncResult", WatchedResult), ("ResultSet", WatchedSet), ("GroupResult", WatchedSet)):
        cls = getattr(app, name)
        setattr(app, name, type(cls.__name__, (first, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__}))


def _get(get: Callable[..., Any], args: Any, kwargs: Any, timeout: Any) -> Any:
    return get(timeout, *args, **kwargs)


def _holder() -> Holder | None:
    """Return the slot that the running task holds, and has not given back."""
    holder = holder_of(current_task) if current_task else None
    return None if holder is None or getattr(current_task.request, "concurrency_yields", None) else holder


def _holds_slot() -> bool:
    return _holder() is not None


def _watch_of(result: Any) -> _Watch | None:
    holder = _holder()
    return None if holder is None else _Watch(result, holder)


class _Watch:
    """One ``get`` in a task that holds a slot."""

    def __init__(self, result: Any, holder: Holder) -> None:
        self._result, self._holder = result, holder
        self._app = current_task.app

    def wait(self, get: Callable[[Any], Any], timeout: Any) -> Any:
        began, pause = time.monotonic(), _FIRST
        timeout = timeout or None  # to Celery, 0 is none
        while True:
            left = None if timeout is None else timeout - (time.monotonic() - began)
            try:
                return get(pause if left is None else max(0.001, min(pause, left)))
            except TimeoutError as exc:
                if self._result.ready():
                    raise  # the task's own
                error = self._look(timeout is None)
                if error is not None and timeout is None:
                    raise error from None
                if left is not None and left <= pause:
                    raise (exc if error is None else TimeoutError(f"{exc} ({error})")) from None
            pause = _LOOK

    def _look(self, endless: bool) -> DeadlockError | None:
        settings = policy_of(self._app).settings
        try:
            with tasks_line(settings.url, settings.namespace, settings.options) as line:
                found = line.blocked(self._holder, self._tasks(), endless)
        except SemaphoreUnavailable:
            return None
        return DeadlockError(self._holder.id, found.holders, found.task) if found.state == 2 else None

    def _tasks(self) -> list[str]:
        """Return what has to end before the result is there: also what comes before it in a chain."""
        tasks: list[str] = []
        each: Any = self._result
        while each is not None and len(tasks) < _MOST:
            for member in getattr(each, "results", None) or [each]:
                if len(tasks) < _MOST and not member.ready():
                    tasks.append(str(member.id))
            each = each.parent
        return tasks
