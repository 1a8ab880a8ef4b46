"""What an operator sees and does: limits, pauses, who runs, who waits and why."""

from __future__ import annotations

from .concurrency import Concurrency
from .expected import Expected
from .views import Away, Drained, Holder, IdDetails, IdStatus, Observed, Override, Pause, Position, Waiting, Why

__all__ = (
    "Away",
    "Concurrency",
    "Drained",
    "Expected",
    "Holder",
    "IdDetails",
    "IdStatus",
    "Observed",
    "Override",
    "Pause",
    "Position",
    "Waiting",
    "Why",
)
