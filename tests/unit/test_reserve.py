"""Slots beyond the places: asked for before the places are there, several at a time, and never kept for long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Callable

import pytest
from celery import Celery

from celery_concurrency_id.semaphore.semaphore import Grant, Report, Turn
from celery_concurrency_id.worker.gate import Gate
from celery_concurrency_id.worker.reserve import Reserve


class Places:
    """A pool; a place comes when the test says so."""

    blocks, lag = False, 0.0

    def __init__(self, size: int = 2) -> None:
        self.size = size
        self.requests: list[Callable[[], Any]] = []

    def soon(self) -> bool:
        return False

    def request(self, on_place: Callable[[], Any]) -> None:
        self.requests.append(on_place)

    def release(self) -> None: ...

    def short(self) -> None: ...

    def use(self, start: Callable[[], Any]) -> Any:
        return start()


def reserve(places: Any, seconds: float = 0.001, ready: int = 500, enabled: bool = True) -> Reserve:
    made = Reserve(places, enabled)
    for _ in range(100):
        made.took(seconds)
    made.heard(ready)
    return made


@pytest.mark.parametrize(
    "seconds, ready, size",
    [(0.001, 50, 2), (0.001, 49, 0), (0.04, 500, 2), (0.06, 500, 0)],
)
def test_as_many_slots_as_places_where_tasks_are_very_short_and_ids_many(seconds: float, ready: int, size: int) -> None:
    assert reserve(Places(), seconds, ready).size == size


def test_none_before_anything_is_known_after_a_long_task_where_the_pool_blocks_and_where_it_is_turned_off() -> None:
    fresh = Reserve(Places(), True)
    fresh.heard(500)
    assert fresh.size == 0
    spoilt = reserve(Places())
    spoilt.took(1.0)
    assert spoilt.size == 0
    assert reserve(SimpleNamespace(size=1, blocks=True)).size == 0
    assert reserve(Places(), enabled=False).size == 0


class World:
    """A gate with everything around it played by the test."""

    def __init__(self, ready: int, size: int = 2, window: int | None = None) -> None:
        self.now, self.ready = 0.0, ready
        self.calls: list[Callable[[], Any]] = []
        self.asked: list[int] = []
        self.reports: list[tuple[Report, bool]] = []
        self.timers: list[tuple[float, Callable[[], Any]]] = []
        self.places = Places(size)
        loop = SimpleNamespace(
            next_tick=self.calls.append,
            after_writes=lambda call, wake=False: self.calls.append(call),
            call_later=lambda delay, call: self.timers.append((self.now + delay, call)),
        )
        link = SimpleNamespace(
            joins=0,
            tell_lengths=None,
            given_back=lambda token: False,
            fresh=lambda: True,
            ask=self.asked.append,
            report=lambda report, urgent=False: self.reports.append((report, urgent)),
        )
        app = Celery("unit", set_as_current=False)
        self.gate = Gate(app, None, loop, self.places, link, None, True, Any, Any)
        self.gate._clock = lambda: self.now
        self.gate.fetcher = object()
        self.gate._reserve = self.gate._demand._reserve = reserve(self.places, ready=ready)
        self.gate._demand._window = window or size
        self.served: list[str] = []
        self.gate._serve = self._serve  # type: ignore[method-assign]
        self.gate.seek()
        self.settle()

    def settle(self) -> None:
        while self.calls:
            self.calls.pop(0)()

    def place_comes(self) -> None:
        self.places.requests.pop(0)()
        self.settle()

    def patience_ends(self) -> None:
        ((due, wake),) = self.timers
        assert due == Reserve.patience
        self.now = due
        wake()
        self.settle()

    def _serve(self, slot: Any) -> None:
        self.served.append(slot.id)
        self.gate._hand.use(lambda: True)

    def grant(self, *ids: str) -> None:
        grants = tuple(Grant(id, f"{number}", 1, 0, False, False) for number, id in enumerate(ids, 1))
        self.gate.turned(Turn("ok", (), grants, ready=self.ready), self.asked[-1])
        self.settle()

    def released(self) -> list[str]:
        return [report.id for report, _ in self.reports if report.kind == "release"]


@pytest.fixture
def many() -> World:
    return World(ready=500)


def test_slots_are_asked_for_before_their_places_come_and_wait_for_them(many: World) -> None:
    assert many.asked == [2] and many.places.requests
    many.grant("a", "b")
    assert many.served == [] and many.released() == []
    assert not many.gate.at_rest()

    many.place_comes()
    assert many.served == ["a"]
    assert many.asked == [2], "one of two is left: that is enough for now"
    many.place_comes()
    assert many.served == ["a", "b"]
    assert many.asked == [2, 2], "one call for several"


def test_a_place_that_comes_while_more_are_asked_for_is_used_for_a_slot_that_is_here() -> None:
    many = World(ready=500, size=4)
    many.grant("a", "b", "c", "d")
    for _ in range(3):
        many.place_comes()
    assert many.asked == [4, 3], "the answer is on its way"
    many.place_comes()
    assert many.served == ["a", "b", "c", "d"]


def test_each_slot_beyond_the_places_has_a_place_requested_for_it() -> None:
    many = World(ready=500, window=1)
    assert len(many.places.requests) == 1
    many.grant("a", "b")
    assert many.released() == []
    many.place_comes()
    many.place_comes()
    assert many.served == ["a", "b"]


def test_what_an_answer_says_of_ready_ids_counts_at_once(many: World) -> None:
    many.ready = 3
    many.grant("a", "b")
    assert many.released() == ["a", "b"]


def test_a_worker_that_awaits_an_answer_is_not_at_rest() -> None:
    few = World(ready=3, window=1)
    few.place_comes()
    assert few.asked == [1] and not few.places.requests
    few.gate._demand.seeking = False
    assert not few.gate.at_rest()
    few.grant()
    assert few.gate.at_rest()


def test_without_many_ids_a_slot_is_asked_for_when_a_place_is_there() -> None:
    few = World(ready=3)
    assert few.asked == []
    few.place_comes()
    assert few.asked == [1]


def test_a_large_pool_neither_holds_many_slots_in_reserve_nor_asks_for_very_many_at_once() -> None:
    assert reserve(Places(1000)).size == 16
    large = World(ready=3, size=1000)
    for _ in range(1000):
        large.places.requests.pop(0)()
    large.settle()
    assert large.asked == [100]
    large.ready = 0
    large.grant(*map(str, range(100)))
    assert len(large.served) == 100 and large.asked == [100, 100]


def test_a_slot_that_no_place_comes_for_is_given_back_soon(many: World) -> None:
    many.grant("a", "b")
    many.patience_ends()
    assert many.released() == ["a", "b"] and not many.gate.slots


def test_what_is_given_back_is_told_with_the_next_call_only_where_nobody_misses_it(many: World) -> None:
    many.grant("a", "b")
    many.patience_ends()
    assert [urgent for _, urgent in many.reports] == [False, False]
    few = World(ready=3)
    few.place_comes()
    few.grant("a", "b")
    assert few.served == ["a"] and few.released() == ["b"], "which had no place"
    assert [urgent for _, urgent in few.reports] == [True]


def test_a_slot_of_an_id_that_is_paused_meanwhile_is_given_back_at_once(many: World) -> None:
    many.gate._ahead.recall = lambda id: None  # type: ignore[method-assign]
    many.grant("a", "b")
    many.gate.recalled("a")
    assert many.released() == ["a"]
    many.place_comes()
    assert many.served == ["b"]
