"""A producer's way to the semaphore: connections of this process, and silence for a while where it is away."""

from __future__ import annotations

import os
from collections import deque
from time import monotonic
from typing import Generic, TypeVar

__all__ = ("Lines", "Reach")

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
    """Whether the semaphore is there, as far as one kind of question knows; may be used by any thread."""

    def __init__(self) -> None:
        self._away = False
        self._quiet_until = 0.0

    def worth_a_try(self) -> bool:
        """Say whether to ask: a publish is held up by a Redis that hangs now and then, not each time."""
        return not (self._away and monotonic() < self._quiet_until)

    def lost(self) -> bool:
        """It could not be asked; say whether that is news."""
        self._quiet_until = monotonic() + _PAUSE
        news, self._away = not self._away, True
        return news

    def found(self) -> bool:
        """It has answered; say whether that is news."""
        news, self._away = self._away, False
        return news
