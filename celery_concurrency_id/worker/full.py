"""Says in the log why tasks wait: once when they begin to, not for every task and every try."""

from __future__ import annotations

import logging
from time import monotonic

__all__ = ("FullIds",)

logger = logging.getLogger(__name__)

#: Seconds in which an id is told of once.
_AGAIN = 60.0


class FullIds:
    """The ids that were told of lately."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def wait(self, id: str, tasks: int) -> None:
        """Tasks of an id wait, since every slot of it is taken."""
        now = monotonic()
        if self._told.get(id, float("-inf")) > now - _AGAIN:
            return
        self._told = {other: told for other, told in self._told.items() if told > now - _AGAIN}
        self._told[id] = now
        logger.info("concurrency: every slot of %r is taken; %d tasks wait", id, tasks)
