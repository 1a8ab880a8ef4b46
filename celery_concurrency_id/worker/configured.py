"""Tasks that only the configuration gates: they get what a ``QueuedTask`` has, before Celery builds their handlers."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.utils.imports import symbol_by_name
from celery.worker.request import Request

from ..policy import policy_of
from .request import GatedRequest
from .strategy import gated

__all__ = ("gate_configured",)


def gate_configured(app: Any) -> None:
    """Give every task that ``concurrency_tasks`` gates a request that frees its slot, and a strategy that wants one.

    A request class or a strategy of the task's own goes on to do its part.

    Raises:
        InvalidSetting: ``concurrency_tasks`` is wrong.
    """
    policy = policy_of(app)
    for name, task in app.tasks.items():
        if policy.id_of(name) is None:
            continue
        request = symbol_by_name(task.Request)
        if not issubclass(request, GatedRequest):
            task.Request = _gated_request(request)
            task.Strategy = partial(gated, otherwise=symbol_by_name(task.Strategy))


def _gated_request(request: type) -> type:
    if request is Request:
        return GatedRequest
    return type(request.__name__, (GatedRequest, request), {"__module__": request.__module__})
