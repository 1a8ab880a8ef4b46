"""What ``delay``, ``apply_async`` and ``AsyncResult`` of a ``QueuedTask`` return: results that know their position."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

from celery.result import EagerResult

from .control import Position
from .control.positions import positions_of
from .control.watching import follow, follow_async

__all__ = ("PositionMixin", "QueuedEagerResult", "with_position")


class PositionMixin:
    """A result that knows where its task is in the line of its concurrency id."""

    app: Any
    id: str
    #: The name of the task, which ``AsyncResult`` itself asks the result backend for.
    queued_name: str | None = None

    def position(self, concurrency_id: str | None = None) -> Position:
        """Return where the task is, and when it is expected to start and to end.

        Args:
            concurrency_id: Its concurrency id, to spare a search where it was made for the call.

        Raises:
            SemaphoreUnavailable: Redis cannot be reached.
            InvalidControl: Nobody knows that concurrency id.
        """
        return positions_of(self.app).of(self.id, self.queued_name, concurrency_id)

    async def aposition(self, concurrency_id: str | None = None) -> Position:
        """Return the same as ``position``, without holding up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(None, partial(self.position, concurrency_id))

    def positions(
        self, concurrency_id: str | None = None, interval: float = 0.5, timeout: float | None = None
    ) -> Iterator[Position]:
        """Yield where the task is: now, and whenever that has changed, until it is done.

        Args:
            concurrency_id: As ``position`` has it.
            interval: Seconds between two looks; 0.1 at the least. They are farther apart where very many watch.
            timeout: Seconds after which the iterator ends; None for as long as it takes.

        Raises:
            SemaphoreUnavailable: Redis cannot be reached for ten seconds.
            InvalidControl: An argument cannot be right.
        """
        return follow(self.app, self.id, self.queued_name, concurrency_id, interval, timeout)

    def apositions(
        self, concurrency_id: str | None = None, interval: float = 0.5, timeout: float | None = None
    ) -> AsyncIterator[Position]:
        """Return the same as ``positions`` for ``async for``; it holds no thread."""
        return follow_async(self.app, self.id, self.queued_name, concurrency_id, interval, timeout)


class QueuedEagerResult(PositionMixin, EagerResult):  # type: ignore[type-arg]  # as in task.py
    """The result of a task that ran where it was called: it never waits."""

    def position(self, concurrency_id: str | None = None) -> Position:
        return Position(self.id, "done")

    def positions(
        self, concurrency_id: str | None = None, interval: float = 0.5, timeout: float | None = None
    ) -> Iterator[Position]:
        yield self.position()

    async def apositions(
        self, concurrency_id: str | None = None, interval: float = 0.5, timeout: float | None = None
    ) -> AsyncIterator[Position]:
        yield self.position()


def with_position(result_cls: Any) -> Any:
    """Return an app's class of results with ``PositionMixin``; the same one every time."""
    made = vars(result_cls).get("class_with_position")
    if made is None:
        made = type(result_cls.__name__, (PositionMixin, result_cls), {"__module__": result_cls.__module__})
        result_cls.class_with_position = made
    return made
