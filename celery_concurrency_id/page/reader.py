"""Looks at the limits for everybody who watches: once for all of them, and not at all while nobody does."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Any, Callable, Generic, TypeVar

from ..control import Concurrency, IdDetails, IdStatus
from ..exceptions import SemaphoreUnavailable
from ..semaphore.connect import redacted
from .history import History

__all__ = ("Reader", "Shared", "worth_seeing")

T = TypeVar("T")

#: Ids of which the last minutes are kept, and that may be watched one by one; tasks of the head of a queue.
_KEPT, _WATCHED, _HEAD = 200, 50, 20


class Shared(Generic[T]):
    """What a look found, shared by all who ask within an interval.

    A look that takes long makes the interval longer: looking never takes more than a tenth of the time.

    Attributes:
        value: What the last look that worked found; None before.
        at: When that was, in seconds since 1970.
        trouble: Why the last look found nothing; empty if it did.
        since: Since when it does not.
    """

    def __init__(self, look: Callable[[], T], interval: float) -> None:
        self._look, self._interval = look, interval
        self._lock = threading.Lock()
        self._due, self._expired = 0.0, 0
        self.value: T | None = None
        self.at = self.since = 0.0
        self.trouble = ""

    def ask(self) -> Shared[T]:
        """Look, if it is time to, and nobody else does."""
        nothing = self.value is None and not self.trouble
        if time.monotonic() >= self._due and self._lock.acquire(blocking=nothing):
            try:
                if time.monotonic() >= self._due:
                    self._refresh()
            finally:
                self._lock.release()
        return self

    def expire(self) -> None:
        """What is known is no longer true."""
        self._expired += 1
        self._due = 0.0

    def _refresh(self) -> None:
        began, expired = time.monotonic(), self._expired
        try:
            self.value, self.at, self.trouble = self._look(), time.time(), ""
        except SemaphoreUnavailable as exc:
            self.since = self.since if self.trouble else time.time()
            self.trouble = redacted(str(exc))
        now = time.monotonic()
        if expired == self._expired:  # else it may have looked before what was changed
            self._due = now + max(self._interval, 9 * (now - began))


class Reader:
    """What the page tells of an app's limits.

    Args:
        app: A Celery app.
        interval: Seconds between two looks while somebody watches.
    """

    def __init__(self, app: Any, interval: float) -> None:
        self._app, self._interval = app, interval
        self._control = Concurrency(app, by="page")
        self._imported = False
        self._watched: OrderedDict[str, Shared[IdDetails]] = OrderedDict()
        self._lock = threading.Lock()
        self.history = History()
        self.list = Shared(self._list, interval)

    def details(self, id: str) -> Shared[IdDetails]:
        """Return an id with its holders and what waits.

        Raises:
            InvalidControl: Nobody knows the id.
        """
        with self._lock:
            shared = self._watched.pop(id, None) or Shared(lambda: self._control.show(id, _HEAD), self._interval)
        shared.ask()  # an id that nobody knows is not kept
        with self._lock:
            self._watched[id] = shared
            while len(self._watched) > _WATCHED:
                self._watched.popitem(last=False)
        return shared

    def expire(self) -> None:
        """Something was changed: look again."""
        with self._lock:
            self.list.expire()
            for shared in self._watched.values():
                shared.expire()

    def _list(self) -> tuple[IdStatus, ...]:
        if not self._imported:  # the tasks name the ids
            self._app.loader.import_default_modules()
            self._app.finalize(auto=True)
            self._imported = True
        statuses = sorted(self._control.list(), key=worth_seeing)
        with self._lock:
            watched = set(self._watched)
        self.history.add(time.time(), [*statuses[:_KEPT], *(each for each in statuses[_KEPT:] if each.id in watched)])
        return tuple(statuses)


def worth_seeing(status: IdStatus) -> tuple[bool, int, str]:
    """Sort by this: what is stuck first, then the busiest."""
    stuck = status.waiting > 0 and (status.pause is not None or not status.workers)
    return not stuck, -(status.running + status.waiting), status.id
