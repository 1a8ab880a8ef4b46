"""What an operator sees and does: limits, pauses, who runs, who waits and why."""

from __future__ import annotations

from .concurrency import Concurrency
from .views import Drained, Holder, IdDetails, IdStatus, Observed, Override, Pause, Waiting, Why

__all__ = (
    "Concurrency",
    "Drained",
    "Holder",
    "IdDetails",
    "IdStatus",
    "Observed",
    "Override",
    "Pause",
    "Waiting",
    "Why",
)
