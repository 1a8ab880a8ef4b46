"""The example as a child process, run as a user runs it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

__all__ = ("Demo", "most_at_once", "start")

PROJECT = Path(__file__).resolve().parents[2] / "example_project"
MARK = "CONCURRENCY_EXAMPLE_TEST"
SECONDS = 120  # a deadline, far beyond what the demo needs


class Demo:
    """The demo as a child process; whatever it starts inherits a mark in its environment.

    Attributes:
        log: What its tasks write, where the test has said which file that is.
    """

    log: Path

    def __init__(self, *arguments: str, terminal: bool = False, **servers: str) -> None:
        self.mark = uuid.uuid4().hex
        # The demo is to start its own Redis, whatever the shell of the developer names.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CONCURRENCY_")}
        environment.update({MARK: self.mark, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}, **servers)
        self._output, theirs = pty.openpty() if terminal else os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, str(PROJECT), *arguments], env=environment, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self.text = ""

    def read_until(self, expected: str) -> None:
        """Collect output until the expected text is in it; the deadline is pytest's own."""
        while expected not in self.text:
            more = self._read()
            assert more, f"{expected!r} never came:\n{self.text}"
            self.text += more

    def read_to_the_end(self) -> None:
        while more := self._read():
            self.text += more

    def _read(self) -> str:
        try:
            return os.read(self._output, 65536).decode(errors="replace")
        except OSError:  # how a terminal says that the other side is gone
            return ""

    @property
    def page_url(self) -> str:
        """The address of the page that it says it serves."""
        return re.findall(r"page +(http://127\.0\.0\.1:\d+/)", self.text)[0]

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def exit_code(self) -> int:
        return self._process.wait(SECONDS)

    def processes(self) -> list[psutil.Process]:
        """Every living process that the demo started, and the demo itself."""
        return [process for process in psutil.process_iter() if _environment(process).get(MARK) == self.mark]

    def end(self) -> None:
        os.close(self._output)
        for process in self.processes():
            process.kill()
        self._process.wait(SECONDS)


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:  # gone, a zombie, or another user's
        return {}


@pytest.fixture
def start() -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def _start(*arguments: str, terminal: bool = False, **servers: str) -> Demo:
        started.append(Demo(*arguments, terminal=terminal, **servers))
        return started[-1]

    yield _start
    for demo in started:
        demo.end()


def most_at_once(log: Path) -> int:
    """How many GPU tasks ran at once, by the lines that the tasks wrote."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    now = most = 0
    for line in sorted(lines, key=lambda line: (line["time"], line["event"])):
        now += {"start": 1, "end": -1}.get(line["event"], 0)
        most = max(most, now)
    return most
