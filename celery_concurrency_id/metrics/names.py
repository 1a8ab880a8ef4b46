"""Bounded labels: so many ids have series of their own, the others share one."""

from __future__ import annotations

from collections.abc import Iterable

from ..control.views import IdStatus

__all__ = ("LABEL", "OTHERS", "Names", "split")

#: The label that names an id.
LABEL = "concurrency_id"
#: The label of all ids together that have no series of their own; no id has a space in it.
OTHERS = "all others"


class Names:
    """The ids that have series of their own in this process: the first that come.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._own: set[str] = set()

    def of(self, id: str) -> str:
        """Return the label of an id."""
        if id not in self._own:
            if len(self._own) >= self._most:
                return OTHERS
            self._own.add(id)
        return id


def split(
    statuses: Iterable[IdStatus], most: int, always: frozenset[str], gated: frozenset[str]
) -> tuple[list[IdStatus], list[IdStatus]]:
    """Return the ids that get series of their own now, and the others.

    First those that shall always have some, then those where most tasks wait, then those where most run, then those
    that tasks of the app name.
    """
    ranked = sorted(
        statuses,
        key=lambda each: (each.id not in always, -each.waiting, -each.running, each.id not in gated, each.id),
    )
    cut = max(most, sum(each.id in always for each in ranked))
    return ranked[:cut], ranked[cut:]
