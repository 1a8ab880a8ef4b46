"""Gets that are under way: who gets what comes, and what happens when nothing comes."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, Callable

import pytest

from celery_concurrency_id.semaphore.semaphore import Report
from celery_concurrency_id.worker import gate as gate_module
from celery_concurrency_id.worker import gets as module
from celery_concurrency_id.worker.compat import GET_TIMEOUT
from celery_concurrency_id.worker.gets import Gets
from celery_concurrency_id.worker.loop import BrokerLost
from celery_concurrency_id.worker.slot import Slot, State


class World:
    """A loop, a gate and a broker that answers when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[..., Any], tuple[Any, ...]]] = []
        self.asked: list[tuple[str, Callable[[Any], Any]]] = []
        self.unread: list[Any] = []
        self.broken = False
        self.came: list[tuple[Any, Any]] = []
        monkeypatch.setattr(module, "clock", lambda: lambda: self.now)
        self.fetcher: Any = self
        self.gets = Gets(self, self)

    # The loop

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)

    def call_later(self, delay: float, call: Callable[..., Any], *args: Any) -> None:
        self.timers.append((self.now + delay, call, args))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, call, args in due:
            call(*args)

    # The gate

    def fetched(self, slot: Slot, message: Any) -> None:
        self.came.append((slot, message))

    def fetched_ahead(self, id: str, message: Any) -> None:
        self.came.append((id, message))

    # The fetcher

    def get_soon(self, id: str, on_message: Callable[[Any], Any]) -> None:
        if self.broken:
            raise BrokerLost
        self.asked.append((id, on_message))

    def settle(self, patience: float = GET_TIMEOUT) -> None:
        for message in self.unread:
            self.answer(message)
        self.unread.clear()
        if self.asked:
            raise BrokerLost

    def answer(self, message: Any) -> None:
        self.asked.pop(0)[1](message)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_the_slot_that_waited_longest_gets_what_comes_first(world: World) -> None:
    first, second = Slot("gpu"), Slot("gpu")
    world.gets.fetch(first)
    world.gets.fetch(second)
    assert first.state is second.state is State.FETCHING

    world.answer("a")
    world.answer(None)

    assert world.came == [(first, "a"), (second, None)]
    assert world.gets.under_way("gpu") == 0


def test_a_slot_takes_what_was_asked_for_to_be_fetched_ahead(world: World) -> None:
    slot, other = Slot("gpu"), Slot("cpu")
    world.gets.fetch_ahead("gpu")
    assert world.gets.ahead("gpu") == 1
    world.gets.fetch(slot)
    world.gets.fetch(other)
    assert [id for id, _ in world.asked] == ["gpu", "cpu"]
    assert world.gets.ahead("gpu") == 0

    world.answer("a")
    world.answer("b")

    assert world.came == [(slot, "a"), (other, "b")]


def test_what_comes_for_a_slot_that_is_gone_goes_to_the_next_or_to_none(world: World) -> None:
    gone, next_one = Slot("gpu"), Slot("gpu")
    world.gets.fetch(gone)
    world.gets.leave(gone)
    world.gets.fetch(next_one)
    assert len(world.asked) == 1
    world.answer("a")
    world.gets.fetch(gone)
    world.gets.leave(gone)
    world.answer("b")

    assert world.came == [(next_one, "a"), ("gpu", "b")]


def test_a_get_that_is_not_answered_is_noticed_though_nobody_waits_for_it(world: World) -> None:
    world.gets.fetch_ahead("gpu")
    world.pass_time(GET_TIMEOUT - 0.1)

    with pytest.raises(BrokerLost):
        world.pass_time(0.1)


def test_each_get_has_its_own_time(world: World) -> None:
    world.gets.fetch_ahead("gpu")
    world.pass_time(GET_TIMEOUT - 1)
    world.answer("a")
    world.gets.fetch_ahead("gpu")
    world.pass_time(1)
    world.pass_time(GET_TIMEOUT - 1.1)

    with pytest.raises(BrokerLost):
        world.pass_time(0.1)


def test_a_loop_that_was_busy_reads_what_has_come_before_it_gives_up(world: World) -> None:
    world.gets.fetch_ahead("gpu")
    world.unread.append("a")

    world.pass_time(10 * GET_TIMEOUT)

    assert world.came == [("gpu", "a")]
    assert not world.timers, "nothing is left to watch"


def test_with_the_broker_goes_what_was_asked_of_it(world: World) -> None:
    slot = Slot("gpu")
    world.gets.fetch(slot)
    world.gets.forget()
    world.fetcher = None
    world.answer("a")
    assert not world.came

    world.fetcher = world
    world.gets.fetch(slot)
    world.answer("b")

    assert world.came == [(slot, "b")]
    world.pass_time(10 * GET_TIMEOUT)
    assert not world.timers


def test_a_get_that_cannot_be_sent_leaves_no_trace(world: World) -> None:
    slot = Slot("gpu")
    world.broken = True
    with pytest.raises(BrokerLost):
        world.gets.fetch(slot)
    assert slot.state is State.OPEN
    world.broken = False
    world.gets.fetch(slot)
    world.answer("a")

    assert world.came == [(slot, "a")]
    world.pass_time(10 * GET_TIMEOUT)
    assert not world.timers


def test_a_slot_whose_messages_cannot_go_back_is_given_back_all_the_same() -> None:
    """The broker is lost in the middle of it: who forgets the slot and does not report it leaks it."""
    reports: list[Report] = []

    def lose() -> None:
        raise BrokerLost

    gate = object.__new__(gate_module.Gate)
    slot = Slot("gpu", "1")
    gate._slots, gate._closing, gate.fetcher = {"1": slot}, False, object()
    gate._holding, gate._claimable = Counter({"gpu": 1}), {}
    gate._gets = SimpleNamespace(ahead=lambda id: 1, settle=lose)  # type: ignore[assignment]
    gate._link = SimpleNamespace(report=reports.append)

    with pytest.raises(BrokerLost):
        gate._forget(slot, Report("release", "gpu", "1"))

    assert reports == [Report("release", "gpu", "1")]
    assert not gate._slots and not gate._holding
