"""What comes after the next task has started, and in which order."""

from __future__ import annotations

import select
from collections import deque
from types import SimpleNamespace
from typing import Any, Callable

import pytest

from celery_concurrency_id.worker import gate as gate_module
from celery_concurrency_id.worker.events import SlotEvents
from celery_concurrency_id.worker.hand import Hand
from celery_concurrency_id.worker.handover import HandOver
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
    gate._handover = HandOver.__new__(HandOver)
    gate._handover._untold = deque()
    gate._ahead = SimpleNamespace(took=lambda id, seconds: told.append("took"))
    gate._reserve = SimpleNamespace(took=lambda seconds: told.append(f"paced {seconds}"))
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

    assert told == ["released first", "acquired second", "took", "paced 5.0"]


def test_a_slot_is_told_to_be_left_where_no_task_follows_and_where_the_broker_is_lost(
    gate: Any, told: list[str]
) -> None:
    def lose(slot: Slot, died: bool) -> None:
        raise BrokerLost

    gate._go_on = lose
    with pytest.raises(BrokerLost):
        gate._ended(running(gate), "first", False)
    assert told == ["released first", "took", "paced 5.0"]

    gate._go_on = lambda slot, died: None
    gate._ended(running(gate), "first", False)
    assert told == 2 * ["released first", "took", "paced 5.0"]


class Hub:
    """Runs what it is to call soon and on each turn, then polls, whereupon the pool writes."""

    def __init__(self, told: list[str]) -> None:
        self._ready: list[Callable[[], Any]] = []
        self._told = told
        self.on_tick: set[Callable[[], Any]] = set()
        self.readers: list[Callable[[], Any]] = []

    def add_reader(self, fd: int, call: Callable[..., Any]) -> None:
        self.readers.append(call)

    def call_soon(self, call: Callable[..., Any], *args: Any) -> None:
        self._ready.append(lambda: call(*args))

    def turn(self) -> None:
        ready, self._ready = self._ready, []
        for call in (*ready, *self.on_tick):
            call()
        self._told.append("poll")


@pytest.fixture
def hub(told: list[str]) -> Hub:
    return Hub(told)


def test_what_comes_after_the_pools_write_comes_after_the_next_poll_whoever_asks(
    told: list[str], hub: Hub, loop: HubLoop
) -> None:
    loop.after_writes(told.append, "asked by an event, after a poll")
    hub.turn()
    hub.turn()
    assert told == ["poll", "asked by an event, after a poll", "poll"]

    told.clear()
    loop.next_tick(loop.after_writes, told.append, "asked before a poll")
    hub.turn()
    hub.turn()
    assert told == ["poll", "asked before a poll", "poll"]

    told.clear()
    loop.after_writes(loop.after_writes, told.append, "asked by another one")
    hub.turn()
    hub.turn()
    hub.turn()
    assert told == ["poll", "poll", "asked by another one", "poll"]


def test_the_hub_does_not_sleep_before_it_asks_the_pool_again(told: list[str], hub: Hub, loop: HubLoop) -> None:
    def readable() -> bool:
        return bool(select.select([loop._reader], [], [], 0)[0])

    loop.after_writes(told.append, "called")
    hub.turn()
    assert not readable()
    hub.turn()
    assert told == ["poll", "called", "poll"] and readable()

    hub.readers[0]()
    assert not readable()
    loop.after_writes(told.append, "called", wake=True)
    assert readable()


class Request:
    """Goes to the pool."""

    name, concurrency_key, concurrency_ahead = "celery.ping", ("task", 0), False
    eta = _apply_result = None

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def __repr__(self) -> str:
        return "second"

    def note_wait(self) -> None:
        self._told.append("noted its wait")

    def execute_using_pool(self, pool: Any) -> None:
        self._told.append("to the pool")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_task_is_told_of_once_the_pool_has_it_or_before_it_runs_inside_that_call(
    gate: Any, told: list[str], at_once: bool
) -> None:
    handover = gate._handover
    handover._gate, handover._at_once, handover._pool, handover._clock = gate, at_once, None, lambda: 1.0
    handover._link = SimpleNamespace(report=lambda report, urgent: told.append(f"reported {report.kind} {urgent}"))
    slot, request = Slot("gpu", "1"), Request(told)
    slot.left = "first"

    handover._run(slot, request)

    tells = ["released first", "acquired second", f"reported start {at_once}"]
    begins = ["noted its wait", "to the pool"]
    assert told == (["noted its wait", *tells, "to the pool"] if at_once else begins)
    handover.tell_begun()
    assert told == (["noted its wait", *tells, "to the pool"] if at_once else [*begins, *tells])
    told.clear()
    handover.tell_begun()
    assert told == []


def test_a_task_that_ended_before_it_was_told_of_is_told_of_first(gate: Any, told: list[str]) -> None:
    slot = running(gate)
    gate._handover._untold.append((slot, "first"))
    gate._handover._tell_begun = lambda slot, request: told.append(f"begun {request}")
    gate._go_on = lambda slot, died: None

    gate._ended(slot, "first", False)

    assert told == ["begun first", "released first", "took", "paced 5.0"]


@pytest.mark.parametrize("groups", [set(), {"worker"}, {"worker", "concurrency"}])
def test_an_event_costs_nothing_where_the_worker_sends_none_of_its_group(groups: set[str], told: list[str]) -> None:
    dispatcher = SimpleNamespace(enabled=True, groups=groups, send=lambda event, **fields: told.append(event))
    events = SlotEvents(SimpleNamespace(event_dispatcher=dispatcher))
    events.acquired(Slot("gpu", "1"), SimpleNamespace(id="task", name="celery.ping", task=None))
    assert told == ([] if groups == {"worker"} else ["concurrency-slot-acquired"])


def test_nobody_is_called_for_a_place_that_comes_at_once(told: list[str]) -> None:
    later: list[Callable[[], Any]] = []
    places = SimpleNamespace(request=lambda on_place: on_place(), short=lambda: told.append("short"))
    hand = Hand(places, lambda: told.append("came"))
    hand.request()
    assert (hand.free, told) == (1, [])

    places.request = later.append
    hand.request()
    assert (hand.free, told) == (1, ["short"])
    later[0]()
    assert (hand.free, told) == (2, ["short", "came"])
