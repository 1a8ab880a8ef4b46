"""Give a task's slot back while the task waits for something else."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Any

from celery import current_task
from celery.exceptions import SoftTimeLimitExceeded

from .exceptions import CannotYield, SemaphoreUnavailable
from .notes import notes_of
from .policy import policy_of
from .semaphore.needs import unpack
from .semaphore.tasks import GONE, HELD, UNKNOWN, WAITS, Holder, tasks_line

__all__ = ("Yielding", "holder_of", "yield_slot")

logger = logging.getLogger(__name__)

#: Seconds after which a task that waits for its slot asks for it again, should it not have been woken.
_LOOK = 1.0
#: Seconds between tries to reach a Redis that is away, or that has yet to hear from the worker.
_RETRY = 0.2


def yield_slot(task: Any = None) -> Yielding:
    """Give the slot of the running task back while it waits for something else, and take it again afterwards.

    Inside ``with yield_slot():`` the slot is anybody's; at its end the task waits for one, in turn: after what was
    published before it began to wait, before what comes later, and under a limit that an operator lowered or a pause
    like everybody else. Inside another ``yield_slot``, in a task without a limit, and where no worker runs the task, it
    does nothing.

    Args:
        task: The task, where it is not ``celery.current_task``.

    Returns:
        A context manager; ``as`` says whether a slot was given back.

    Raises:
        CannotYield: By ``with``: the task takes slots of several limits at once.
    """
    return Yielding(task if task is not None else current_task)


def holder_of(task: Any) -> Holder | None:
    """Return the slot that a worker gave to a running task; None for one without a limit, or that no worker runs."""
    request = getattr(task, "request", None)
    worker = getattr(request, "concurrency_worker", None)
    if not isinstance(worker, str) or notes_of(worker) is None:
        return None
    return Holder(worker, request.concurrency_id, request.concurrency_slot)  # type: ignore[union-attr]


class Yielding:
    """What ``yield_slot`` returns; it may be used more than once, and inside itself."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def __enter__(self) -> bool:
        holder = holder_of(self._task)
        if holder is None:
            return False
        request = self._task.request
        needs = getattr(request, "concurrency_needs", "")
        if needs:
            raise CannotYield(self._task.name, unpack(needs))
        depth = getattr(request, "concurrency_yields", 0)
        request.concurrency_yields = depth + 1
        if depth:
            return False
        notes: Any = notes_of(holder.worker)
        notes.given(holder.token)
        try:
            with self._line() as line:
                line.give_back(holder)
        except SemaphoreUnavailable as exc:
            # Nobody starts anything now. The worker says so once Redis is back.
            notes.untold(holder.token)
            logger.warning("concurrency: the slot of %s is given back once Redis can be reached (%s)", self._name, exc)
        return True

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        holder = holder_of(self._task)
        if holder is None:
            return
        request = self._task.request
        request.concurrency_yields -= 1
        if request.concurrency_yields:
            return
        # A task whose time is over, or whose process is to end, must not wait any longer.
        patient = exc is None or (isinstance(exc, Exception) and not isinstance(exc, SoftTimeLimitExceeded))
        fence = self._take(holder, patient)
        if fence:
            request.concurrency_token = fence

    @property
    def _name(self) -> str:
        return f"{self._task.name}[{self._task.request.id}]"

    def _line(self) -> Any:
        settings = policy_of(self._task.app).settings
        return tasks_line(settings.url, settings.namespace, settings.options)

    def _take(self, holder: Holder, patient: bool) -> int:
        """Wait until the task has its slot again; return its new fencing token, or 0 where it goes on without."""
        notes: Any = notes_of(holder.worker)
        away_since = None
        while True:
            try:
                with self._line() as line:
                    state, fence = line.take_again(holder, patient)
                    if state == HELD:
                        notes.taken(holder.token)
                        # What Redis lost before that note, the worker has told it as given back.
                        state, fence = line.take_again(holder, patient)
                        if state == HELD:
                            return int(fence)
                        notes.given(holder.token)
                    if state == WAITS and patient:
                        line.wait(holder, _LOOK)
            except SemaphoreUnavailable as exc:
                state = UNKNOWN
                if away_since is None:
                    away_since = time.monotonic()
                    logger.error("concurrency: %s waits for Redis, to have its slot again (%s)", self._name, exc)
            if state == GONE:
                notes.taken(holder.token)
                logger.error(
                    "concurrency: the slot of %s in %r was freed by hand; it goes on, beside the limit",
                    self._name,
                    holder.id,
                )
                return 0
            if notes.orphaned():
                raise SystemExit(f"the worker of {self._name} is gone")
            if not patient:
                return 0  # its worker frees what may be left of it when it ends
            if state == UNKNOWN:
                time.sleep(_RETRY)  # before Redis is asked again
