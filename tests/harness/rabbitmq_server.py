"""RabbitMQ servers: slow to start (some 3 s), so one serves the session and every setup has its own vhost."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pytest_celery.vendors.rabbitmq.api import RabbitMQTestBroker

from harness.process import ProcessContainer, free_port

# Debian's command insists on its own user and drops the environment: call what it wraps.
DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
# One scheduler, which does not spin when idle: the server must not take the workers' processors.
FRUGAL = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
SETTINGS = """\
listeners.tcp.1 = 127.0.0.1:{port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management_port}
disk_free_limit.absolute = 10MB
"""


def executable() -> str | None:
    return str(DEBIAN) if DEBIAN.exists() else shutil.which("rabbitmq-server")


class RabbitMQProcess(ProcessContainer):
    """A rabbitmq-server with the management plugin, which makes a vhost in some 10 ms."""

    start_timeout = 60.0
    ready_prompt = "Server startup complete"

    def __init__(self, directory: Path) -> None:
        found = executable()
        assert found, "no rabbitmq-server: ask harness.servers before"
        self.port, self.management_port, self.epmd_port = free_port(), free_port(), free_port()
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "rabbitmq.conf"
        config.write_text(SETTINGS.format(port=self.port, management_port=self.management_port))
        plugins = directory / "enabled_plugins"
        plugins.write_text("[rabbitmq_management].")
        env = {
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "HOME": str(directory),  # where Erlang keeps its cookie
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": FRUGAL,
        }
        super().__init__(f"rabbitmq-{self.port}", [found], directory, env)
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return self.config_of("%2F")

    def config_of(self, vhost: str) -> dict[str, Any]:
        url = f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost}"
        return {"url": url, "host_url": url, "hostname": "127.0.0.1", "port": self.port, "vhost": vhost}

    def start(self) -> None:
        # Ours, in the foreground: the one that Erlang starts by itself would outlive the tests.
        if self._epmd is None and shutil.which("epmd"):
            command = ["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"]
            self._epmd = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        super().start()

    def teardown(self) -> None:
        super().teardown()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None

    def manage(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call the management interface."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management_port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": "Basic " + base64.b64encode(b"guest:guest").decode(),
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            said = answer.read()
        return json.loads(said) if said else None


class Vhost(RabbitMQTestBroker):
    """A broker node that is one vhost of a server."""

    def __init__(self, server: RabbitMQProcess, name: str) -> None:
        super().__init__(server)
        self.server, self.vhost = server, name
        server.manage("PUT", f"vhosts/{name}")

    def config(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**self.server.config_of(self.vhost), **kwargs}

    def teardown(self) -> None:
        """Drop the vhost; the server serves on."""
        try:
            self.server.manage("DELETE", f"vhosts/{self.vhost}")
        except urllib.error.URLError:
            pass  # a test stopped the server
