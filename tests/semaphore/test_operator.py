"""What an operator does, in histories that chance seldom makes; the world checks each step against the model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from celery_concurrency_id.semaphore.scripts import VERBS
from semaphore.lua import scripts, shipped
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


def test_an_override_that_has_ended_counts_no_more_at_the_next_turn(world: World) -> None:
    """Not only at the next heartbeat, which looks through all ids."""
    first, second = world.start("other"), world.start("other")
    world.limit("b", 1, milliseconds=2000)
    run_one(world, first, "b")
    world.publish("b")
    world.turn(second, want=1)
    world.advance(1000)
    for peer in (first, second):
        world.beat(peer)
    assert not second.held
    world.advance(1001)

    world.turn(second, want=1)

    assert len(second.held) == 1


def test_a_slot_that_may_no_longer_be_held_is_not_kept(world: World) -> None:
    peer = world.start("other")
    works = [run_one(world, peer, "b") for _ in range(2)]
    for _ in range(3):
        world.publish("b")
    world.limit("b", 1)
    world.end(peer, works[0])
    assert len(peer.held) == 1
    world.turn(peer)
    world.pause("b", True)
    world.publish("b")
    world.turn(peer, want=1)
    world.end(peer, works[1])
    assert not peer.held
    world.turn(peer, want=1)
    assert not peer.held, "it is paused"
    world.pause("b", False)
    world.limit("b", None)
    world.turn(peer, want=1)
    assert len(peer.held) == 1


def test_leave_to_keep_a_slot_is_given_by_the_limit_of_now(world: World) -> None:
    """A worker reports a start after the change: the answer says whether it may keep the slot."""
    peer = world.start("other")
    for change in ("limit", "pause"):
        for _ in range(4):
            world.publish("b")
        world.turn(peer, want=2)
        for work in peer.open_slots():
            world.fetch(peer, work)
        world.limit("b", 1) if change == "limit" else world.pause("b", True)
        world.turn(peer)
        assert not any(work.keep for work in peer.held.values())
        for work in list(peer.held.values()):
            world.end(peer, work)
        world.turn(peer)
        world.limit("b", None)


SCENARIOS = (
    test_a_worker_that_lost_its_lease_while_its_id_is_paused_has_its_slot_back,
    test_a_slot_freed_by_hand_wakes_who_is_idle,
    *(
        partial(test_what_lets_more_run_wakes_who_is_idle, event=event)
        for event in ("raise", "resume", "expire", "unlimited")
    ),
    test_holders_of_too_many_slots_are_told_and_others_are_not,
    test_an_override_that_was_set_anew_ends_when_the_new_one_does,
    test_what_waits_is_found_by_its_task_and_forgotten_after_a_purge,
    test_an_override_that_has_ended_counts_no_more_at_the_next_turn,
    test_a_slot_that_may_no_longer_be_held_is_not_kept,
    test_leave_to_keep_a_slot_is_given_by_the_limit_of_now,
)

#: What is planted, and the bug it makes; random histories would take minutes to come across some of them.
BUGS = {
    "keeps a slot over the limit": ("if free == nil or free < 0 or", "if free == nil or"),
    "an override is not heeded": ("tonumber(row[2] or row[1] or nil), row[3]", "tonumber(row[1] or nil), row[3]"),
    "an override never ends": (
        "'-inf', int(now), 'LIMIT', 0, 50)\n  for _, id in ipairs(over)",
        "'-inf', 0)\n  for _, id in ipairs(over)",
    ),
    "an override that ends changes nothing": ("    note_control(id)\n    revise(id)\n", "    note_control(id)\n"),
    "a new override ends with the old one": (
        "'override', 'override_until', 'override_by'",
        "'override', 'override_by'",
    ),
    "a pause is not heeded": ("if free and paused then return -1, needs, weights, paused end", ""),
    "a pause lets slots be kept": (
        "if free and paused then return -1, needs",
        "if free and paused then return 0, needs",
    ),
    "nobody is told of a lower limit": ("  if free and free < 0 then recall(id) end\n", ""),
    "a change wakes nobody": ("revise(id)\nif recovery_ms() == 0 then wake() end", "revise(id)"),
    "a change makes nothing ready": (
        "recall(id) end\n  refresh(id)\nend\n\n-- Notes",
        "recall(id) end\nend\n\n-- Notes",
    ),
    "a release by hand wakes nobody": (
        "refresh(id)\nif recovery_ms() == 0 then wake() end\nreturn {1",
        "refresh(id)\nreturn {1",
    ),
    "a release by hand tells nobody": (
        "local told = redis.call('PUBLISH', P .. 'mail:' .. worker, 'released ' .. token)",
        "local told = 0",
    ),
    "a reset leaves a trace": ("    redis.call('ZREM', P .. 'controlled', id)\n", ""),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug: str, redis_url: str) -> None:
    before, after = BUGS[bug]
    assert before in "\n".join(shipped(verb).source for verb in VERBS), f"the scripts changed; plant {bug!r} anew"
    with scripts({before: after}), pytest.raises(AssertionError):
        for scenario in SCENARIOS:
            world = World(redis_url)
            try:
                scenario(world)
            finally:
                world.close()
