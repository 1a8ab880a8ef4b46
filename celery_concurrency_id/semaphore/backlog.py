"""What a producer could not tell of ids that were made for calls: kept, and told when Redis is back."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from time import monotonic

from .semaphore import Known

__all__ = ("Backlog", "Learnt")

#: How many ids a process remembers; those used least lately are forgotten first.
MOST = 10_000


class Backlog:
    """Ids of which Redis has not heard; may be used by any thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, each: Iterable[Known]) -> None:
        """Keep these until they are taken."""
        with self._lock:
            for known in each:
                self._known[known.id] = known
                self._known.move_to_end(known.id)
            while len(self._known) > MOST:
                self._known.popitem(last=False)

    def take(self, most: int) -> list[Known]:
        """Return some of them, which are no longer kept."""
        with self._lock:
            return [self._known.popitem()[1] for _ in range(min(most, len(self._known)))]


class Learnt:
    """Ids that Redis is certain to know, since this process has told it of them lately; may be used by any thread.

    Args:
        ttl: Seconds after which an id has to be told anew.
    """

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._known: OrderedDict[str, tuple[Known, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, known: Known, since: float) -> None:
        """Redis was told; ``since``: this process's monotonic clock before that."""
        with self._lock:
            self._known[known.id] = known, since
            self._known.move_to_end(known.id)
            while len(self._known) > MOST:
                self._known.popitem(last=False)

    def has(self, known: Known) -> bool:
        """Say whether an id need not be told now."""
        with self._lock:
            told, since = self._known.get(known.id, (None, 0.0))
            if told is None:
                return False
            if monotonic() - since < self._ttl:
                return True
            del self._known[known.id]
            return False

    def forget(self) -> list[Known]:
        """Redis may have lost them; return those that it should be told of again."""
        with self._lock:
            oldest = monotonic() - self._ttl
            lately = [known for known, since in self._known.values() if since >= oldest]
            self._known.clear()
            return lately
