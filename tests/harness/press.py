"""A producer in a process of its own: ``python -m harness.press SETTINGS``; says what became of what it published."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from celery.signals import before_task_publish

from celery_concurrency_id import QueueFullError
from harness.app import make_app
from harness.waiting import wait


def press(conf: dict[str, Any], name: str, count: int, ready: str, go: str, dies: bool = False, **kwargs: Any) -> Any:
    """Publish tasks as fast as it can, from when a file is there; return the ids accepted, and the errors.

    Args:
        ready: A file to make once everything is imported and connected.
        go: The file to wait for.
        dies: Be killed when Celery is about to publish.
    """
    app = make_app(conf)
    with app.connection_for_write() as connection:
        connection.ensure_connection(timeout=30)
    Path(ready).touch()
    wait(lambda: os.path.exists(go), 60, "the others are ready")
    if dies:
        before_task_publish.connect(lambda **about: os.kill(os.getpid(), signal.SIGKILL), weak=False)
    accepted, refused = [], []
    for _ in range(count):
        try:
            accepted.append(app.tasks[name].apply_async(kwargs=kwargs).id)
        except QueueFullError as full:
            refused.append([full.id, full.size, full.limit])
    return {"accepted": accepted, "refused": refused}


if __name__ == "__main__":
    print(json.dumps(press(**json.loads(sys.argv[1]))))
