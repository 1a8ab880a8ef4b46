"""Looking on for messages that were announced: bounded, ever more seldom, and not forgotten with the broker."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from celery_concurrency_id.worker import looks as module
from celery_concurrency_id.worker.looks import FIRST, GIVE_UP, LONGEST, WITH_SLOT, Looks
from celery_concurrency_id.worker.slot import Slot


class World:
    """A clock that the test moves, the timers of a loop, and a broker that counts the looks."""

    batch = 8

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[..., Any], tuple[Any, ...]]] = []
        self.looked: list[tuple[float, list[str]]] = []
        self.waiting: dict[str, int] = {}
        self.found: list[dict[str, int]] = []
        monkeypatch.setattr(module, "clock", lambda: lambda: self.now)
        self.looks = Looks(self, self.found.append)
        self.looks.attach(self)

    def call_later(self, delay: float, call: Callable[..., Any], *args: Any) -> None:
        self.timers.append((self.now + delay, call, args))

    def lengths(self, ids: list[str]) -> dict[str, int]:
        self.looked.append((self.now, ids))
        return {id: self.waiting.get(id, 0) for id in ids}

    def times(self, id: str) -> list[float]:
        return [when for when, ids in self.looked if id in ids]

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.timers and min(timer[0] for timer in self.timers) <= until:
            timer = min(self.timers, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = max(self.now, timer[0])
            timer[1](*timer[2])
        self.now = until


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_pauses_grow_and_looking_ends(world: World) -> None:
    world.looks.go_on("gpu")
    world.pass_time(10 * GIVE_UP)

    times = world.times("gpu")
    pauses = [round(later - earlier, 6) for earlier, later in zip(times, times[1:])]
    assert times[0] == pytest.approx(FIRST)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(LONGEST)
    assert GIVE_UP - LONGEST <= times[-1] <= GIVE_UP + LONGEST
    assert not world.timers, "nothing is left that costs anything"
    assert not world.found


def test_a_message_that_shows_is_told_of(world: World) -> None:
    world.looks.go_on("gpu")
    world.pass_time(1)
    world.waiting["gpu"] = 3
    world.pass_time(LONGEST)

    assert world.found[0] == {"gpu": 3}


def test_an_id_that_brings_slot_after_slot_is_looked_at_ever_more_seldom(world: World) -> None:
    """Its queue says that something is there, and no get finds it."""
    world.waiting["gpu"] = 1
    world.looks.go_on("gpu")
    for _ in range(1000):
        before = len(world.found)
        world.pass_time(0.1)
        if len(world.found) > before:
            world.looks.go_on("gpu")  # a slot was granted, and found nothing

    assert len(world.times("gpu")) <= 10 + 100 / LONGEST


def test_a_message_that_came_begins_the_pauses_anew(world: World) -> None:
    world.looks.go_on("gpu")
    world.pass_time(20)
    world.looks.fetched("gpu")
    world.looks.go_on("gpu")
    world.pass_time(FIRST)

    assert world.times("gpu")[-1] == pytest.approx(20 + FIRST)


def test_many_ids_are_looked_at_in_batches(world: World) -> None:
    ids = {f"id{number}" for number in range(200)}
    for id in ids:
        world.looks.go_on(id)
    world.pass_time(5)

    assert {id for _, looked in world.looked for id in looked} == ids
    assert max(len(looked) for _, looked in world.looked) <= World.batch
    moments = [when for when, _ in world.looked]
    assert min(later - earlier for earlier, later in zip(moments, moments[1:])) > 0.04


def test_there_is_an_end_to_how_many_ids_are_looked_at(world: World) -> None:
    for number in range(100_000):
        world.looks.go_on(f"id{number}")
    world.pass_time(10 * GIVE_UP)

    assert len({id for _, looked in world.looked for id in looked}) < 1000
    assert not world.timers


@pytest.mark.parametrize("timers_survive", [True, False])
def test_a_broker_that_was_lost_is_looked_at_again(world: World, timers_survive: bool) -> None:
    world.looks.go_on("gpu")
    world.looks.detach()
    if not timers_survive:
        world.timers.clear()
        world.pass_time(1)
        assert not world.looked

    world.looks.attach(world)
    world.pass_time(10)

    times = world.times("gpu")
    pauses = [round(later - earlier, 6) for earlier, later in zip(times, times[1:])]
    assert pauses == sorted(pauses)
    assert times
    assert all(ids for _, ids in world.looked), "one timer, not two"


def test_looks_with_a_slot_count_on_in_the_next_slot(world: World) -> None:
    first, second, third = Slot("gpu"), Slot("gpu"), Slot("gpu")
    pauses = []
    world.looks.granted(first)
    pauses += [world.looks.pause(first), world.looks.pause(first)]
    world.looks.given_back(first)  # there was no place for it
    world.looks.granted(second)
    while pauses[-1] is not None:
        pauses.append(world.looks.pause(second))

    assert pauses == [*WITH_SLOT, None]
    world.looks.granted(third)
    assert world.looks.pause(third) == WITH_SLOT[0]
