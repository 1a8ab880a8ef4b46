"""Fetching ahead: when, how many, and what becomes of them when their slots go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Callable

import pytest

from celery_concurrency_id.semaphore.semaphore import Report
from celery_concurrency_id.worker import ahead as module
from celery_concurrency_id.worker import gate as gate_module
from celery_concurrency_id.worker.ahead import HELD_AT_MOST, PLENTY, SHORT_TASK, VERY_SHORT_TASK, Ahead
from celery_concurrency_id.worker.counts import Counts
from celery_concurrency_id.worker.loop import BrokerLost
from celery_concurrency_id.worker.slot import Slot, State


class World:
    """A gate that holds some slots of one id, a broker with messages, Celery, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slots: int = 1, waiting: int = 1, enabled: bool = True) -> None:
        self.now, self.slots, self.waiting = 0.0, slots, waiting
        self.serving, self.counting = True, False
        self.gets: list[int] = []
        self.back: list[str] = []
        self.timers: list[tuple[float, Callable[..., Any]]] = []
        self.fetcher: Any = self
        monkeypatch.setattr(module, "clock", lambda: lambda: self.now)
        monkeypatch.setattr(module.state, "task_ready", lambda request: None)
        self.ahead = Ahead(self, self, self, enabled)

    def run(self, seconds: float = 0.01, keep: bool = True, ahead: bool = True) -> None:
        """Run a task in a slot; what is fetched ahead is fetched when the next one has started."""
        slot = Slot("gpu", "1", keep=keep, ahead=ahead)
        self.now += seconds
        self.ahead.took("gpu", seconds)
        self.ahead.pop("gpu")
        self.ahead.consider(slot)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [call for when, call in self.timers if when <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for call in due:
            call()

    @property
    def here(self) -> list[str]:
        return [request.message for request, _ in self.ahead._requests.get("gpu", ())]

    # The gate

    def claimable(self, id: str) -> int:
        return self.waiting

    def holding(self, id: str) -> int:
        return self.slots

    def fetch_ahead(self, id: str, most: int) -> list[Any]:
        self.gets.append(most)
        self.waiting -= most
        return [f"message {number}" for number in range(most)]

    # The fetcher, the hand-over and the loop

    def counts_deliveries(self, id: str) -> bool:
        return self.counting

    def put_back(self, id: str, message: str) -> None:
        self.back.append(message)

    def tell(self, *about: Any) -> None: ...

    def receive(self, stand_in: Slot, message: str) -> None:
        assert stand_in.state is State.AHEAD
        self.ahead.keep(SimpleNamespace(concurrency_slot=stand_in, message=message))

    def call_later(self, delay: float, call: Callable[..., Any]) -> None:
        self.timers.append((self.now + delay, call))


def test_one_is_fetched_for_each_slot_all_at_once_and_the_next_once_they_have_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, slots=3, waiting=10)
    world.run()
    assert world.here == ["message 0", "message 1", "message 2"]

    world.run()
    world.run()
    assert world.gets == [3], "some are still here"
    world.run()

    assert world.gets == [3, 3]


def test_of_tasks_that_are_not_very_short_one_is_fetched_at_each_start_until_there_is_one_for_each_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, slots=3, waiting=10)
    world.run(seconds=VERY_SHORT_TASK)
    assert world.gets == [1]

    for _ in range(5):
        world.ahead.consider(Slot("gpu", "1", keep=True, ahead=True))

    assert world.gets == [1, 1, 1]
    assert len(world.here) == 3


def test_no_more_are_fetched_than_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, slots=3, waiting=2)
    world.run()
    world.ahead.recall("gpu")
    world.run()

    assert world.gets == [2]


@pytest.mark.parametrize(
    ("world_has", "task"),
    [
        ({"enabled": False}, {}),
        ({"serving": False}, {}),
        ({"counting": True}, {}),
        ({}, {"seconds": SHORT_TASK}),
        ({}, {"ahead": False}),
        ({"waiting": PLENTY}, {"ahead": False, "keep": False}),
    ],
    ids=["turned off", "closing", "quorum queue", "long tasks", "others have room", "slot goes back"],
)
def test_nothing_is_fetched_ahead(
    monkeypatch: pytest.MonkeyPatch, world_has: dict[str, Any], task: dict[str, Any]
) -> None:
    world = World(monkeypatch, slots=2, waiting=PLENTY - 1, enabled=world_has.pop("enabled", True))
    for name, value in world_has.items():
        setattr(world, name, value)
    world.run(**task)
    assert not world.gets


def test_where_plenty_wait_it_does_not_matter_that_others_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, slots=2, waiting=PLENTY)
    world.run(ahead=False)
    assert world.gets == [2]


def test_what_no_slot_is_left_for_goes_back_the_last_first(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, slots=3, waiting=3)
    world.run()
    world.slots = 1

    world.ahead.trim("gpu")

    assert world.back == ["message 2", "message 1"], "each goes to the head of the queue"
    assert world.here == ["message 0"]


def test_what_is_not_started_soon_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, slots=2, waiting=2)
    world.run()
    world.pass_time(HELD_AT_MOST)

    assert world.back == ["message 1", "message 0"]
    world.waiting = 2
    world.ahead.consider(Slot("gpu", "1", keep=True, ahead=True))
    assert world.gets == [2], "such tasks are not short after all"


def test_a_slot_whose_messages_cannot_go_back_is_given_back_all_the_same() -> None:
    """The broker is lost in the middle of it: who forgets the slot and does not report it leaks it."""
    reports: list[Report] = []

    def lose(id: str) -> None:
        raise BrokerLost

    gate = object.__new__(gate_module.Gate)
    slot = Slot("gpu", "1")
    gate._slots, gate._closing, gate.fetcher = {"1": slot}, False, object()
    gate._counts = Counts()
    gate._counts.granted("gpu")
    gate._ahead = SimpleNamespace(trim=lose)  # type: ignore[assignment]
    gate._link = SimpleNamespace(report=lambda report, urgent: reports.append(report))
    gate._reserve = gate._demand = SimpleNamespace(size=0)  # type: ignore[assignment]

    with pytest.raises(BrokerLost):
        gate._forget(slot, Report("release", "gpu", "1"))

    assert reports == [Report("release", "gpu", "1")]
    assert not gate._slots and not gate.slots
