"""What a worker remembers of ids that were made for calls, so that it can tell Redis if that loses them."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from time import monotonic
from typing import Any, Callable

from ..semaphore.semaphore import Known

__all__ = ("Directory",)

logger = logging.getLogger(__name__)

#: Ids remembered; those heard of least lately are forgotten first.
MOST = 20_000
#: Seconds after its start in which a worker forgets nothing: the broker first has to return what dead workers held.
_PATIENCE = 600.0


class Directory:
    """Ids that this worker has heard of lately; may be used by any thread.

    Args:
        families: Names of the families that the worker serves.
        ttl: Seconds after which an id that nobody uses is forgotten.
        limit_of: Returns the limit of an id of a family.
        needs_of: Returns what its tasks need of other limits.
    """

    def __init__(
        self,
        families: Iterable[str],
        ttl: float,
        limit_of: Callable[[str, str], int | None],
        needs_of: Callable[[str, str], str] = lambda id, family: "",
    ) -> None:
        self.families = tuple(families)
        self._ttl = ttl
        self._limit_of = limit_of
        self._needs_of = needs_of
        self._families: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._lock = threading.Lock()
        self._forgets_after = monotonic() + min(ttl, _PATIENCE)
        #: How many queues are looked at, or deleted, at a time; 0 while there is no broker.
        self.batch = 0

    def attach(self, batch: int, visibility_timeout: float | None) -> None:
        """The broker is connected."""
        if visibility_timeout:
            # What a dead worker held comes back only then, and must find its id known.
            self._ttl = max(self._ttl, 2 * visibility_timeout)
        self.batch = batch

    @property
    def ttl(self) -> float:
        """Seconds of silence after which this worker forgets an id now; 0: it forgets none."""
        return self._ttl if self.batch and monotonic() >= self._forgets_after else 0.0

    def hear(self, each: Iterable[tuple[str, str]]) -> None:
        """These ids are in use; each comes with its family."""
        now = monotonic()
        with self._lock:
            for id, family in each:
                self._families[id] = family, now
                self._families.move_to_end(id)
            while len(self._families) > MOST:
                self._families.popitem(last=False)

    def forget(self, ids: Iterable[str]) -> None:
        """These ids are forgotten."""
        with self._lock:
            for id in ids:
                self._families.pop(id, None)

    def ids(self) -> list[str]:
        """Return the ids heard of lately."""
        return [id for id, _ in self._lately()]

    def known(self) -> list[Known]:
        """Return the same with what the semaphore has to know of them."""
        known = []
        for id, family in self._lately():
            try:
                known.append(Known(id, family, self._limit_of(id, family) or 0, self._needs_of(id, family)))
            except Exception:
                logger.exception("concurrency: no limit for id %r of %r", id, family)
        return known

    def _lately(self) -> list[tuple[str, str]]:
        with self._lock:
            oldest: Any = monotonic() - self._ttl
            while self._families and next(iter(self._families.values()))[1] < oldest:
                self._families.popitem(last=False)
            return [(id, family) for id, (family, _) in self._families.items()]
