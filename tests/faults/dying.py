"""A worker that dies while it moves a message to its queue.

Loaded by ``imports`` of its settings; ``dies_when_moving`` among them says at which moment.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from celery_concurrency_id.worker.move import Mover

_move = Mover.move


def move(self: Mover, *args: Any) -> None:
    moment = json.loads(os.environ["CONCURRENCY_TEST_CONF"])["dies_when_moving"]
    if moment == "between copy and acknowledgement":
        _move(self, *args)
    os.kill(os.getpid(), signal.SIGKILL)


Mover.move = move  # type: ignore[method-assign]
