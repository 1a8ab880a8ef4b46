"""Servers of our own: on free ports of 127.0.0.1, in temporary directories, ended with the benchmark."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Callable

#: Each side gets a fresh Redis database or RabbitMQ virtual host, so that no run sees another one's keys.
FRESH_PLACES = 128


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], what: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with {process.returncode} while starting")
        if time.monotonic() > deadline:
            end_group(process, signal.SIGKILL)
            raise RuntimeError(f"{what} was not ready after {timeout:.0f} s")
        time.sleep(0.02)  # between two looks


def end_group(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, sign)
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class RedisServer:
    """A Redis (or Valkey) that persists nothing."""

    def __init__(self, directory: Path) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if binary is None:
            raise SystemExit("the benchmarks need a redis-server or valkey-server in PATH")
        directory.mkdir(parents=True)
        self.port = free_port()
        self._places = count()
        options = {"port": self.port, "bind": "127.0.0.1", "dir": directory, "save": "", "appendonly": "no"}
        command = [binary, "--databases", str(FRESH_PLACES)]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        with (directory / "redis.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until(self._answers, self._process, "redis-server", 30)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def fresh_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/{next(self._places)}"

    def stop(self) -> None:
        end_group(self._process, signal.SIGTERM)


class RabbitServer:
    """A RabbitMQ node with its own epmd, cookie and virtual hosts."""

    def __init__(self, directory: Path) -> None:
        # The packaged /usr/sbin wrapper switches to the system's rabbitmq user; the script behind it does not.
        binary = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin") or shutil.which("rabbitmq-server")
        if binary is None:
            raise SystemExit("--broker rabbitmq needs a rabbitmq-server in PATH")
        directory.mkdir(parents=True)
        self.port = free_port()
        self._places = count()
        self._epmd_port = str(free_port())
        (directory / "definitions.json").write_text(json.dumps(_definitions()))
        (directory / "rabbitmq.conf").write_text(f"load_definitions = {directory}/definitions.json\n")
        (directory / "enabled_plugins").write_text("[].\n")
        environment = {
            **os.environ,
            "HOME": str(directory),
            "ERL_EPMD_PORT": self._epmd_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"bench{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
        }
        with (directory / "rabbitmq.out").open("wb") as log:
            self._process = subprocess.Popen(
                [binary], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, self._process, "rabbitmq-server", 120)

    def _answers(self) -> bool:
        """Whether the node speaks AMQP: it opens its port last, after the definitions are loaded."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(8))
        except OSError:
            return False

    def fresh_url(self) -> str:
        return f"amqp://bench:bench@127.0.0.1:{self.port}/v{next(self._places)}"

    def stop(self) -> None:
        end_group(self._process, signal.SIGTERM)
        epmd = shutil.which("epmd")
        if epmd:  # a daemon outside our process group; this one is ours alone by its port
            subprocess.run([epmd, "-port", self._epmd_port, "-kill"], stdout=subprocess.DEVNULL, check=False)


def _definitions() -> dict[str, object]:
    """One user and many empty virtual hosts; a node that loads definitions creates no guest user."""
    salt = os.urandom(4)
    password_hash = base64.b64encode(salt + hashlib.sha256(salt + b"bench").digest()).decode()
    places = [f"v{index}" for index in range(FRESH_PLACES // 2)]
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [{"name": "bench", "password_hash": password_hash, "tags": "administrator"}],
        "vhosts": [{"name": place} for place in places],
        "permissions": [{"user": "bench", "vhost": place, **everything} for place in places],
    }
