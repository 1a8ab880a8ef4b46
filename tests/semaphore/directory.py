"""The directory of ids that were made for calls, as the model has it."""

from __future__ import annotations

import math
from typing import Callable


class Directory:
    """Which ids there are; what each is, and who serves it, the model knows.

    Attributes:
        used: When each was last used, in microseconds.
        looked_up: When the queue of each was last looked at.
        fresh: Since when those are known whose queues nobody has looked at.
    """

    def __init__(self) -> None:
        self.used: dict[str, int] = {}
        self.looked_up: dict[str, int] = {}
        self.fresh: dict[str, int] = {}

    def use(self, id: str, now: int) -> None:
        if id not in self.used:
            self.looked_up[id] = self.fresh[id] = now
        self.used[id] = now

    def forget(self, id: str) -> None:
        for each in (self.used, self.looked_up, self.fresh):
            each.pop(id, None)

    def look_up(self, batch: int, now: int, own: Callable[[str], bool], somebodys: Callable[[str], bool]) -> list[str]:
        """Return the ids whose turn it is: of those never looked at as many as half a batch, then the others. What
        nobody serves takes its turn too, so that it stands in nobody's way."""
        lookups: list[str] = []
        for line, most in ((self.fresh, math.ceil(batch / 2)), (self.looked_up, batch)):
            for id in _first(line, 4 * batch):
                if len(lookups) >= most:
                    break
                if own(id) or not somebodys(id):
                    self.fresh.pop(id, None)
                    self.looked_up[id] = now
                    if own(id) and id not in lookups:
                        lookups.append(id)
        return lookups

    def silent(self, batch: int, before: int) -> list[str]:
        """Return ids that were not used since, some of them."""
        return [id for id in _first(self.used, len(self.used)) if self.used[id] <= before][:batch]


def _first(line: dict[str, int], count: int) -> list[str]:
    return sorted(line, key=lambda id: (line[id], id))[:count]
