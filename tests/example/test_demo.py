"""The demo of the README's first command, run as a user runs it: the limit holds, and nothing of it stays behind."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.servers import Servers

PROJECT = Path(__file__).resolve().parents[2] / "example_project"
MARK = "CONCURRENCY_EXAMPLE_TEST"
SECONDS = 120  # a deadline, far beyond what the demo needs

pytestmark = pytest.mark.slow


class Demo:
    """The demo as a child process; whatever it starts inherits a mark in its environment."""

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


def test_the_demo_runs_two_gpu_tasks_at_once_and_leaves_no_process(start: Callable[..., Demo]) -> None:
    demo = start()

    demo.read_to_the_end()

    assert demo.exit_code() == 0, demo.text
    assert "at most 2; the limit is 2." in demo.text
    submitted = int(re.findall(r"submitted +(\d+) tasks", demo.text)[0])
    assert f"{submitted} tasks ended, each ran once." in demo.text
    assert len(re.findall(r"^ *[\d.]+ s  end ", demo.text, re.MULTILINE)) == submitted
    assert demo.processes() == []


def test_in_a_terminal_the_demo_draws_a_table_while_tasks_run(start: Callable[..., Demo]) -> None:
    demo = start("--speed", "4", terminal=True)

    demo.read_until("\x1b[1;32m2 running, limit 2")
    demo.read_to_the_end()

    assert demo.exit_code() == 0, demo.text
    assert "at most 2; the limit is 2." in demo.text


def test_ctrl_c_in_the_middle_stops_everything(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.read_until(" start ")
    alive = len(demo.processes())
    assert alive > 3, "the demo, its Redis and two workers were to be seen"

    pressed = time.monotonic()
    demo.interrupt()
    demo.read_to_the_end()

    assert demo.exit_code() == 130, demo.text
    assert "Interrupted" in demo.text
    assert "tasks ended" not in demo.text
    assert demo.processes() == []
    assert time.monotonic() - pressed < 15


def test_a_worker_that_dies_fails_the_demo_with_its_name_and_stops_everything(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.read_until(" start ")
    worker = next(process for process in demo.processes() if "beta@%h" in process.cmdline())
    while "beta@%h" in worker.parent().cmdline():  # the main process, not one of its pool
        worker = worker.parent()

    worker.kill()
    demo.read_to_the_end()

    assert demo.exit_code() == 1, demo.text
    assert "beta ended with code -9" in demo.text
    assert demo.processes() == []


def test_the_demo_runs_on_a_rabbitmq_and_a_redis_of_the_users(start: Callable[..., Demo], servers: Servers) -> None:
    broker, slots = servers.broker("rabbitmq"), servers.redis_backend()
    demo = start(
        "--speed",
        "4",
        CONCURRENCY_EXAMPLE_BROKER=broker.config()["host_url"],
        CONCURRENCY_EXAMPLE_REDIS=slots.config()["host_url"],
    )

    demo.read_to_the_end()
    broker.teardown()
    slots.teardown()

    assert demo.exit_code() == 0, demo.text
    assert "redis      " not in demo.text, "it was to start no Redis"
    assert "at most 2; the limit is 2." in demo.text


def test_a_server_that_does_not_answer_is_named_before_anything_starts(start: Callable[..., Demo]) -> None:
    demo = start(CONCURRENCY_EXAMPLE_BROKER="redis://127.0.0.1:1/0")

    demo.read_to_the_end()

    assert demo.exit_code() == 1
    assert "no broker at CONCURRENCY_EXAMPLE_BROKER=redis://127.0.0.1:1/0" in demo.text
    assert "worker " not in demo.text
