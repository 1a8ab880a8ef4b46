"""How long a task waited, on the span of its run, where the user has OpenTelemetry's instrumentation of Celery.

Nothing is imported: where the user has not imported it, there is no span.
"""

from __future__ import annotations

import sys
from typing import Any

from celery.signals import task_postrun, task_prerun

__all__ = ("trace_waiting",)

_INSTRUMENTATION = "opentelemetry.instrumentation.celery"


def trace_waiting() -> None:
    """From now on, tell the spans of gated tasks; more than once does no harm.

    At the start of a task or at its end: the instrumentation makes the span, and ends it, in receivers of the same
    signals, and which comes first depends on when the user called it. Where nobody has imported it by the first task of
    a process, that process goes on without.
    """
    task_prerun.connect(_tell_span, weak=False, dispatch_uid="concurrency-tracing")
    task_postrun.connect(_tell_span, weak=False, dispatch_uid="concurrency-tracing")


def _tell_span(task: Any = None, **_: Any) -> None:
    if _INSTRUMENTATION not in sys.modules:
        for signal in (task_prerun, task_postrun):
            signal.disconnect(_tell_span, dispatch_uid="concurrency-tracing")
        return
    if task is None:
        return
    request = task.request
    id = getattr(request, "concurrency_id", None)
    if id is None or request.is_eager:
        return
    span: Any = sys.modules["opentelemetry.trace"].get_current_span()
    if not span.is_recording() or span.name != f"run/{task.name}":
        return
    span.set_attribute("celery.concurrency.id", id)
    waited = getattr(request, "concurrency_waited", None)
    if waited is not None:
        span.set_attribute("celery.concurrency.waited", waited)
