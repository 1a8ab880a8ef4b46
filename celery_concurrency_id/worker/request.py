"""How a gated task ends: every way frees its slot exactly once, and none before the work has really ended."""

from __future__ import annotations

from typing import Any

from celery.exceptions import TimeLimitExceeded
from celery.worker import request as celery_request

from ..producer import waiting_key
from ..published import waited
from .parking import seconds_until

__all__ = ("GatedRequest",)

#: Celery's types say less of a request than it has.
_Request: Any = celery_request.Request


class GatedRequest(_Request):  # type: ignore[misc]  # see _Request
    """A request that may hold a slot.

    Attributes:
        concurrency_slot: The slot it holds; None while it holds none.
        concurrency_gate: The gate that the slot came from.
        concurrency_ahead: Whether it was fetched ahead.
        concurrency_home: The id whose queue it came from.
        concurrency_key: What the semaphore calls its task while that waits.
        concurrency_waited: Seconds that its task waited before it went to the pool; None before that, and where nobody
            said when it was published.
    """

    concurrency_slot: Any = None
    concurrency_gate: Any = None
    concurrency_ahead: bool = False
    concurrency_home: str = ""
    concurrency_waited: float | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Celery makes a subclass for each task, whose ``on_success`` does not call ours: go around it."""
        super().__init_subclass__(**kwargs)
        on_success = cls.__dict__.get("on_success")
        if on_success is None:
            return

        def ends_slot(self: GatedRequest, result: Any, **options: Any) -> Any:
            # The pool has let go of the task: the next one need not wait for what Celery does about this one.
            self._end_slot()
            return on_success(self, result, **options)

        setattr(cls, "on_success", ends_slot)  # noqa: B010  # mypy lets no method be assigned

    def __init__(self, message: Any, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        slot = getattr(message, "concurrency_slot", None)
        if slot is not None:
            self.concurrency_gate = message.concurrency_gate
            self.take(slot)
            eta = getattr(message, "concurrency_eta", None)
            if eta is not None:
                self._request_dict["eta"] = eta

    @property
    def concurrency_key(self) -> tuple[str, int]:
        return waiting_key(self.id, self._request_dict.get("retries"))

    def take(self, slot: Any) -> None:
        """Go into a slot."""
        slot.request = self
        self.concurrency_slot = slot
        self.concurrency_home = slot.id
        self._request_dict["concurrency_worker"] = self.concurrency_gate.worker
        self._request_dict["concurrency_slot"] = slot.token
        self._request_dict["concurrency_id"] = slot.id
        self._request_dict["concurrency_needs"] = slot.needs
        self._request_dict["concurrency_token"] = int(slot.token or 0)

    def note_wait(self) -> None:
        """Its task goes to the pool: tell it how long it waited."""
        eta = getattr(self.message, "concurrency_eta", None)
        overdue = None if eta is None else -seconds_until(eta, self.app)
        self.concurrency_waited = waited(self.message.headers, overdue)
        # What a message claims, as that of a retry does, is of another run.
        self._request_dict["concurrency_waited"] = self.concurrency_waited

    def on_success(self, result: Any, **kwargs: Any) -> Any:
        self._end_slot()
        return super().on_success(result, **kwargs)

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        if self.concurrency_slot is not None:
            self.concurrency_gate.accepted(self.concurrency_slot, self, pid)
        super().on_accepted(pid, time_accepted)

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        exc = getattr(exc_info.exception, "exc", exc_info.exception)
        try:
            return super().on_failure(exc_info, *args, **kwargs)
        finally:
            # A hard time limit is reported before the process is killed: its death ends the slot.
            self._end_slot(unless_alive=isinstance(exc, TimeLimitExceeded))

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        try:
            return super().on_timeout(soft, timeout)
        finally:
            if not soft:
                self._end_slot(unless_alive=True)

    def _end_slot(self, unless_alive: bool = False) -> None:
        slot = self.concurrency_slot
        if slot is not None:
            self.concurrency_gate.task_ended(slot, self, unless_alive)
