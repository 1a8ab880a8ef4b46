"""What ``celery -A harness.worker_app`` loads: in worker and beat processes only."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any

from celery.signals import task_prerun

from celery_concurrency_id import signals
from harness import truth
from harness.app import make_app

app = make_app(json.loads(os.environ["CONCURRENCY_TEST_CONF"]))


def tell(event: str, sender: Any, request: Any, concurrency_id: str, token: int, **_: Any) -> None:
    """Write a signal of ours to the truth; the sweep passes over it."""
    truth.write(event, task=request.id, name=sender.name, concurrency_id=concurrency_id, token=token)


def tell_what_is_known(task_id: str, task: Any, **_: Any) -> None:
    """Write what a task that begins is told of its slot."""
    id, token = (getattr(task.request, f"concurrency_{name}", None) for name in ("id", "token"))
    truth.write("begins", task=task_id, name=task.name, concurrency_id=id, token=token)


if app.conf.get("harness_signals"):
    task_prerun.connect(tell_what_is_known, weak=False)
    for name in signals.__all__:
        getattr(signals, name).connect(partial(tell, name), weak=False)
