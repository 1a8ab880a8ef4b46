"""What comes after the next task has started, and in which order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Callable

import pytest

from celery_concurrency_id.worker import gate as gate_module
from celery_concurrency_id.worker.loop import BrokerLost, HubLoop
from celery_concurrency_id.worker.slot import Slot, State


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def gate(told: list[str]) -> Any:
    gate: Any = object.__new__(gate_module.Gate)
    gate._events = SimpleNamespace(
        released=lambda slot, request: told.append(f"released {request}"),
        acquired=lambda slot, request: told.append(f"acquired {request}"),
    )
    gate._hand = SimpleNamespace(places=SimpleNamespace(ended=lambda: None))
    gate._ahead = SimpleNamespace(took=lambda id, seconds: told.append("took"))
    gate._clock = lambda: 5.0
    return gate


def running(gate: Any) -> Slot:
    slot = Slot("gpu", "1")
    slot.state, slot.request = State.RUNNING, "first"
    gate._slots = {"1": slot}
    return slot


def test_a_slot_is_told_to_be_left_before_it_is_told_to_be_taken_again(gate: Any, told: list[str]) -> None:
    slot = running(gate)
    gate._go_on = lambda slot, died: gate.begun(slot, "second")

    gate._ended(slot, "first", False)

    assert told == ["released first", "acquired second", "took"]


def test_a_slot_is_told_to_be_left_where_no_task_follows_and_where_the_broker_is_lost(
    gate: Any, told: list[str]
) -> None:
    def lose(slot: Slot, died: bool) -> None:
        raise BrokerLost

    gate._go_on = lose
    with pytest.raises(BrokerLost):
        gate._ended(running(gate), "first", False)
    assert told == ["released first", "took"]

    gate._go_on = lambda slot, died: None
    gate._ended(running(gate), "first", False)
    assert told == 2 * ["released first", "took"]


class Hub:
    """Runs what it is to call soon, then polls, whereupon the pool writes."""

    def __init__(self, told: list[str]) -> None:
        self._ready: list[Callable[[], Any]] = []
        self._told = told

    def call_soon(self, call: Callable[..., Any], *args: Any) -> None:
        self._ready.append(lambda: call(*args))

    def turn(self) -> None:
        ready, self._ready = self._ready, []
        for call in ready:
            call()
        self._told.append("poll")


def test_what_comes_after_the_pools_write_comes_after_the_next_poll_whoever_asks(told: list[str]) -> None:
    hub = Hub(told)
    loop = HubLoop(hub)
    loop.after_writes(told.append, "asked by an event, after a poll")
    hub.turn()
    hub.turn()
    assert told == ["poll", "asked by an event, after a poll", "poll"]

    told.clear()
    loop.next_tick(loop.after_writes, told.append, "asked before a poll")
    hub.turn()
    hub.turn()
    assert told == ["poll", "asked before a poll", "poll"]
    loop.stop()
