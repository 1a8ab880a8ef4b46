"""What gets broken: two workers, a broker, the Redis of the semaphore, and the network between them."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.transport.redis import Channel as RedisChannel

from faults.app import ID, make_app
from faults.observer import PREFIX, Observer
from faults.proxy import Proxy
from faults.servers import SemaphoreServer, SentinelServers
from harness import truth
from harness.process import ProcessContainer
from harness.servers import Servers
from harness.sweep import Sweep
from harness.waiting import wait

# The shortest that is allowed, so that a worker can be frozen for longer within a test.
LEASE = 3.0
# Longer than any freeze: plain Celery runs a task twice that takes longer than the visibility timeout.
VISIBILITY = 9
TESTS = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Config:
    """One set of circumstances."""

    broker: str = "redis"
    limit: int = 2
    late: bool = True
    pool: str = "prefork"
    #: "own": a Redis of its own; "proxied": each worker reaches it through a network that can be cut;
    #: "lined": each worker reaches the broker, RabbitMQ, through such a network;
    #: "broker": the broker's Redis; "sentinel": behind Sentinel.
    semaphore: str = "own"

    def __str__(self) -> str:
        name = f"{self.broker}-{self.limit}-{'late' if self.late else 'early'}-{self.pool}"
        return name if self.semaphore == "own" else f"{name}-{self.semaphore}"


class Worker(ProcessContainer):
    """``celery worker``; every one that is started has a name of its own."""

    ready_prompt = " ready."

    def __init__(self, name: str, conf: dict[str, Any], directory: Path, pool: str, words: tuple[str, ...]) -> None:
        env = {
            "CONCURRENCY_TEST_CONF": json.dumps(conf),
            truth.LOG: str(directory / "truth.jsonl"),
            "PYTHONUNBUFFERED": "1",
            "AUTOSCALE_KEEPALIVE": "1",
        }
        argv = [sys.executable, "-m", "celery", "-A", "faults.worker_app", "worker", "--loglevel=INFO"]
        super().__init__(name, [*argv, f"--hostname={name}@test", f"--pool={pool}", *words], directory, env, cwd=TESTS)
        self.proxy: Proxy | None = None  # to the semaphore
        self.line: Proxy | None = None  # to the broker
        self.expected_to_end = False
        self.ordinary = True

    @property
    def host(self) -> str:
        return f"{self.name}@test"

    @property
    def running(self) -> bool:
        return self.status == "running"

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []


class Scene:
    """Everything that one configuration needs, made once and repaired after each fault."""

    def __init__(self, config: Config, servers: Servers, directory: Path) -> None:
        self.config, self.directory = config, directory
        directory.mkdir(parents=True, exist_ok=True)
        self._count = itertools.count(1)
        self.workers: list[Worker] = []
        self._ended: list[Worker] = []
        self._apps: list[Celery] = []
        self.ended_by_themselves: list[str] = []
        self.words: tuple[str, ...] = (f"--concurrency={config.limit + 2}",)
        if config.broker == "redis":
            self.broker = servers.redis_broker(persistent=True)
        else:
            self.broker = servers.rabbitmq_broker(private=config.semaphore == "own")
        if config.semaphore == "broker":
            self.semaphore: Any = _Shared(self.broker)
        elif config.semaphore == "sentinel":
            self.semaphore = SentinelServers(directory / "semaphore")
        else:
            self.semaphore = SemaphoreServer(directory / "semaphore")
        self.sweep = Sweep(directory / "truth.jsonl")
        self.app = self.make_app()
        self.observer = Observer(self.semaphore.client, LEASE)
        self.start_workers(2)

    # -- applications

    @property
    def conf(self) -> dict[str, Any]:
        late, broker = self.config.late, self.config.broker
        options: dict[str, Any] = {"confirm_publish": True}
        if broker == "redis":
            options = {
                "visibility_timeout": VISIBILITY,
                "unacked_restore_interval": 1,
                "unacked_restore_throttle": 1,
            }
        return {
            "broker_url": self.broker.config()["host_url"],
            "broker_transport_options": options,
            "broker_connection_retry_on_startup": True,
            "broker_connection_max_retries": None,
            "result_backend": None,
            "task_ignore_result": True,
            "task_acks_late": late,
            "task_reject_on_worker_lost": late,
            "concurrency_url": self.semaphore.url,
            "concurrency_limits": {ID: self.config.limit},
            "concurrency_lease_ttl": LEASE,
        }

    @property
    def redelivery(self) -> float:
        """Seconds until the broker delivers again what a dead worker had."""
        if self.config.broker != "redis":
            return 5.0
        # Older kombus look for it every 100 s, and cannot be told otherwise.
        return VISIBILITY + (5.0 if hasattr(RedisChannel, "unacked_restore_interval") else 105.0)

    def make_app(self, extension: bool = True, **conf: Any) -> Celery:
        self._apps.append(make_app({**self.conf, **conf}, extension))
        return self._apps[-1]

    # -- workers

    @property
    def alive(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.running]

    def start_workers(self, count: int = 1, words: tuple[str, ...] = (), **conf: Any) -> list[Worker]:
        """Start workers, all at once, and wait until they are ready."""
        new = []
        for _ in range(count):
            proxy = Proxy(self.semaphore.port) if self.config.semaphore == "proxied" else None
            more: dict[str, Any] = {"concurrency_url": f"redis://127.0.0.1:{proxy.port}/0"} if proxy else {}
            line = None
            if self.config.semaphore == "lined":
                broker = self.broker.config()
                line = Proxy(broker["port"])
                # With confirmations Celery's own heartbeat events wait for ever for a broker that does not answer.
                more["broker_transport_options"] = {}
                more["broker_url"] = f"amqp://guest:guest@127.0.0.1:{line.port}/{broker['vhost']}"
            worker = Worker(
                f"w{next(self._count)}",
                {**self.conf, **more, **conf},
                self.directory,
                self.config.pool,
                words or self.words,
            )
            worker.proxy, worker.line, worker.ordinary = proxy, line, not (words or conf)
            worker.start()
            new.append(worker)
        self.workers += new
        for worker in new:
            worker.ready()
        return new

    def revive(self) -> None:
        """Do what a process supervisor does: replace workers that ended, and note those that nobody had ended."""
        gone = [worker for worker in self.workers if not worker.running]
        for worker in gone:
            if not worker.expected_to_end:
                self.ended_by_themselves.append(worker.name)
            self.retire(worker)
        if gone:
            self.start_workers(len(gone))

    def restore(self) -> None:
        """Put ordinary workers in the place of those that a fault started in its own way."""
        others = [worker for worker in self.alive if not worker.ordinary]
        if others:
            self.start_workers(len(others))
        for worker in others:
            self.retire_warmly(worker)

    def retire(self, worker: Worker) -> None:
        worker.expected_to_end = True
        worker.teardown()
        for proxy in (worker.proxy, worker.line):
            if proxy is not None:
                proxy.close()
        self.workers.remove(worker)
        self._ended.append(worker)

    def retire_warmly(self, worker: Worker) -> None:
        """Stop a worker as an operator does."""
        worker.expected_to_end = True
        kill(worker.pid, signal.SIGTERM)
        worker.wait_exit(30)
        self.retire(worker)

    def wait_running(self, count: int) -> None:
        wait(
            lambda: len(self.sweep.running()) >= count, 20, lambda: f"{count} tasks run; {self.slots()}\n{self.logs()}"
        )

    # -- what Redis says

    def slots(self) -> dict[str, Any]:
        """What Redis holds: empty as soon as nothing runs and nothing was leaked."""
        client = self.semaphore.client()
        state = client.hgetall(f"{PREFIX}id:{ID}")
        held = list(client.scan_iter(PREFIX + "held:*"))
        found = {
            "slots": client.hgetall(f"{PREFIX}slots:{ID}"),
            "held": {key: client.hgetall(key) for key in held},
            "fetching": int(state.get("fetching", 0)),
            "unseen": int(state.get("unseen", 0)),
            "waiting": client.zrange(f"{PREFIX}waiting:{ID}", 0, -1),
            "dead workers": client.zcard(f"{PREFIX}workers") - len(self.alive),
        }
        return {name: value for name, value in found.items() if value}

    # -- for failure messages, and at the end

    def logs(self) -> str:
        return "\n".join(
            f"--- {worker.name} ({worker.status})\n{worker.logs()[-4000:]}"
            for worker in self._ended[-3:] + self.workers
        )

    def bugs(self) -> list[str]:
        """Lines of the workers' logs that the extension itself calls a bug."""
        lines = []
        for worker in self._ended + self.workers:
            for number, line in enumerate(worker.logs().splitlines()):
                if "this is a bug" in line:
                    lines.append(f"{worker.log_file}:{number + 1}: {line}")
        return lines

    def teardown(self) -> None:
        for worker in list(self.workers):
            self.retire(worker)
        self.observer.close()
        for app in self._apps:
            app.close()
        self.semaphore.teardown()
        self.broker.teardown()


class _Shared(SemaphoreServer):
    """The broker's Redis holds the slots as well."""

    def __init__(self, broker: Any) -> None:
        self.process = broker.container

    def teardown(self) -> None:
        """It is the broker's."""


def now() -> int:
    return time.monotonic_ns()


def kill(pid: int, signal: int) -> None:
    try:
        os.kill(pid, signal)
    except ProcessLookupError:
        pass
