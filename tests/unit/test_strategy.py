"""How a message that was fetched into a slot is acknowledged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from celery import Celery

from celery_concurrency_id.worker.strategy import gated


def test_what_was_never_prefetched_has_no_part_in_celerys_prefetch_count() -> None:
    """After the broker was lost, Celery's own acknowledgement raises that, from the thread of the task."""
    handed: list[Any] = []
    done: list[Any] = []

    def runs(task: Any, app: Any, consumer: Any) -> Any:
        return lambda message, body, ack, reject, callbacks, **options: handed.extend([ack, reject])

    def celerys(*args: Any) -> None:
        done.append("Celery's own")

    consumer = SimpleNamespace(call_soon=lambda call, *args, **options: call(*args, **options))
    message = SimpleNamespace(
        concurrency_slot=object(),
        ack_log_error=lambda logger, errors: done.append(("ack", logger, errors)),
        reject_log_error=lambda logger, errors, requeue: done.append(("reject", logger, errors, requeue)),
    )
    with Celery("test", set_as_current=False) as app:
        task = SimpleNamespace(name="render")
        gated(task, app, consumer, runs)(message, None, celerys, celerys, [])

    ack, reject = handed
    ack("logger", OSError)
    reject("logger", OSError, True)

    assert done == [("ack", "logger", OSError), ("reject", "logger", OSError, True)]
