"""The same two tasks under dramatiq, with its `ConcurrentRateLimiter`, as its guide has it.

`app` looks like a Celery app to the publisher.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.rate_limits import ConcurrentRateLimiter
from dramatiq.rate_limits.backends import RedisBackend

from benchmarks.config import LIMITS, SideConfig

config = SideConfig.from_environment()
broker = RedisBroker(url=config.broker)
dramatiq.set_broker(broker)
_log = os.open(config.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
_limiter = ConcurrentRateLimiter(RedisBackend(url=config.semaphore), "limit2", limit=LIMITS["limit2"])


def write(event: str, task: str = "-", batch: str = "-", number: int = 0) -> None:
    """Append one line; a thread is what a process is under Celery."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    os.write(_log, f"{event} {task} {batch} {number} {now} {os.getpid()}\n".encode())


def _work(name: str, batch: str, number: int, seconds: float) -> None:
    write("start", name, batch, number)
    time.sleep(seconds)  # the task itself
    write("end", name, batch, number)


@dramatiq.actor
def ordinary(batch: str, number: int, seconds: float, hold: None = None) -> None:
    _work("ordinary", batch, number, seconds)


# By default the first retry comes after 15 s and the 21st never: nobody could wait for that here.
@dramatiq.actor(min_backoff=1000, max_backoff=1000, max_retries=100_000)
def limit2(batch: str, number: int, seconds: float, hold: None = None) -> None:
    with _limiter.acquire():
        _work("limit2", batch, number, seconds)


class _Task:
    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def apply_async(self, args: Sequence[Any]) -> None:
        self._actor.send(*args)


class app:
    """What the publisher uses of a Celery app."""

    tasks = {"ordinary": _Task(ordinary), "limit2": _Task(limit2)}


class _Ready(dramatiq.Middleware):
    def after_worker_boot(self, broker: Any, worker: Any) -> None:
        write("ready")


broker.add_middleware(_Ready())
