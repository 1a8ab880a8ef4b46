"""The application under fault: one gated task, which says on which worker it ran."""

from __future__ import annotations

from typing import Any

from celery import Celery, Task

from celery_concurrency_id import QueuedTask
from harness import truth

ID = "load"


def work(self: Task, tag: Any = None, seconds: float = 0.0, gate: str | None = None) -> None:
    """Run for a time, or until a gate opens."""
    with truth.Run(self, {"tag": tag, "host": self.request.hostname, "seconds": seconds}) as run:
        run.hold(seconds, gate)


def make_app(conf: dict[str, Any], extension: bool = True) -> Celery:
    """Make the application; without the extension it is what an older producer runs."""
    app = Celery("faults", set_as_current=False)
    app.conf.update(conf)
    base = {"base": QueuedTask, "concurrency_id": ID} if extension else {}
    app.task(work, name=ID, bind=True, shared=False, log_id=ID, **base)
    app.finalize()
    return app
