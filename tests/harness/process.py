"""A process that pytest-celery takes for one of its containers.

Its nodes only ask a container for ``status``, ``kill``, ``restart``, ``reload``, ``logs``, ``name``, ``id``,
``ready`` and ``teardown``: that is the seam.
"""

from __future__ import annotations

import os
import signal as signals
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_celery import CeleryTestContainer

from harness.waiting import wait

# Signals that stand for something that happens to the whole machine.
WHOLE_GROUP = {signals.SIGKILL, signals.SIGSTOP, signals.SIGCONT}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ProcessContainer(CeleryTestContainer):
    """A child process in its own process group, with its output in a file."""

    start_timeout = 30.0

    def __init__(
        self, name: str, argv: Sequence[str], directory: Path, env: Mapping[str, str] | None = None, cwd: Any = None
    ) -> None:
        self._name, self._id = name, uuid.uuid4().hex
        self.argv, self.environment, self.cwd = [str(word) for word in argv], dict(env or {}), cwd
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log_file = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    # -- what pytest-celery's nodes call

    @property
    def id(self) -> str:
        return self._id

    @property
    def name(self) -> str:
        return self._name

    @property
    def attrs(self) -> dict[str, Any]:
        return {"Config": {"Hostname": "127.0.0.1"}, "State": {"Pid": self.pid}}

    @property
    def status(self) -> str:
        return "running" if self.process is not None and self.process.poll() is None else "exited"

    def reload(self) -> None:
        self.status  # noqa: B018 - polls, and so reaps a process that ended

    def logs(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def kill(self, signal: str | int | None = None) -> None:
        """Send a signal: SIGKILL, SIGSTOP and SIGCONT to all of its processes, as Docker does, others to the first."""
        number = signals.SIGKILL if signal is None else signal
        number = signals.Signals[number] if isinstance(number, str) else signals.Signals(number)
        if number in WHOLE_GROUP:
            self._signal_group(number)
            if number == signals.SIGKILL:
                self.wait_exit()
        elif self.status == "running":
            os.kill(self.pid, number)

    def restart(self, timeout: float = 10) -> None:
        self.stop(timeout)
        self.start()
        self.ready()

    def ready(self) -> bool:
        wait(self._started, self.start_timeout, lambda: f"{self.name} is ready; its log ends: {self.logs()[-3000:]}")
        return True

    def teardown(self) -> None:
        self._signal_group(signals.SIGKILL)
        self.wait_exit()

    # -- the process

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    def start(self) -> None:
        with self.log_file.open("ab") as output:
            self._log_start = output.tell()
            self.process = subprocess.Popen(
                self.argv,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
                cwd=self.cwd,
                start_new_session=True,
            )

    def stop(self, timeout: float = 10, signal: str = "SIGTERM") -> None:
        """Ask the process to end, and make it end at the deadline."""
        if self.status == "running":
            self.kill(signal)
            deadline = time.monotonic() + timeout
            while self.status == "running" and time.monotonic() < deadline:
                time.sleep(0.01)  # between two looks, with a deadline
        self.teardown()

    def wait_exit(self, timeout: float = 30) -> int:
        wait(lambda: self.status == "exited", timeout, lambda: f"{self.name} ends; its log: {self.logs()[-3000:]}")
        assert self.process is not None
        return int(self.process.returncode)

    def logs_since_start(self) -> str:
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def is_ready(self) -> bool:
        """Whether a process that runs is of use; subclasses look for a prompt or ask the server."""
        return self.ready_prompt is None or self.ready_prompt in self.logs_since_start()

    def _started(self) -> bool:
        assert self.status == "running", f"{self.name} ended before it was ready: {self.logs()[-3000:]}"
        return self.is_ready()

    def _signal_group(self, number: int) -> None:
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                pass
