"""Flower, as it is, shows the dedicated queues, what waits in them, and gated tasks."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from harness.fixtures import on_both_brokers
from harness.process import free_port
from harness.setup import Setup
from harness.waiting import wait

QUEUES = {"celery", "one", "two", "eight", "gpu_queue", "nameless"}


class Flower:
    """A Flower of the setup's app, and its HTTP interface."""

    def __init__(self, setup: Setup) -> None:
        self._port = free_port()
        words = ["--address=127.0.0.1", f"--port={self._port}", "--inspect_timeout=1500"]
        self.process = setup.start_celery(f"flower-{self._port}", "flower", *words)
        wait(self._answers, 60, lambda: f"Flower answers; {self.process.logs()}")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/{path}", timeout=30) as answer:
            return json.load(answer)

    def queues(self) -> dict[str, set[str]]:
        """The names of each worker's queues."""
        shown = self.get("workers?refresh=1")
        return {name: {queue["name"] for queue in worker.get("active_queues", ())} for name, worker in shown.items()}

    def states(self) -> dict[str, str]:
        """The states of the tasks that it has heard of."""
        return {id: task["state"] for id, task in self.get("tasks").items()}

    def _answers(self) -> bool:
        assert self.process.status == "running", self.process.logs()
        try:
            return self.get("workers") is not None
        except OSError:
            return False


@pytest.fixture
def flower(celery_setup: Setup, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flower]:
    monkeypatch.setenv("FLOWER_UNAUTHENTICATED_API", "true")
    flower = Flower(celery_setup)
    yield flower
    flower.process.teardown()
    celery_setup.app.control.disable_events()  # which Flower asked for


@on_both_brokers
def test_flower_shows_the_dedicated_queues_and_gated_tasks(celery_setup: Setup, flower: Flower) -> None:
    workers = {node.hostname() for node in celery_setup.workers}

    wait(
        lambda: sum(shown >= QUEUES for name, shown in flower.queues().items() if name in workers) == 2,
        60,
        lambda: f"all queues of both workers, not {flower.queues()}",
    )

    def heard_of_one_more() -> bool:
        """Flower has the workers send events some seconds after its start."""
        result = celery_setup.send("ordinary")
        celery_setup.wait_ended([result])
        return result.id in flower.states()

    wait(heard_of_one_more, 60, lambda: f"Flower hears of tasks; {flower.process.logs()}")
    gate = celery_setup.gate()
    results = celery_setup.send_many("one", 4, gate=gate)
    celery_setup.wait_running(1, "one")
    if celery_setup.conf["broker_url"].startswith("redis"):  # for RabbitMQ, Flower asks its management plugin
        expected = {"name": "one", "messages": 3}
        wait(lambda: expected in flower.get("queues/length")["active_queues"], what="3 wait")
    gate.open()
    celery_setup.wait_ended(results)
    wait(
        lambda: {flower.states().get(result.id) for result in results} == {"SUCCESS"},
        what=lambda: f"all succeeded, not {flower.states()}",
    )
