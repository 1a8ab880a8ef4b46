"""Slots beyond the places: where very short tasks of many ids wait, the next slots are there before the places are.

A call to the semaphore for each such task would cost more than the task. So slots are asked for while tasks run,
several in one call; none stands idle for long, and only where so many ids wait that nobody misses it.
"""

from __future__ import annotations

from typing import Any

__all__ = ("Reserve",)

#: Seconds from the pool's taking a task to its end; tasks that take less are very short.
_VERY_SHORT = 0.05
#: Ids with a free slot and a waiting task beyond those that were granted: with fewer, somebody may want the slots.
_MANY_IDS = 50
#: However many places a pool has.
_MOST = 16


class Reserve:
    """Says how many slots a worker may hold beyond its places.

    Args:
        places: The pool's.
        enabled: Whether there may be any.

    Attributes:
        patience: Seconds for which such a slot waits for a place, and is given back then.
    """

    patience = 0.05

    def __init__(self, places: Any, enabled: bool) -> None:
        self._places = places
        self._enabled = enabled and not places.blocks
        self._pace = 1.0
        self._ready = 0

    def took(self, seconds: float) -> None:
        """A task has ended; each new one counts for a tenth."""
        self._pace += 0.1 * (seconds - self._pace)

    def heard(self, ready: int) -> None:
        """So many ids were ready when slots were last acquired."""
        self._ready = ready

    @property
    def size(self) -> int:
        """How many."""
        if not self._enabled or self._pace >= _VERY_SHORT or self._ready < _MANY_IDS:
            return 0
        return min(int(self._places.size), _MOST)
