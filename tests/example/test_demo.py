"""The demo of the README's first command, run as a user runs it: the limit holds, and nothing of it stays behind."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable

import pytest

from example.demo import Demo
from harness.servers import Servers

pytestmark = pytest.mark.slow


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
    # Then the page stays, until somebody has seen enough.
    demo.read_until("Ctrl-C ends it.")
    with urllib.request.urlopen(demo.page_url, timeout=30) as page:
        assert b"Three buttons" in page.read()
    demo.interrupt()
    demo.read_to_the_end()

    assert demo.exit_code() == 0, demo.text
    assert "at most 2; the limit is 2." in demo.text
    assert demo.processes() == []


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
        "--terminal",
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
    assert "http://" not in demo.text, "and no page"
    assert "at most 2; the limit is 2." in demo.text


def test_a_server_that_does_not_answer_is_named_before_anything_starts(start: Callable[..., Demo]) -> None:
    demo = start(CONCURRENCY_EXAMPLE_BROKER="redis://127.0.0.1:1/0")

    demo.read_to_the_end()

    assert demo.exit_code() == 1
    assert "no broker at CONCURRENCY_EXAMPLE_BROKER=redis://127.0.0.1:1/0" in demo.text
    assert "worker " not in demo.text
