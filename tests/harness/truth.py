"""The truth: what the tasks say of themselves, one JSON line per event, in a file that all workers append to."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

LOG = "CONCURRENCY_TEST_LOG"


def write(event: str, **fields: Any) -> None:
    """Append one line. One write to an O_APPEND file is atomic, and CLOCK_MONOTONIC is the same for all processes."""
    line = json.dumps({"at": time.monotonic_ns(), "event": event, "pid": os.getpid(), **fields}) + "\n"
    out = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(out, line.encode())
    finally:
        os.close(out)


def read(log: Path, event: str) -> list[dict[str, Any]]:
    """Return what was written of one kind, in order."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [line for line in lines if line["event"] == event]


class Run:
    """One execution of a task: writes its start and its end, and between them that it still lives."""

    def __init__(self, task: Any, tag: Any = None, id: str | None = None) -> None:
        """
        Args:
            id: The concurrency id of this call, where it is not the same for every call of the task.
        """
        request = task.request
        self.fields = {
            "run": f"{request.id}.{os.getpid()}.{time.monotonic_ns()}",
            "task": request.id,
            "name": task.name,
            "id": id or task.log_id,
            "tag": tag,
            "retries": request.retries,
        }

    def __enter__(self) -> Run:
        write("start", **self.fields)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> None:
        # A process that dies never comes here: its run has no end, only a last sign of life.
        write("end", outcome="ok" if kind is None else kind.__name__, **self.fields)

    def alive(self) -> None:
        write("alive", run=self.fields["run"])

    def hold(self, seconds: float = 0.0, gate: str | None = None) -> None:
        """Stay running for a time, and until the gate's file is there."""
        until = time.monotonic() + seconds
        while time.monotonic() < until or (gate and not os.path.exists(gate)):
            if gate:
                self.alive()
            # Between two looks at the gate; else this is the task itself.
            time.sleep(0.01 if gate else max(0.0, until - time.monotonic()))
