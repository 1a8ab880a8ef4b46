"""Child processes that never outlive the demo."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Callable

from demo.errors import DemoError, Interrupted


class Interrupt:
    """Remembers that Ctrl-C (or a request to end) came; whoever waits asks for it.

    An exception out of a signal handler could strike between the start of a process and its registration, and leave
    that process behind. A flag cannot.
    """

    def __init__(self) -> None:
        self.came = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.came = True

    def check(self) -> None:
        """Raises: Interrupted, if one came."""
        if self.came:
            raise Interrupted()


class Process:
    """One child process, in a session of its own: Ctrl-C in the terminal reaches the demo, which ends it in order."""

    def __init__(self, name: str, command: list[str], log: Path, cwd: Path) -> None:
        self.name, self.log = name, log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def check(self) -> None:
        """Raises: DemoError, with the end of its output, if the process has ended."""
        code = self._popen.poll()
        if code is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise DemoError(f"{self.name} ended with code {code}. The end of its output:\n{tail}")

    def ask_to_end(self) -> None:
        if self._popen.poll() is None:
            self._popen.terminate()

    def end(self, deadline: float) -> None:
        """Wait until the process has ended; past the deadline, or for what it left behind, use force."""
        try:
            self._popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self._popen.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # the whole group is gone, as it should be (macOS says "not permitted" for a group of zombies)
        self._popen.wait()


class Processes:
    """Processes that end together, when the `with` block is left in whatever way."""

    patience = 8.0  # seconds; a warm shutdown lets running tasks end, and the longest takes three

    def __init__(self) -> None:
        self._all: list[Process] = []

    def start(self, name: str, command: list[str], log: Path, cwd: Path) -> Process:
        process = Process(name, command, log, cwd)
        self._all.append(process)
        return process

    def check(self) -> None:
        """Raises: DemoError, if one of them has ended."""
        for process in self._all:
            process.check()

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        deadline = time.monotonic() + self.patience
        for process in self._all:
            process.ask_to_end()
        for process in self._all:
            process.end(deadline)


def wait_until(condition: Callable[[], bool], seconds: float, what: str, check: Callable[[], None]) -> None:
    """Poll a condition; call `check` between polls.

    Raises:
        DemoError: the condition was still false after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        check()
        if time.monotonic() > deadline:
            raise DemoError(f"{what}: not within {seconds:g} seconds")
        time.sleep(0.05)  # between two looks
