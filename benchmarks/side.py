"""One side of a comparison: its workers, its publisher and the log of its tasks."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from benchmarks.analysis import Faults, batch_faults, times_exceeded
from benchmarks.config import LIMITS, SideConfig, id_names
from benchmarks.cpu import group_seconds
from benchmarks.publisher import Publisher
from benchmarks.tasklog import Run, TaskLog
from benchmarks.workers import Worker, WorkerSpec

STALLED_AFTER = 30.0


class Stalled(Exception):
    """Work waits and nothing has ended for half a minute."""


class Side:
    """Runs batches and judges them; use it as a context manager."""

    def __init__(self, name: str, config: SideConfig, specs: list[WorkerSpec], directory: Path) -> None:
        self.name, self.config, self.specs, self.directory = name, config, specs, directory
        self.places = sum(spec.concurrency for spec in specs)
        self.faults = Faults()
        self.log = TaskLog(Path(config.log))
        self._numbers = count()
        self._stack = ExitStack()
        self._workers: list[Worker] = []

    def __enter__(self) -> Side:
        environment = self.config.to_environment()
        with ExitStack() as stack:
            stack.callback(self._kill_workers)
            for index, spec in enumerate(self.specs):
                self._workers.append(
                    Worker(f"{self.name}{index}", spec, environment, self.directory, self.config.recipe)
                )
            self.publisher = stack.enter_context(Publisher(environment, self.directory / f"{self.name}-publisher.log"))
            ready = self.places if self.config.recipe == "dramatiq" else len(self.specs)  # there, each process says so
            self._wait_for(lambda: self.log.ready == ready, "the workers to be ready")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.log.read()
        if self.config.gated:
            limits = {**LIMITS, **dict.fromkeys(id_names(self.config.ids), 1)}
            limits |= {run.task: 1 for run in self.log.all_runs() if run.task.startswith("family-")}
            self.faults.exceeded += times_exceeded(self.log, limits)
        self.log.close()

    def new_batch(self) -> str:
        return f"b{next(self._numbers)}"

    def run(self, task: str, number: int, seconds: float = 0.0, places: int | None = None) -> list[Run]:
        """Let `number` tasks pile up behind a closed gate, open it, and return their runs when all have ended."""
        batch = self.new_batch()
        with self.held(task, places or self.places):
            self.publisher.publish(tasks=[task], each=number, batch=batch, seconds=seconds)
        return self.finished(batch, number)

    @contextmanager
    def held(self, task: str, places: int) -> Iterator[None]:
        """Occupy `places` places with tasks that wait until the block is left."""
        gate = self.directory / f"{self.name}-gate"
        batch = self.new_batch()
        with gate.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            published, deadline = 0, time.monotonic() + STALLED_AFTER
            while self.log.started[batch] < places:
                if time.monotonic() > deadline:
                    raise Stalled(f"{self.name}: only {self.log.started[batch]} of {places} places could be filled")
                # One by one: a plain worker prefetches, and may hold a message back that the other has room for.
                self.publisher.publish(tasks=[task], batch=batch, hold=str(gate))
                published += 1
                patience = time.monotonic() + 0.5
                while self.log.started[batch] < min(published, places) and time.monotonic() < patience:
                    self._look()
            yield
        self._wait_for(lambda: self.log.ended[batch] == published, "the gate's own tasks to end")

    def finished(self, batch: str, number: int) -> list[Run]:
        """Wait until all of a batch have ended; count what is missing or came twice."""
        last, progress = time.monotonic(), -1
        while self.log.ended[batch] < number:
            self._look()
            if self.log.ended[batch] != progress:
                last, progress = time.monotonic(), self.log.ended[batch]
            elif time.monotonic() - last > STALLED_AFTER:
                self.faults.add(batch_faults(self.log, batch, number))
                raise Stalled(f"{self.name}: {progress} of {number} tasks ended, then none for {STALLED_AFTER:.0f} s")
        self.faults.add(batch_faults(self.log, batch, number))
        return self.log.runs(batch)

    def cpu_seconds(self) -> float:
        """Processor time that the workers have taken so far, pool processes included."""
        return sum(group_seconds(worker.process.pid) for worker in self._workers)

    def _wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + STALLED_AFTER
        while not condition():
            self._look()
            if time.monotonic() > deadline:
                raise Stalled(f"{self.name}: waited {STALLED_AFTER:.0f} s for {what}")

    def _look(self) -> None:
        time.sleep(0.02)  # between two looks
        self.log.read()
        for worker in self._workers:
            worker.check()

    def _kill_workers(self) -> None:
        for worker in self._workers:
            worker.kill()
