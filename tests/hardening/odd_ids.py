"""Gated tasks whose ids mean something to globs, formats, Lua patterns or Redis clusters; workers import this."""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery

from celery_concurrency_id import QueuedTask
from harness.tasks import work

IDS = ("a*b?[x]", "*", "%s%d", "x}", "a|b|r|1|", "^(%a)$", "id:\"'`$(x)", "ключ-鍵")


def name_of(id: str) -> str:
    return f"odd-{IDS.index(id)}"


def define(app: Celery) -> None:
    for id in IDS:
        app.task(
            work,
            bind=True,
            shared=False,
            base=QueuedTask,
            name=name_of(id),
            concurrency_id=id,
            concurrency_limit=2,
            log_id=id,
        )
        app.tasks[name_of(id)]


_worker: Any = sys.modules.get("harness.worker_app")
if _worker is not None:
    define(_worker.app)
