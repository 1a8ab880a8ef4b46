"""Places in bounded queues: taken by producers before they publish, given back where the publish fails."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Callable

from ..exceptions import SemaphoreUnavailable
from . import keys
from .client import Client
from .connect import redacted
from .reach import Lines, Reach
from .semaphore import Semaphore

__all__ = ("Reservations",)

logger = logging.getLogger(__name__)

#: Seconds that a publish may be held up by a Redis that hangs, twice each time that it is tried.
_TIMEOUT = 0.5


class Reservations:
    """Takes and gives back places; may be used by any thread, and after a fork.

    While Redis is away there is no bound: publishing goes on, and the log says so.
    """

    def __init__(self, url: str, namespace: str, options: Mapping[str, Any] | None = None) -> None:
        self._url = url
        self._options = dict(options or {})
        self._prefix = keys.prefix(namespace)
        self._lines: Lines[Semaphore] = Lines()
        self._reach = Reach()

    def reserve(self, id: str, task: str, retries: int, most: int) -> int | None:
        """Take a place among the waiting tasks of an id; return None, or how many wait where there is no place."""
        if not self._reach.worth_a_try():
            return None
        try:
            taken, size = self._ask(lambda line: line.reserve(id, task, retries, most))
        except SemaphoreUnavailable as exc:
            if self._reach.lost():
                logger.error(
                    "semaphore at %s cannot be reached (%s): until it is back, queues have no bound",
                    redacted(self._url),
                    exc,
                )
            return None
        if self._reach.found():
            logger.warning("semaphore at %s is back: queues have their bounds", redacted(self._url))
        return None if taken else size

    def cancel(self, id: str, task: str, retries: int) -> None:
        """Give a place back; one that cannot be given back lapses by itself."""
        try:
            self._ask(lambda line: line.cancel(id, task, retries))
        except SemaphoreUnavailable:
            pass

    def _ask(self, question: Callable[[Semaphore], Any]) -> Any:
        lines = self._lines.own
        while True:
            line = lines.pop() if lines else None
            fresh = line is None
            if line is None:
                line = Semaphore(Client(self._url, self._prefix, self._options, _TIMEOUT), "")
            try:
                answer = question(line)
            except SemaphoreUnavailable:
                # It may have died of idleness, or with a server that is back already: then a new one tells. What was
                # asked may be asked twice.
                line.close()
                lines.clear()
                if fresh:
                    raise
            else:
                lines.append(line)
                return answer
