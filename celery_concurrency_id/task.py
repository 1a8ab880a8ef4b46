"""The task base class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from celery import Task
from celery.result import EagerResult

from .options import UNSET
from .plugin import install
from .policy import policy_of
from .result import QueuedEagerResult, with_position
from .yielding import Yielding, yield_slot

__all__ = ("QueuedTask",)


class QueuedTask(Task):  # type: ignore[type-arg]  # generic for type checkers; it cannot be subscripted before 5.7
    """Base class of tasks that share a concurrency limit.

    However many workers run, at most ``concurrency_limit`` tasks of one ``concurrency_id`` run at once; the others
    wait in the broker, in a queue named like the id.

    Attributes:
        concurrency_id: Name of the shared limit; or a template such as ``"tenant-{tenant_id}"``, or a callable that
            takes the task's arguments, which make one for each call. Unset: the task's own name.
        concurrency_limit: How many may run at once: an int of 1 or more, ``None`` for no limit, or a callable that
            returns one of these for an id. Unset: what other tasks of the id say (the lowest holds), else the setting
            ``concurrency_default_limit``, which is 1.
        concurrency_max_waiting: How many may wait: an int of 1 or more, or ``None`` for no bound. Where so many wait, a
            publish raises ``QueueFullError``. Unset: what other tasks of the id say (the lowest holds), else the
            setting ``concurrency_max_waiting``, which is ``None``.
        concurrency: Slots by concurrency id, for a task that needs several at once: ``{"gpu": 1, "api": 2}``. It gets
            all of them, or none. In place of ``concurrency_id`` and ``concurrency_limit``.
        concurrency_slots: Slots of its ``concurrency_id`` that it needs at once; 1.
        concurrency_key: A template such as ``"{user_id}"``, or a callable that takes the task's arguments. Tasks with
            the same key have a limit of their own within that of ``concurrency_id``, and the keys take turns.
        concurrency_key_limit: How many tasks with one key may run at once; as ``concurrency_limit``.

        concurrency_observe: ``True``: the limit only watches, and stops nothing (see ``Concurrency.observed``), unless
            another task of the id says ``False``. Unset: what other tasks of the id say. The setting
            ``concurrency_observe`` stands over it.

    Raises:
        InvalidOption: When the task is bound to an app and an option is wrong.
    """

    abstract = True

    concurrency_id: str | Callable[..., str] | None = None
    concurrency_limit: int | Callable[[str], int | None] | None = UNSET
    concurrency_max_waiting: int | None = UNSET
    concurrency_observe: bool = UNSET
    concurrency: Mapping[str, int] | None = None
    concurrency_slots: int = 1
    concurrency_key: str | Callable[..., Any] | None = None
    concurrency_key_limit: int | Callable[[str], int | None] | None = UNSET

    Request = "celery_concurrency_id.worker.request:GatedRequest"
    Strategy = "celery_concurrency_id.worker.strategy:gated"

    @classmethod
    def on_bound(cls, app: Any) -> None:
        super().on_bound(app)
        if cls.name:
            install(app)
            policy_of(app).add(cls)

    def AsyncResult(self, task_id: str, **kwargs: Any) -> Any:
        """Return the result of a call, which also knows its ``position()`` in the queue.

        Args:
            task_id: The id of the call.
        """
        result: Any = super().AsyncResult(task_id, **kwargs)
        result.__class__ = with_position(type(result))
        result.queued_name = self.name
        return result

    def apply(self, *args: Any, **kwargs: Any) -> Any:
        result = super().apply(*args, **kwargs)
        if type(result) is EagerResult:
            result.__class__ = QueuedEagerResult
        return result

    def yield_slot(self) -> Yielding:
        """Give this task's slot back while the task waits for something else: ``with self.yield_slot(): ...``.

        See ``celery_concurrency_id.yield_slot``; a task needs ``bind=True`` to have a ``self``.
        """
        return yield_slot(self)
