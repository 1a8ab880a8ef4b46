"""pytest-celery's setup with what the tests of limits need: gates, queue lengths, the truth."""

from __future__ import annotations

import itertools
import os
import uuid
from pathlib import Path
from typing import Any

from amqp.exceptions import NotFound
from celery import Celery
from celery.result import AsyncResult
from kombu.exceptions import ChannelError
from pytest_celery import CeleryBackendCluster, CeleryBrokerCluster, CeleryTestSetup, CeleryWorkerCluster

from harness.app import make_app
from harness.sweep import Run, Sweep
from harness.waiting import wait
from harness.worker import CeleryProcess, WorkerNode, WorkerProcess


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Gate:
    """A file that running tasks wait for: with it a test decides when they end."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def open(self) -> None:
        self.path.touch()


class Setup(CeleryTestSetup):
    """A broker, a result backend that also holds the slots, workers, and the application that publishes to them."""

    def __init__(self, broker: Any, backend: Any, directory: Path, conf: dict[str, Any], pool: str = "prefork") -> None:
        self.directory, self.pool = directory, pool
        directory.mkdir(parents=True, exist_ok=True)
        self.conf = {
            "broker_url": broker.config()["host_url"],
            "result_backend": backend.config()["host_url"],
            "broker_connection_retry_on_startup": True,
            **conf,
        }
        self.truth_file = directory / "truth.jsonl"
        self.sweep = Sweep(self.truth_file)
        self.gates: list[Gate] = []
        self._workers: list[WorkerNode] = []
        self._others: list[CeleryProcess] = []
        self._count = itertools.count(1)
        super().__init__(
            None,  # type: ignore[arg-type]
            CeleryBrokerCluster(broker),
            CeleryBackendCluster(backend),
            make_app(self.conf),
        )

    # -- workers

    @property
    def workers(self) -> list[WorkerNode]:
        return self._workers

    @property
    def worker_cluster(self) -> CeleryWorkerCluster | None:
        return CeleryWorkerCluster(*self._workers) if self._workers else None

    @property
    def worker(self) -> WorkerNode:
        return self._workers[0]

    def start_workers(
        self, count: int = 1, *words: str, concurrency: int = 4, pool: str = "", wait_ready: bool = True, **conf: Any
    ) -> list[WorkerNode]:
        """Start workers, all at once, and wait until they are ready."""
        new = []
        for _ in range(count):
            name = f"w{next(self._count)}"
            container = WorkerProcess(
                name, {**self.conf, **conf}, self.directory, pool or self.pool, concurrency, *words
            )
            container.start()
            new.append(WorkerNode(container, self.app))
        self._workers += new
        for node in new if wait_ready else ():
            node.ready()
        return new

    def start_celery(
        self, name: str, *words: str, environment: dict[str, str] | None = None, **conf: Any
    ) -> CeleryProcess:
        """Start another celery command, such as beat."""
        process = CeleryProcess(name, {**self.conf, **conf}, self.directory, *words)
        process.environment.update(environment or {})
        process.start()
        self._others.append(process)
        return process

    # -- publishing

    def send(self, name: str, *args: Any, options: dict[str, Any] | None = None, **kwargs: Any) -> AsyncResult:
        """Publish a task by calling ``apply_async`` on it; a gate is given as it is."""
        kwargs = {key: str(value) if isinstance(value, Gate) else value for key, value in kwargs.items()}
        result: AsyncResult = self.app.tasks[name].apply_async(args, kwargs, **(options or {}))
        return result

    def send_many(self, name: str, count: int, **kwargs: Any) -> list[AsyncResult]:
        """Publish tasks with the tags 0, 1, 2 ..."""
        return [self.send(name, tag=tag, **kwargs) for tag in range(count)]

    def gate(self) -> Gate:
        self.gates.append(Gate(self.directory / f"gate-{uuid.uuid4().hex}"))
        return self.gates[-1]

    def plain_producer(self) -> Celery:
        """An application without the extension on the same broker."""
        return make_app(self.conf, extension=False)

    def distant_producer(self) -> Celery:
        """An application with the extension and the settings, but without the tasks' code."""
        return make_app(self.conf, code=False)

    # -- what is going on

    def waiting(self, queue: str) -> int:
        """Messages in a broker queue, not counting those a worker holds."""
        with self.app.connection_for_write() as connection, connection.channel() as channel:
            try:
                return int(channel.queue_declare(queue, passive=True).message_count)
            except (ChannelError, NotFound):
                return 0

    def running(self, id: str | None = None) -> list[Run]:
        return self.sweep.running(id)

    def wait_running(self, count: int, id: str | None = None, timeout: float = 15) -> list[Run]:
        """Wait until at least that many run."""
        return wait(
            lambda: len(self.running(id)) >= count and self.running(id), timeout, lambda: f"{count} run; {self.state()}"
        )

    def wait_ended(self, results: list[AsyncResult], timeout: float = 30) -> None:
        """Wait until all of these tasks have ended, by their own word."""
        ids = {result.id for result in results}
        wait(lambda: not self.sweep.lost(ids), timeout, lambda: f"all ended; {self.state()}")

    def state(self) -> str:
        """For failure messages: runs and the ends of the workers' logs."""
        runs = [f"{run.name}/{run.tag}: {run.outcome or 'running'}" for run in self.sweep.runs()]
        logs = [f"--- {node.name()} ({node.container.status})\n{node.logs()[-2500:]}" for node in self._workers]
        return f"{len(runs)} runs: {runs[-40:]}\n" + "\n".join(logs)

    def assert_slots_are_free(self, name: str, limit: int, timeout: float = 15) -> None:
        """Fail unless the full limit can be used: so many tasks run at once, and no more.

        Asked of the workers rather than of Redis, so that it holds for every way to keep the slots.
        """
        gate, sweep = self.gate(), self.sweep.mark()
        results = [self.send(name, tag="probe", gate=gate) for _ in range(limit + 1)]
        id = self.app.tasks[name].log_id
        wait(lambda: len(sweep.running(id)) >= limit, timeout, lambda: f"{limit} slots of {id} free; {self.state()}")
        gate.open()
        wait(lambda: not sweep.lost({result.id for result in results}), timeout, lambda: f"probes; {self.state()}")
        assert sweep.peak(id) == limit

    # -- between tests, and at the end

    def begin(self) -> None:
        """Judge only what comes from now on."""
        self.sweep = self.sweep.mark()

    def settle(self) -> None:
        """End what a test left: open its gates, empty its queues, wait until nothing runs."""
        for gate in self.gates:
            gate.open()
        self.gates.clear()
        self.purge()
        try:
            # What a test killed never ends.
            wait(
                lambda: not [run for run in self.running() if alive(run.pid)],
                20,
                lambda: f"nothing runs after the test; {self.state()}",
            )
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """Stop the workers, and forget what the broker and Redis hold."""
        self.stop_workers()
        self.purge()
        self.backend.container.client.flushall()  # a server that the tests started for this setup alone

    def purge(self) -> None:
        ids = {getattr(task, "log_id", None) for task in self.app.tasks.values()} - {None}
        with self.app.connection_for_write() as connection:
            for queue in {*ids, "celery"}:
                with connection.channel() as channel:
                    try:
                        channel.queue_purge(queue)
                    except (ChannelError, NotFound):
                        pass

    def healthy(self) -> bool:
        return bool(self._workers) and all(node.container.status == "running" for node in self._workers)

    def stop_workers(self) -> None:
        for node in self._workers:
            node.container.teardown()
        self._workers.clear()

    def teardown(self) -> None:
        for process in [*self._others, *(node.container for node in self._workers)]:
            process.teardown()
        self.app.close()
        self.broker.teardown()
        self.backend.teardown()
