"""Slots taken and freed are told of by Celery's events, by signals, and, once, in the log."""

from __future__ import annotations

import json
import threading
from typing import Any, Callable

import pytest

from harness.fixtures import for_each_broker
from harness.setup import Setup
from harness.waiting import wait

SIGNALS = ("slot_acquired", "slot_released")


class Listener:
    """Everything that workers send, in order, and Celery's own picture of it."""

    def __init__(self, setup: Setup) -> None:
        self.events: list[dict[str, Any]] = []
        self.state = setup.app.events.State()
        self._connection = setup.app.connection_for_read()
        self._receiver = setup.app.events.Receiver(self._connection, handlers={"*": self._hear})
        self._receiver.should_stop = False
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Listener:
        self._consumer = self._receiver.itercapture(limit=None, timeout=None, wakeup=True)
        self._thread.start()
        # The first heartbeat of a worker says that we hear them.
        wait(lambda: self.events, what="an event")
        return self

    def __exit__(self, *exc: object) -> None:
        self._receiver.should_stop = True
        self._thread.join(10)
        self._connection.release()

    def _listen(self) -> None:
        for _ in self._consumer:
            pass

    def _hear(self, event: dict[str, Any]) -> None:
        self.state.event(event)
        self.events.append(event)

    def of(self, task: str) -> list[dict[str, Any]]:
        return [
            event for event in self.events if event.get("uuid") == task and event["type"].startswith("concurrency-")
        ]


@for_each_broker
def test_events_and_signals_tell_of_each_slot_taken_and_freed(make_setup: Callable[..., Setup], broker: str) -> None:
    setup = make_setup("--task-events", broker=broker, harness_signals=True)
    with Listener(setup) as listener:
        results = setup.send_many("one", 3)
        several = {"left_right": {"left": 1, "right": 2}, "api": {"api": 1, "api/7": 1}}
        results += [setup.send("left_right"), setup.send("api", "7")]
        setup.wait_ended(results)
        wait(
            lambda: all(len(listener.of(result.id)) == 2 for result in results),
            what=lambda: f"two events for each task: {listener.events}",
        )
        wait(
            lambda: all(listener.state.tasks[result.id].state == "SUCCESS" for result in results),
            what=lambda: f"Celery's picture of the tasks stays right: {listener.state.tasks}",
        )

    told = [json.loads(line) for line in setup.truth_file.read_text().splitlines()]
    for result in results:
        first, last = listener.of(result.id)
        assert (first["type"], last["type"]) == ("concurrency-slot-acquired", "concurrency-slot-released")
        slots = several.get(first["name"], {"one": 1})
        assert first["name"] == last["name"]
        assert first["slots"] == last["slots"] == slots
        assert first["concurrency_id"] == last["concurrency_id"]
        assert first["token"] == last["token"] > 0
        if slots != {"one": 1}:
            continue
        assert first["concurrency_id"] == first["name"] == "one"
        signals = [line for line in told if line["event"] in SIGNALS and line["task"] == result.id]
        assert [line["event"] for line in signals] == list(SIGNALS)
        assert {(line["concurrency_id"], line["token"]) for line in signals} == {("one", first["token"])}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_the_log_says_once_why_tasks_wait(make_setup: Callable[..., Setup], pool: str) -> None:
    setup = make_setup(workers=0, pool=pool)
    results = setup.send_many("one", 20, seconds=0.01)
    (worker,) = setup.start_workers(1, "--loglevel=INFO", concurrency=2)

    setup.wait_ended(results)

    wait(lambda: "every slot of 'one' is taken" in worker.logs(), what=lambda: setup.state())
    assert worker.logs().count("every slot of 'one' is taken") == 1
