"""When a task was published: a header that the producer writes, so that the worker can say how long the task waited."""

from __future__ import annotations

import time
from typing import Any

__all__ = ("stamped", "waited")

_HEADER = "concurrency_published"


def stamped(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a publish with the time in the headers; over that of a run before, which a retry brings."""
    return {**options, "headers": {**(options.get("headers") or {}), _HEADER: time.time()}}


def waited(headers: Any, overdue: float | None = None) -> float | None:
    """Return for how many seconds a task that starts now has waited, or None if nobody said when it was published.

    By the clocks of the producer and of this machine. Headers come from anybody: what is no time is nothing.

    Args:
        headers: The message's.
        overdue: Seconds since the task was due, if it had an ETA: before that, it did not wait for a slot.
    """
    since: Any = headers.get(_HEADER) if isinstance(headers, dict) else None
    if type(since) not in (int, float) or not 0 < since < 1e11:
        return None
    seconds: float = max(0.0, time.time() - since)
    return seconds if overdue is None else min(seconds, max(0.0, overdue))
