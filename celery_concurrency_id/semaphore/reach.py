"""A producer's way to the semaphore: connections of this process, and silence for a while where it is away."""

from __future__ import annotations

import logging
import os
from collections import deque
from time import monotonic
from typing import Generic, TypeVar

from .connect import redacted

__all__ = ("Lines", "Reach")

logger = logging.getLogger(__name__)

#: Seconds without a new try after one has failed.
_PAUSE = 1.0

Line = TypeVar("Line")


class Lines(Generic[Line]):
    """Connections that are not in use; may be used by any thread, and none of them after a fork."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        self._pid = os.getpid()

    @property
    def inherited(self) -> bool:
        """Whether this process was forked from the one that used them, and has used none."""
        return self._pid != os.getpid()

    @property
    def own(self) -> deque[Line]:
        """This process's."""
        if self.inherited:
            self._lines, self._pid = deque(), os.getpid()
        return self._lines


class Reach:
    """Whether the semaphore is there, as far as one kind of question knows; may be used by any thread.

    Args:
        url: For the log, where it says once that the semaphore is away, and once that it is back.
        meanwhile: What holds until it is back.
        again: What holds then.
    """

    def __init__(self, url: str, meanwhile: str, again: str) -> None:
        self._url, self._meanwhile, self._again = redacted(url), meanwhile, again
        self._away = False
        self._quiet_until = 0.0

    def worth_a_try(self) -> bool:
        """Say whether to ask: a publish is held up by a Redis that hangs now and then, not each time."""
        return not (self._away and monotonic() < self._quiet_until)

    def is_lost(self, exc: Exception) -> None:
        """It could not be asked."""
        self._quiet_until = monotonic() + _PAUSE
        if not self._away:
            self._away = True
            why = str(exc) or type(exc).__name__
            logger.error("semaphore at %s cannot be reached (%s): %s", self._url, why, self._meanwhile)

    def is_there(self) -> None:
        """It has answered."""
        if self._away:
            self._away = False
            logger.warning("semaphore at %s is back%s", self._url, self._again)
