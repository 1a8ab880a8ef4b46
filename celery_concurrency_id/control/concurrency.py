"""The API: look at every limit of an app, and change it while everything runs."""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from ..exceptions import InvalidControl
from ..queues import dedicated_queue
from ..semaphore.operator import OperatorVerbs
from .broker import purged
from .checked import check_timeout, checked_expires, checked_limit, checked_text, checked_token, unknown_id
from .look import details, gated, known_ids, line_to, statuses
from .observe import observed_of
from .positions import positions_of
from .views import Drained, Holder, IdDetails, IdStatus, Observed, Position, Why
from .watching import follow, follow_async
from .why import explain

__all__ = ("Concurrency",)

#: Seconds between two looks at what still runs.
_LOOK = 0.2


class Concurrency:
    """The limits of an app, as an operator sees them.

    What is set here lasts over restarts and deployments: it is kept in Redis, beside the slots, and only a Redis that
    loses its data forgets it. Each call makes a connection of its own, so that an object may be used by any thread and
    after a fork.

    Args:
        app: A Celery app.
        by: Who acts, for those who look later. Unset: the user and the host of this process.

    Raises:
        SemaphoreUnavailable: From every call, when Redis cannot be reached.
        InvalidControl: From every call, when an argument cannot be right, before anything is changed.
    """

    def __init__(self, app: Any, by: str | None = None) -> None:
        self._app = app
        self._by = checked_text("Concurrency", "by", by) or _who()

    @property
    def app(self) -> Any:
        """The Celery app."""
        return self._app

    # Look

    def list(self) -> tuple[IdStatus, ...]:
        """Return how every id is that this app's tasks name, that a worker serves, or that an operator changed."""
        with line_to(self._app) as line:
            return statuses(self._app, line, known_ids(self._app, line))

    def show(self, id: str, head: int = 10) -> IdDetails:
        """Return how an id is, who holds its slots, and what waits first.

        Args:
            id: The concurrency id.
            head: How many waiting tasks to tell of.
        """
        with line_to(self._app) as line:
            self._check_id("show", id, line)
            return details(self._app, line, id, head)

    def why(self, task_id: str) -> Why:
        """Say where a task is, and why it does not run.

        Looks for it in Redis, then in the result backend, then asks the workers, which takes a second. That Redis or
        the broker cannot be reached is part of the answer, not an error.
        """
        task = checked_text("why", "task_id", task_id)
        if not task:
            raise InvalidControl("why", "task_id", task_id, "the id of a task")
        return explain(self._app, task)

    def observed(self, id: str, anew: bool = False) -> Observed:
        """Return what a limit that only watches (``concurrency_observe``) would have done since it began.

        Args:
            id: The concurrency id.
            anew: Whether to begin anew after that.

        Raises:
            InvalidControl: The id's limit does not only watch.
        """
        with line_to(self._app) as line:
            self._check_id("observed", id, line)
            now, figures, running, waiting = line.observed(id, anew)
            if not figures and not self._status(line, id).observes:
                expected = f"an id with concurrency_observe; the limit of {id!r} does not only watch"
                raise InvalidControl("observed", "id", id, expected)
            return observed_of(id, now, figures, running, waiting, self._status(line, id).observes or 0)

    def position(self, task_id: str, concurrency_id: str | None = None) -> Position:
        """Return where a task is, and when it is expected to start and to end.

        For tasks of which only the id is known, as those that were sent by ``send_task``; results of a ``QueuedTask``
        have a ``position`` of their own.

        Args:
            task_id: The id of the task.
            concurrency_id: Its concurrency id, where that is known; unset, it is searched for.
        """
        return positions_of(self._app).of(task_id, None, concurrency_id)

    def positions(
        self, task_id: str, concurrency_id: str | None = None, interval: float = 0.5, timeout: float | None = None
    ) -> Iterator[Position]:
        """Yield where a task is: now, and whenever that has changed, until it is done.

        Args:
            task_id: The id of the task.
            concurrency_id: As ``position`` has it.
            interval: Seconds between two looks; 0.1 at the least. They are farther apart where very many watch.
            timeout: Seconds after which the iterator ends; None for as long as it takes.
        """
        return follow(self._app, task_id, None, concurrency_id, interval, timeout)

    def apositions(
        self, task_id: str, concurrency_id: str | None = None, interval: float = 0.5, timeout: float | None = None
    ) -> AsyncIterator[Position]:
        """Return the same as ``positions`` for ``async for``; it holds no thread."""
        return follow_async(self._app, task_id, None, concurrency_id, interval, timeout)

    # Change

    def set(
        self, id: str, limit: int | None, expires: float | timedelta | None = None, note: str | None = None
    ) -> IdStatus:
        """Set a limit that stands over the configuration and the code, from now on.

        Lowering it lets what runs end; nothing new starts until fewer run.

        Args:
            id: The concurrency id.
            limit: An int of 1 or more; None for no limit. To let nothing run, ``pause``.
            expires: Seconds (or a timedelta) until the code's limit holds again; None for never.
            note: Why, for those who look later.

        Returns:
            How the id is now.
        """
        number, lasts = checked_limit(limit), checked_expires(expires)
        text = checked_text("set", "note", note)
        with self._changing("set", id) as line:
            line.limit(id, number, lasts, self._by, text)
            return self._status(line, id)

    def reset(self, id: str) -> IdStatus:
        """Go back to the limit of the configuration or the code; return how the id is now."""
        with self._changing("reset", id) as line:
            line.limit(id, None, 0, "", "")
            return self._status(line, id)

    def pause(self, id: str, note: str | None = None) -> IdStatus:
        """Start no task of an id until it is resumed; what runs goes on. Return how the id is now."""
        text = checked_text("pause", "note", note)
        with self._changing("pause", id) as line:
            line.pause(id, True, self._by, text)
            return self._status(line, id)

    def resume(self, id: str) -> IdStatus:
        """Let the tasks of a paused id start again, at once; return how the id is now."""
        with self._changing("resume", id) as line:
            line.pause(id, False, "", "")
            return self._status(line, id)

    def drain(self, id: str, timeout: float | None = None, note: str | None = None) -> Drained:
        """Pause an id, and wait until what runs has ended; what waits stays in its queue, and the id stays paused.

        Args:
            id: The concurrency id.
            timeout: Seconds to wait; None for as long as it takes.
            note: Why, for those who look later.

        Returns:
            Whether nothing runs any more.
        """
        check_timeout("drain", timeout)
        status = self.pause(id, note)
        deadline = None if timeout is None else time.monotonic() + timeout
        while status.running and (deadline is None or time.monotonic() < deadline):
            # Between two looks, until the deadline.
            time.sleep(_LOOK if deadline is None else max(0.0, min(_LOOK, deadline - time.monotonic())))
            with line_to(self._app) as line:
                status = self._status(line, id)
        return Drained(id, status.running == 0, status.running, status.waiting)

    def purge(self, id: str) -> int:
        """Delete what waits in an id's queue, for ever; return how many messages.

        What a worker has in hand stays: running tasks, those that are not due, one that it fetched ahead.
        """
        with self._changing("purge", id) as line:
            before = line.overview([id]).time
            count = purged(self._app, dedicated_queue(self._app, id))
            line.forget(id, before)
            return count

    def release(self, id: str, token: str | int) -> Holder:
        """Free a slot by hand: for one that is stuck. A task that runs in it goes on, beside the limit.

        Args:
            id: The concurrency id.
            token: Of the slot, as ``show`` tells it.

        Returns:
            The slot as it was.
        """
        name = checked_token(token)
        with self._changing("release", id) as line:
            held = details(self._app, line, id, 0).holders
            found = next((holder for holder in held if holder.token == name), None)
            if found is None or line.release(id, name) is None:
                tokens = ", ".join(holder.token for holder in held)
                expected = f"one of {tokens}" if tokens else f"the token of a slot, but none of {id!r} is held"
                raise InvalidControl("release", "token", token, expected)
            return found

    @contextmanager
    def _changing(self, command: str, id: str) -> Iterator[OperatorVerbs]:
        with line_to(self._app) as line:
            self._check_id(command, id, line)
            yield line

    def _check_id(self, command: str, id: Any, line: OperatorVerbs) -> None:
        """Refuse an id that neither the app nor Redis knows: changing it would change nothing."""
        if isinstance(id, str) and id:
            if id in gated(self._app):
                return
            row = line.overview([id]).rows[0]
            if row.limit is not None or row.fields or row.announced or row.workers:
                return
        raise unknown_id(command, id, known_ids(self._app, line))

    def _status(self, line: OperatorVerbs, id: str) -> IdStatus:
        return statuses(self._app, line, [id])[0]


def _who() -> str:
    try:
        user = getpass.getuser()
    except Exception:  # a user id without a name, in a container
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
