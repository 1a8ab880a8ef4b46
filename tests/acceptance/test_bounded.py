"""Queues that may not grow beyond a number: a publish is refused before anything is sent, and only then."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import uuid
from typing import Any, Callable

import pytest
import redis
from celery import chain, group
from kombu.exceptions import EncodeError

from celery_concurrency_id import QueueFullError
from celery_concurrency_id.policy import policy_of
from celery_concurrency_id.semaphore import keys
from harness.fixtures import for_each_broker
from harness.servers import Servers
from harness.setup import Setup
from harness.waiting import wait
from harness.worker import TESTS


class Press:
    """Producers in processes of their own, that begin at the same moment."""

    def __init__(self, setup: Setup, count: int, each: int, name: str, **more: Any) -> None:
        self._go = setup.directory / f"go-{uuid.uuid4().hex}"
        self._ready = [setup.directory / f"ready-{uuid.uuid4().hex}" for _ in range(count)]
        self._processes = []
        for ready in self._ready:
            told = {"conf": setup.conf, "name": name, "count": each, "ready": str(ready), "go": str(self._go), **more}
            argv = [sys.executable, "-m", "harness.press", json.dumps(told)]
            self._processes.append(subprocess.Popen(argv, cwd=TESTS, stdout=subprocess.PIPE, text=True))

    def all_at_once(self) -> list[dict[str, Any] | int]:
        """Let them begin; return what each says, or how it ended."""
        try:
            wait(lambda: all(ready.exists() for ready in self._ready), 60, "all producers are ready")
            self._go.touch()
            said = [process.communicate(timeout=90)[0] for process in self._processes]
        finally:
            for process in self._processes:
                process.kill()
                process.wait()
        return [
            json.loads(text) if process.returncode == 0 else process.returncode
            for text, process in zip(said, self._processes)
        ]


def start_is_known(setup: Setup, id: str) -> None:
    """Wait until the semaphore has heard of the start that the truth tells of: until then, the task counts as waiting.

    What follows does not rely on its word; without this it would begin some milliseconds too early.
    """
    with redis.Redis.from_url(policy_of(setup.app).settings.url) as client:
        wait(lambda: client.zcard(f"{keys.prefix('celery')}waiting:{id}") == 0, what="the start was reported")


@for_each_broker
def test_of_many_producers_at_once_exactly_so_many_tasks_are_accepted_as_may_wait(
    make_setup: Callable[..., Setup], broker: str
) -> None:
    setup = make_setup(broker=broker, concurrency_max_waiting={"one": 20})
    gate = setup.gate()
    running = setup.send("one", tag="first", gate=gate)
    setup.wait_running(1, "one")
    start_is_known(setup, "one")

    said = Press(setup, 8, 6, "one", gate=str(gate)).all_at_once()

    accepted = [id for each in said for id in each["accepted"]]
    refused = [error for each in said for error in each["refused"]]
    assert len(accepted) == 20
    assert refused == [["one", 20, 20]] * 28
    wait(lambda: setup.waiting("one") == 20, what=lambda: f"20 messages, not {setup.waiting('one')}")
    with pytest.raises(QueueFullError, match="'one' is full: 20 tasks"):
        setup.app.send_task("one")

    gate.open()
    setup.wait_ended([running])
    wait(lambda: len(setup.sweep.ended("one")) == 21, 60, lambda: f"21 ran; {setup.state()}")
    assert {run.task for run in setup.sweep.runs("one")} == {running.id, *accepted}, "nothing that was refused ran"
    gate = setup.gate()
    again = setup.send_many("one", 20, gate=gate)  # there is room again
    gate.open()
    setup.wait_ended(again, timeout=60)


@for_each_broker
def test_what_was_accepted_once_is_not_refused_when_it_retries_or_is_moved(
    make_setup: Callable[..., Setup], broker: str
) -> None:
    setup = make_setup(broker=broker, concurrency_max_waiting=2)
    gate = setup.gate()
    running = setup.send("retrying", times=2, gate=gate)
    setup.wait_running(1, "retrying")
    start_is_known(setup, "retrying")
    waiting = [setup.send("retrying", times=0, gate=gate) for _ in range(2)]
    with pytest.raises(QueueFullError) as full:
        setup.send("retrying")
    assert (full.value.id, full.value.size, full.value.limit) == ("retrying", 2, 2)
    plain = setup.plain_producer()
    moved = plain.send_task("retrying", kwargs={"times": 0, "gate": str(gate)})
    wait(lambda: setup.waiting("retrying") == 3, what="a worker moved one more to the full queue")

    gate.open()  # the one that runs publishes itself again, twice, while the queue is full

    assert running.get(timeout=30) == 2
    setup.wait_ended([*waiting, moved])
    assert setup.sweep.peak("retrying") == 1
    plain.close()


def test_a_producer_that_is_killed_between_its_place_and_its_publish_leaves_no_lasting_ghost(
    make_setup: Callable[..., Setup],
) -> None:
    setup = make_setup(workers=0, concurrency_max_waiting=1)

    assert Press(setup, 1, 1, "one", dies=True).all_at_once() == [-9]

    killed = time.monotonic()
    assert setup.waiting("one") == 0
    with pytest.raises(QueueFullError):
        setup.send("one")  # its place is still kept
    accepted = wait(lambda: _accepted(setup), 40, "its place lapses")
    assert time.monotonic() - killed > 5
    assert setup.waiting("one") == 1
    setup.start_workers(1)
    setup.wait_ended([accepted])


def _accepted(setup: Setup) -> Any:
    try:
        return setup.send("one")
    except QueueFullError:
        return None


def test_a_publish_that_fails_gives_its_place_back(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(workers=0, concurrency_max_waiting=1)
    with pytest.raises(EncodeError):
        setup.app.send_task("one", args=[object()])  # JSON knows no such thing; found out when it is published

    setup.send("one")
    with pytest.raises(QueueFullError):
        setup.send("one")


def test_tasks_that_are_not_due_wait_also_while_a_worker_keeps_them(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(concurrency_max_waiting=2)
    for _ in range(2):
        setup.send("one", options={"countdown": 600})
    wait(lambda: setup.waiting("one") == 0, what="a worker keeps them")
    start_is_known(setup, "one")
    with pytest.raises(QueueFullError) as full:
        setup.send("one")
    assert full.value.size == 2

    soon = [setup.send("other", options={"countdown": 1}) for _ in range(2)]
    setup.wait_ended(soon)
    start_is_known(setup, "other")
    setup.send_many("other", 2)  # what was due and has run waits no longer


def test_a_step_of_a_chain_that_is_refused_fails_the_task_before_it(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(concurrency_max_waiting=1)
    gate = setup.gate()
    setup.send("one", gate=gate)
    setup.wait_running(1, "one")
    start_is_known(setup, "one")
    setup.send("one")

    steps = chain(setup.app.signature("gather", args=("first",)), setup.app.signature("one"), app=setup.app)()

    with pytest.raises(QueueFullError) as full:
        steps.parent.get(timeout=30)
    assert (full.value.id, full.value.size, full.value.limit) == ("one", 1, 1)
    gate.open()


def test_a_group_is_sent_up_to_the_task_that_is_refused(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(workers=0, concurrency_max_waiting=2)

    with pytest.raises(QueueFullError):
        group(setup.app.signature("one") for _ in range(4)).apply_async()

    assert setup.waiting("one") == 2


def test_a_publish_that_is_refused_waits_for_no_result(make_setup: Callable[..., Setup]) -> None:
    """Celery subscribes to the result before it publishes; a server that is overrun must not collect subscriptions."""
    setup = make_setup(workers=0, concurrency_max_waiting=2)
    kept = setup.send_many("one", 2)
    for _ in range(5):
        with pytest.raises(QueueFullError):
            setup.send("one")

    client = setup.backend.container.client
    wait(lambda: len(client.pubsub_channels("celery-task-meta-*")) == len(kept), what="two results are waited for")


def test_without_redis_publishing_goes_on_without_a_bound_and_the_log_says_so_once(
    make_setup: Callable[..., Setup], servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    semaphore = servers.redis()
    try:
        setup = make_setup(workers=0, concurrency_max_waiting=2, concurrency_url=semaphore.celeryconfig["host_url"])
        setup.send_many("one", 2)
        with pytest.raises(QueueFullError):
            setup.send("one")
        semaphore.stop()

        with caplog.at_level(logging.WARNING):
            setup.send_many("one", 5)

        said = [record.levelname for record in caplog.records if "have no bound" in record.getMessage()]
        assert said == ["ERROR"]
        assert setup.waiting("one") == 7
    finally:
        semaphore.teardown()
