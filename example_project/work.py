"""What the tasks do: sleep in place of a GPU's work, and write down when it really began and ended."""

from __future__ import annotations

import json
import os
import time

from celery import current_task

STEPS = 10


def pretend_to_work(what: str, seconds: float) -> str:
    """Take `seconds`, in steps; return what a model would: the name of a file."""
    note("start")
    for step in range(1, STEPS + 1):
        time.sleep(seconds / STEPS)  # the work itself
        note("step", done=step / STEPS)
    note("end")
    return f"{what}.png"


def note(event: str, **more: float) -> None:
    """Append one line to the log of the run, if the demo asked for one. The demo shows nothing but these lines."""
    path = os.environ.get("CONCURRENCY_EXAMPLE_LOG")
    if not path:
        return
    request = current_task.request
    line = {"time": time.monotonic(), "event": event, "id": request.id, "worker": request.hostname, **more}
    # One write of one line in append mode: lines of several processes never mix.
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(log, (json.dumps(line) + "\n").encode())
    finally:
        os.close(log)
