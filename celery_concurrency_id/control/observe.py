"""From the figures of a limit that only watches to what an operator is told."""

from __future__ import annotations

from collections.abc import Mapping

from .views import Observed

__all__ = ("observed_of",)


def observed_of(id: str, now: float, figures: Mapping[str, int], running: int, waiting: int, limit: int) -> Observed:
    """Return what a limit that only watches would have done.

    Args:
        figures: As ``semaphore/keys.py`` names them; none where no task has started yet.
        limit: The limit, where the figures do not say it.
    """
    since = figures["since"] / 1e6 if "since" in figures else now
    begun = figures.get("begun", 0)
    return Observed(
        id=id,
        limit=figures.get("limit", limit),
        since=since,
        seconds=max(0.0, now - since),
        tasks=figures.get("tasks", 0),
        running=running,
        peak=figures.get("peak", 0),
        waited=figures.get("waited", 0),
        waiting=waiting,
        line=figures.get("line", 0),
        wait_mean=figures.get("wait", 0) / begun / 1e6 if begun else None,
        wait_median=_share(figures, begun, 0.5),
        wait_95=_share(figures, begun, 0.95),
        wait_longest=figures.get("longest", 0) / 1e6 if begun else None,
        beyond=figures.get("beyond", 0),
    )


def _share(figures: Mapping[str, int], begun: int, share: float) -> float | None:
    """Return a wait that so large a share did not exceed; never more than the longest."""
    counted = 0
    steps = sorted((int(name[len("over:") :]), count) for name, count in figures.items() if name.startswith("over:"))
    for power, count in steps:
        counted += count
        if counted >= share * begun:
            return float(min(2**power / 1e3, figures["longest"] / 1e6))
    return None
