"""Imported by workers (``imports``): writes down what signals and requests say, beside the truth."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from celery.signals import task_prerun

from celery_concurrency_id.signals import slot_lost
from harness import truth


def file_of(log: Path | str) -> Path:
    """Where the witness writes, by where the truth is written."""
    return Path(f"{log}.witness")


def read(log: Path, event: str) -> list[dict[str, Any]]:
    """Return what was written of one kind, in order."""
    file = file_of(log)
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [line for line in lines if line["event"] == event]


def _write(event: str, **fields: Any) -> None:
    line = json.dumps({"event": event, "pid": os.getpid(), **fields}) + "\n"
    out = os.open(file_of(os.environ[truth.LOG]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(out, line.encode())
    finally:
        os.close(out)


@slot_lost.connect(weak=False)
def _slot_lost(sender: Any, request: Any, concurrency_id: str, token: int, **_: Any) -> None:
    _write("lost", task=request.id, name=sender.name, id=concurrency_id, token=token)


@task_prerun.connect(weak=False)
def _begins(task_id: str, task: Any, **_: Any) -> None:
    told = {name: getattr(task.request, f"concurrency_{name}", None) for name in ("id", "token")}
    _write("begins", task=task_id, name=task.name, **told)
