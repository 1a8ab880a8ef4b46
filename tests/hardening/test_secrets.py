"""Passwords are in no line of a log, whatever goes wrong and however much is logged."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Callable
from urllib.parse import quote

import pytest
import redis

from harness.process import free_port
from harness.servers import Servers
from harness.setup import Setup
from harness.waiting import wait
from harness.worker import TESTS

pytestmark = [pytest.mark.faults, pytest.mark.slow]

PASSWORD = "open/sesame@:%41"
FORMS = ("sesame", quote(PASSWORD, safe=""))


def protected(servers: Servers) -> tuple[Any, str]:
    """A Redis that asks for the password, and its URL."""
    server = servers.redis()
    server.client.config_set("requirepass", PASSWORD)
    return server, f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{server.celeryconfig['port']}/0"


def test_no_log_shows_a_password(
    make_setup: Callable[..., Setup], servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    (broker, broker_url), (semaphore, url) = protected(servers), protected(servers)
    nowhere = f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{free_port()}/0"
    try:
        setup = make_setup("--loglevel=DEBUG", broker_url=broker_url, concurrency_url=url)
        setup.wait_ended([setup.send("one"), setup.send("ordinary")])

        # The password is wrong from now on, for the worker that runs and for one that starts.
        with redis.Redis(port=semaphore.celeryconfig["port"], password=PASSWORD) as client:
            client.config_set("requirepass", "another")
            client.client_kill_filter(_type="normal", skipme=True)
            client.client_kill_filter(_type="pubsub")
        started = setup.start_workers(1, "--loglevel=DEBUG", concurrency=1)
        started += setup.start_workers(1, "--loglevel=DEBUG", concurrency=1, concurrency_url=nowhere)
        for _ in range(3):
            setup.send("one")  # the publisher's own log
        for node in setup.workers:
            wait(lambda: "cannot be reached" in node.logs(), 30, lambda: f"{node.name()} says so; {setup.state()}")  # noqa: B023
        setup.wait_ended([setup.send("ordinary")])
        listed = setup.app.control.inspect(timeout=15, limit=len(setup.workers)).conf(with_defaults=True)
        setup.app.control.inspect(timeout=15, limit=len(setup.workers)).stats()

        assert "cannot be reached" in caplog.text
        assert len(listed) == len(setup.workers)
        logs = {node.name(): node.logs() for node in setup.workers}
        for where, text in {**logs, "the publisher": caplog.text, "inspect conf": str(listed)}.items():
            for line in text.splitlines():
                assert not any(form in line for form in FORMS), f"{where}: {line}"
    finally:
        broker.teardown()
        semaphore.teardown()


def test_celery_report_shows_no_password(tmp_path: Any) -> None:
    url = f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{free_port()}/0"
    (tmp_path / "reported.py").write_text(
        "from celery import Celery\n"
        "from celery_concurrency_id import QueuedTask\n"
        f"app = Celery('reported', broker={url!r})\n"
        f"app.conf.concurrency_url = {url!r}\n"
        "@app.task(base=QueuedTask, lazy=False)\n"
        "def render(): ...\n"
    )
    command = [sys.executable, "-m", "celery", "--workdir", str(tmp_path), "-A", "reported", "report"]

    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=90)

    assert "concurrency_url" in done.stdout, done.stderr
    assert not any(form in done.stdout + done.stderr for form in FORMS), done.stdout
