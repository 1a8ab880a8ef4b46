"""A worker that dies between two steps that belong together.

Loaded by ``imports`` of its settings; ``dies`` among them says where.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from celery_concurrency_id.worker.fetch import Fetcher
from celery_concurrency_id.worker.move import Mover

_where = json.loads(os.environ["CONCURRENCY_TEST_CONF"]).get("dies")
_move, _delete = Mover.move, Fetcher.delete_empty


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def move(self: Mover, *args: Any) -> None:
    if _where == "between copy and acknowledgement":
        _move(self, *args)
    die()


def delete(self: Fetcher, *args: Any) -> Any:
    _delete(self, *args)
    die()


if _where == "once the queue is deleted":
    Fetcher.delete_empty = delete  # type: ignore[method-assign]
else:
    Mover.move = move  # type: ignore[method-assign]
