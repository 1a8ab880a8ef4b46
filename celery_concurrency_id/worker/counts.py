"""What a worker knows of each id that it holds slots of: how many, and how many tasks wait for one."""

from __future__ import annotations

from collections import Counter

__all__ = ("Counts",)


class Counts:
    """Ids come and go: nothing is kept of those without a slot."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._claimable: dict[str, int] = {}

    def granted(self, id: str) -> None:
        """A slot is held."""
        self._held[id] += 1

    def gone(self, id: str) -> None:
        """A slot is held no more."""
        self._held[id] -= 1
        if not self._held[id]:
            del self._held[id]
            self._claimable.pop(id, None)

    def told(self, id: str, claimable: int) -> None:
        """So many tasks wait that nobody is about to fetch."""
        self._claimable[id] = claimable

    def fetched(self, id: str, messages: int = 1) -> None:
        """Messages were fetched."""
        self._claimable[id] = max(self._claimable.get(id, 0) - messages, 0)

    def claimable(self, id: str) -> int:
        """Return how many tasks wait that nobody is about to fetch, as far as this worker knows."""
        return self._claimable.get(id, 0)

    def held(self, id: str) -> int:
        """Return how many slots are held."""
        return self._held[id]

    def by_id(self) -> dict[str, int]:
        """Return how many slots are held of each id."""
        return dict(self._held)
