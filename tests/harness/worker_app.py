"""What ``celery -A harness.worker_app`` loads: in worker and beat processes only."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any

from celery_concurrency_id import signals
from harness import truth
from harness.app import make_app

app = make_app(json.loads(os.environ["CONCURRENCY_TEST_CONF"]))


def tell(event: str, request: Any, concurrency_id: str, token: int, **_: Any) -> None:
    """Write a signal of ours to the truth; the sweep passes over it."""
    truth.write(event, task=request.id, concurrency_id=concurrency_id, token=token)


for name in signals.__all__ if app.conf.get("harness_signals") else ():
    getattr(signals, name).connect(partial(tell, name), weak=False)
