"""A publisher that never lets the workers run out of waiting tasks."""

from __future__ import annotations

import random
import threading
import time
import uuid
from typing import Any

from celery import Celery

from faults.app import ID
from harness.sweep import Sweep


class Load:
    """Publishes tasks of random length, so that some more wait than the limit lets run.

    Most are short, so that slots change hands all the time; some are long enough to outlast a fault.

    Attributes:
        published: When (ns) each task id was published, for those that the broker took.
        doubtful: Task ids whose publish failed: they may or may not have reached the broker.
        written_off: Tasks that the test itself took from the broker's queue.
        dead: Tasks whose process was killed, and that will never end: others take their place in the backlog.
    """

    SHORT, LONG_ONES = (0.05, 0.3), 0.12

    def __init__(self, apps: list[Celery], rng: random.Random, sweep: Sweep, limit: int, longest: float) -> None:
        self.published: dict[str, int] = {}
        self.doubtful: set[str] = set()
        self.written_off: set[str] = set()
        self.dead: set[str] = set()
        self._apps, self._rng, self._sweep = apps, random.Random(rng.random()), sweep.mark()
        self._longest = longest
        self._backlog = 2 * limit + 4
        self._stopped, self._paused, self._idle = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Load:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the publisher hangs"

    def pause(self, paused: bool) -> None:
        """Publish nothing for a while; returns when the publisher does as it is told."""
        self._idle.clear()
        (self._paused.set if paused else self._paused.clear)()
        if paused:
            assert self._idle.wait(30), "the publisher hangs"

    def unfinished(self) -> set[str]:
        """Published tasks that have not ended and still may."""
        return self._sweep.lost(list(self.published)) - self.written_off

    def write_off(self) -> None:
        """What was published until now and has not started was thrown away by the test."""
        self.written_off |= set(self.published) - {run.task for run in self._sweep.runs()}

    def _run(self) -> None:
        while not self._stopped.is_set():
            if self._paused.is_set():
                self._idle.set()
                self._stopped.wait(0.01)
            elif len(self.unfinished() - self.dead) >= self._backlog:
                self._stopped.wait(0.01)
            else:
                self._publish()

    def _publish(self) -> None:
        app = self._rng.choice(self._apps)
        task_id = uuid.uuid4().hex
        options: dict[str, Any] = {"task_id": task_id, "retry": False}
        if not hasattr(app.tasks[ID], "concurrency_id") and self._rng.random() < 0.5:
            options["queue"] = ID  # a producer without the extension that knows the queue by its name
        span = self.SHORT if self._rng.random() > self.LONG_ONES else (0.8 * self._longest, self._longest)
        kwargs = {"tag": len(self.published), "seconds": self._rng.uniform(*span)}
        try:
            app.tasks[ID].apply_async((), kwargs, **options)
        except Exception:  # whatever a broken broker makes kombu raise
            self.doubtful.add(task_id)
            self._stopped.wait(0.05)
        else:
            self.published[task_id] = time.monotonic_ns()
