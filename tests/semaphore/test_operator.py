"""What an operator does, in histories that chance seldom makes; the world checks each step against the model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from semaphore.lua import scripts
from semaphore.peer import Peer, Work
from semaphore.world import World


@pytest.fixture
def world(redis_url: str) -> Iterator[World]:
    with scripts():
        world = World(redis_url)
        yield world
        world.close()


def run_one(world: World, peer: Peer, id: str) -> Work:
    """Publish a task, and let a worker run it."""
    world.publish(id)
    world.turn(peer, want=1)
    (work,) = peer.open_slots()
    world.fetch(peer, work)
    world.turn(peer)
    return work


def test_a_worker_that_lost_its_lease_while_its_id_is_paused_has_its_slot_back(world: World) -> None:
    frozen, other = world.start("other"), world.start("other")
    work = run_one(world, frozen, "c")
    world.pause("c", True)
    world.silence(frozen, 16, beating=True)
    assert not world.model.ids["c"].slots, "its lease is over"

    world.join(frozen)

    assert list(frozen.held) == [work.token]
    world.publish("c")
    world.turn(other, want=1)
    assert not other.held, "it is paused all the same"


def test_a_slot_freed_by_hand_wakes_who_is_idle(world: World) -> None:
    first, second = world.start("other"), world.start("other")
    work = run_one(world, first, "c")
    world.publish("c")
    world.turn(second, want=1)
    assert not second.held
    second.mail.clear()

    world.free_by_hand(first, work)

    assert "invite" in second.mail
    world.read_mail(first)
    assert not first.held, "its holder knows"
    world.beat(first)
    assert first.joined, "and agrees"


@pytest.mark.parametrize("event", ["raise", "resume", "expire", "unlimited"])
def test_what_lets_more_run_wakes_who_is_idle(world: World, event: str) -> None:
    first, second = world.start("other"), world.start("other")
    if event == "resume":
        world.pause("b", True)
    elif event == "expire":
        world.limit("b", 1, milliseconds=5000)
    else:
        world.limit("b", 1)
    if event != "resume":
        run_one(world, first, "b")
    world.publish("b")
    world.turn(second, want=1)
    assert not second.held
    second.mail.clear()

    if event == "resume":
        world.pause("b", False)
    elif event == "expire":
        for _ in range(5):
            world.advance(1000)
            world.beat(first)
            world.beat(second)
    else:
        world.limit("b", 3 if event == "raise" else 0)

    assert "invite" in second.mail
    world.turn(second, want=1)
    assert len(second.held) == 1


def test_holders_of_too_many_slots_are_told_and_others_are_not(world: World) -> None:
    first, second = world.start("other"), world.start("other")
    run_one(world, first, "b")
    run_one(world, first, "b")
    run_one(world, second, "c")
    for peer in (first, second):
        peer.mail.clear()

    world.limit("b", 2)
    assert not first.mail, "it holds no more than two"
    world.limit("b", 1)

    assert list(first.mail) == ["recall b"]
    assert not second.mail


def test_an_override_that_was_set_anew_ends_when_the_new_one_does(world: World) -> None:
    peer = world.start("other")
    world.limit("b", 1, milliseconds=1000)
    world.limit("b", 5)
    world.advance(2000)
    world.beat(peer)

    assert world.model.ids["b"].limit_now == 5  # the world has compared Redis with the model


def test_what_waits_is_found_by_its_task_and_forgotten_after_a_purge(world: World) -> None:
    world.start("other")
    world.pause("b", True)
    for _ in range(3):
        world.publish("b")
    world.publish("b", task="t2", retries=7)
    slots, places = world.operator.locate("t2", 10, ["c", "b"])
    assert not slots
    assert [(place.id, place.rank, place.retries) for place in places] == [("b", 1, 0), ("b", 3, 7)]
    before = world.operator.overview(["b"]).time
    world.tick()
    world.publish("b")

    assert world.operator.forget("b", before) == 4

    assert world.operator.overview(["b"]).rows[0].waiting == 1, "what came after the purge waits"
