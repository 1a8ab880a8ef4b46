"""The semaphore's Redis, with what can be done to it; and one that fails over by Sentinel."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import redis

from harness.process import ProcessContainer, free_port
from harness.redis_server import RedisProcess, executable
from harness.waiting import wait


class SemaphoreServer:
    """A Redis that keeps its data over a restart unless it is told to forget."""

    def __init__(self, directory: Path) -> None:
        self.process = RedisProcess(directory, persistent=True, name="semaphore")
        self.process.start()
        self.process.ready()

    @property
    def port(self) -> int:
        return self.process.port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return self.process.client

    def kill(self) -> None:
        self.process.kill()

    def forget(self) -> None:
        """Remove the files of a server that does not run."""
        shutil.rmtree(self.process.directory / "appendonlydir", ignore_errors=True)
        for path in self.process.directory.glob("*.aof"):
            path.unlink()

    def start(self) -> None:
        self.process.start()
        self.process.ready()

    def freeze(self) -> None:
        self.process.kill(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.kill(signal.SIGCONT)

    def teardown(self) -> None:
        self.process.teardown()


class _Sentinel(ProcessContainer):
    ready_prompt = "+monitor"


class SentinelServers(SemaphoreServer):
    """A master, a replica, and the sentinel that lets them change places."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "first")
        self.replica = RedisProcess(directory / "second", persistent=True, name="replica")
        self.replica.start()
        self.replica.ready()
        self.replica.client.replicaof("127.0.0.1", self.process.port)
        config = directory / "sentinel.conf"
        self.sentinel_port = free_port()
        config.write_text(
            f"port {self.sentinel_port}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor semaphore 127.0.0.1 {self.process.port} 1\n"
            "sentinel down-after-milliseconds semaphore 2000\n"
            "sentinel failover-timeout semaphore 3000\n"
        )
        self.sentinel = _Sentinel("sentinel", [str(executable()), str(config), "--sentinel"], directory)
        self.sentinel.start()
        self.sentinel.ready()
        wait(self._has_replica, 30, "the sentinel sees a replica in step with its master")

    @property
    def url(self) -> str:
        return f"sentinel://127.0.0.1:{self.sentinel_port}/0?master_name=semaphore"

    def client(self) -> redis.Redis:
        return self._master_process().client

    def switch(self) -> None:
        """Let master and replica change places; the old master goes on, read-only, with its connections."""
        wait(self._has_replica, 30, "the sentinel sees a replica in step with its master")
        old = self._master_process()
        self._ask().execute_command("SENTINEL", "FAILOVER", "semaphore")
        wait(lambda: self._master_process() is not old, 30, "the replica is the master")
        # Left alone, Sentinel tells the old master after ten seconds, in which there are two.
        old.client.replicaof("127.0.0.1", self._master_process().port)

    def lose_master(self) -> None:
        """The master dies, Sentinel finds out, and the old master comes back as a replica."""
        wait(self._has_replica, 30, "the sentinel sees a replica in step with its master")
        old = self._master_process()
        old.kill()
        wait(lambda: self._master_process() is not old, 30, "the replica is the master")
        old.start()
        old.ready()
        old.client.replicaof("127.0.0.1", self._master_process().port)

    def teardown(self) -> None:
        for process in (self.sentinel, self.replica):
            process.teardown()
        super().teardown()

    def _ask(self) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.sentinel_port, decode_responses=True, socket_timeout=5)

    def _master_process(self) -> RedisProcess:
        _, port = self._ask().execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "semaphore")
        return self.process if int(port) == self.process.port else self.replica

    def _has_replica(self) -> bool:
        replicas = self._ask().execute_command("SENTINEL", "REPLICAS", "semaphore")
        flat = [row if isinstance(row, dict) else dict(zip(row[::2], row[1::2])) for row in replicas]
        return any(row["flags"] == "slave" and row["master-link-status"] == "ok" for row in flat)
