"""How fast tasks leave the queues: the difference of two looks."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ..control.views import IdStatus

__all__ = ("Rates",)


class Rates:
    """Announced tasks per second that leave each queue, from one look to the next."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._looked = 0.0

    def since_last(self, statuses: Iterable[IdStatus]) -> dict[str, float]:
        """Return the rates since the last look, by id; nothing at the first."""
        now, taken = time.monotonic(), {each.id: each.taken for each in statuses}
        seconds = max(now - self._looked, 0.001)
        rates = {id: max(0, count - self._before[id]) / seconds for id, count in taken.items() if id in self._before}
        self._before, self._looked = taken, now
        return rates
