"""Places in bounded queues: taken by producers before they publish, given back where the publish fails."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping
from time import monotonic
from typing import Any, Callable

from ..exceptions import SemaphoreUnavailable
from . import keys
from .client import Client
from .connect import redacted
from .semaphore import Semaphore

__all__ = ("Reservations",)

logger = logging.getLogger(__name__)

#: Seconds that a publish may be held up by a Redis that hangs, twice in each ``_PAUSE``.
_TIMEOUT = 0.5
#: Seconds without a new try after one has failed.
_PAUSE = 1.0


class Reservations:
    """Takes and gives back places; may be used by any thread, and after a fork.

    While Redis is away there is no bound: publishing goes on, and the log says so.
    """

    def __init__(self, url: str, namespace: str, options: Mapping[str, Any] | None = None) -> None:
        self._url = url
        self._options = dict(options or {})
        self._prefix = keys.prefix(namespace)
        self._lines: deque[Semaphore] = deque()
        self._pid = os.getpid()
        self._quiet_until = 0.0
        self._away = False

    def reserve(self, id: str, task: str, retries: int, most: int) -> int | None:
        """Take a place among the waiting tasks of an id; return None, or how many wait where there is no place."""
        if self._away and monotonic() < self._quiet_until:
            return None
        try:
            taken, size = self._ask(lambda line: line.reserve(id, task, retries, most))
        except SemaphoreUnavailable as exc:
            self._quiet_until = monotonic() + _PAUSE
            if not self._away:
                self._away = True
                logger.error(
                    "semaphore at %s cannot be reached (%s): until it is back, queues have no bound",
                    redacted(self._url),
                    exc,
                )
            return None
        if self._away:
            self._away = False
            logger.warning("semaphore at %s is back: queues have their bounds", redacted(self._url))
        return None if taken else size

    def cancel(self, id: str, task: str, retries: int) -> None:
        """Give a place back; one that cannot be given back lapses by itself."""
        try:
            self._ask(lambda line: line.cancel(id, task, retries))
        except SemaphoreUnavailable:
            pass

    def _ask(self, question: Callable[[Semaphore], Any]) -> Any:
        if self._pid != os.getpid():
            self._lines, self._pid = deque(), os.getpid()
        while True:
            line = self._lines.pop() if self._lines else None
            fresh = line is None
            if line is None:
                line = Semaphore(Client(self._url, self._prefix, self._options, _TIMEOUT), "")
            try:
                answer = question(line)
            except SemaphoreUnavailable:
                # It may have died of idleness, or with a server that is back already: then a new one tells. What was
                # asked may be asked twice.
                line.close()
                self._lines.clear()
                if fresh:
                    raise
            else:
                self._lines.append(line)
                return answer
