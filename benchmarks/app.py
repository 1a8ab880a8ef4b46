"""The benchmarked application: its tasks do nothing but write down when they start and end."""

from __future__ import annotations

import fcntl
import os
import time
from typing import Any

from celery import Celery, signals

from benchmarks.config import LIMITS, SideConfig, id_names
from benchmarks.recipes import RECIPES, Locks

config = SideConfig.from_environment()

app = Celery("benchmarks", broker=config.broker, backend=config.backend)
app.conf.task_ignore_result = not config.results
app.conf.broker_connection_retry_on_startup = True
if config.gated:
    app.conf.concurrency_url = config.semaphore
    app.conf.concurrency_namespace = config.namespace
if config.dedicated:
    app.conf.task_routes = {name: {"queue": name} for name in LIMITS}

# Inherited by every pool process: appends of one short line are atomic, so no lock is needed.
_log = os.open(config.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def write(event: str, task: str = "-", batch: str = "-", number: int = 0) -> None:
    """Append one line to the log of this side; the clock is the same for all processes of a machine."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    os.write(_log, f"{event} {task} {batch} {number} {now} {os.getpid()}\n".encode())


def define(name: str, limit: int | None) -> None:
    """Register one task, behind its own limit on the gated side."""
    options: dict[str, Any] = {"name": name}
    if config.gated and limit is not None:
        from celery_concurrency_id import QueuedTask

        options.update(base=QueuedTask, concurrency_id=name, concurrency_limit=limit)
    if config.recipe == "rate_limit" and name == "limit2":
        options["rate_limit"] = "10/s"  # of each worker: both together start as many as two at a time of 100 ms

    def work(batch: str, number: int, seconds: float = 0.0, hold: str | None = None) -> None:
        write("start", name, batch, number)
        if hold:
            with open(hold) as gate:
                fcntl.flock(gate, fcntl.LOCK_SH)  # until the benchmark opens the gate; costs nothing meanwhile
        elif seconds:
            time.sleep(seconds)  # the task itself
        write("end", name, batch, number)

    if config.recipe in RECIPES and limit is not None:
        app.task(bind=True, max_retries=None, **options)(
            RECIPES[config.recipe](work, Locks(name, limit, config.semaphore))
        )
    else:
        app.task(**options)(work)


def define_family() -> None:
    """Register the task whose ids are made from its arguments; an ordinary one on the plain side."""
    options: dict[str, Any] = {"name": "family"}
    if config.gated:
        from celery_concurrency_id import QueuedTask

        options.update(base=QueuedTask, concurrency_id="family-{member}", concurrency_limit=1)

    def work(batch: str, number: int, member: int) -> None:
        name = f"family-{member}"
        write("start", name, batch, number)
        write("end", name, batch, number)

    app.task(**options)(work)


define("ordinary", None)
define_family()
for _name, _limit in LIMITS.items():
    define(_name, _limit)
for _name in id_names(config.ids):
    define(_name, 1)


@signals.worker_ready.connect
def _ready(**_: Any) -> None:
    write("ready")
