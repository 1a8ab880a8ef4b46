"""Tasks that need several slots at once, in histories made for them; the world checks each step against the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from celery_concurrency_id.semaphore.scripts import VERBS
from semaphore.lua import scripts, shipped
from semaphore.peer import Peer, Work
from semaphore.world import World


@pytest.fixture
def world(redis_url: str) -> Iterator[World]:
    with scripts():
        world = World(redis_url, lanes=True)
        yield world
        world.close()


def acquire(world: World, peer: Peer, want: int = 1) -> list[str]:
    """Acquire slots and start tasks in them; return the ids."""
    before = set(peer.held)
    world.turn(peer, want=want)
    for work in peer.open_slots():
        world.fetch(peer, work)
    world.turn(peer)
    return [work.id for token, work in sorted(peer.held.items()) if token not in before]


def running(peer: Peer, id: str) -> list[Work]:
    return [work for work in peer.running() if work.id == id]


def end(world: World, peer: Peer, id: str) -> None:
    """One task of an id ends; its slot goes back, or takes the next task if it may be kept."""
    world.end(peer, running(peer, id)[0])
    world.turn(peer)
    for work in peer.open_slots():
        world.fetch(peer, work)
    world.turn(peer)


def publish(world: World, *ids: str) -> None:
    for id in ids:
        world.publish(id)


def taken(world: World, id: str) -> int:
    return len(world.operator.holders(id, 0)[1])


def test_a_task_gets_every_slot_it_needs_or_none(world: World) -> None:
    peer, second = world.start("old"), world.start("old")
    publish(world, "b", "a+b", "a+b")
    assert acquire(world, peer) == ["b"]
    assert acquire(world, second) == [], "half of what it needs is free, and stays so"
    assert taken(world, "a") == 0
    publish(world, "a", "a")
    assert acquire(world, second, 3) == ["a", "a"], "what does not fit lets others pass"
    end(world, second, "a")
    end(world, peer, "b")
    assert acquire(world, peer, 3) == ["a+b"]
    assert (taken(world, "a"), taken(world, "b")) == (2, 1)
    end(world, peer, "a+b")
    assert (taken(world, "a"), taken(world, "b")) == (1, 0)
    assert acquire(world, second) == ["a+b"]
    world.look()


def test_a_wide_task_has_its_turn_though_narrow_ones_keep_coming(world: World) -> None:
    peer = world.start("old")
    publish(world, *["a"] * 20)
    assert acquire(world, peer, 2) == ["a", "a"]
    publish(world, "a:2")
    passed = 0
    while not running(peer, "a:2"):
        end(world, peer, "a")
        acquire(world, peer)
        passed += 1
        assert passed < 14
    assert passed >= 4, "before that, the slots did not stand idle"
    assert taken(world, "a") == 1, "one task, with both slots"
    end(world, peer, "a:2")
    assert acquire(world, peer, 2) == ["a", "a"]


def make_hungry(world: World, peer: Peer) -> None:
    """One narrow task runs, more wait, and a slot is left free for a wide one."""
    publish(world, *["a"] * 20)
    acquire(world, peer, 2)
    publish(world, "a:2")
    for _ in range(12):
        if len(running(peer, "a")) == 1:
            break
        end(world, peer, "a")
        acquire(world, peer)
    assert world.model.hungry == {"a:2"}
    assert len(running(peer, "a")) == 1


@pytest.mark.parametrize("event", ["lower", "pause", "pause the lane", "purge", "nobody left", "nobody free"])
def test_slots_are_left_free_only_for_what_can_start(world: World, event: str) -> None:
    peer, other = world.start("old"), world.start("other")
    make_hungry(world, peer)
    if event == "lower":
        world.limit("a", 1)
        world.limit("a", 2, milliseconds=0)
        world.limit("a", 1)
    elif event == "pause":
        world.pause("a", True)
        world.pause("a", False)
    elif event == "pause the lane":
        world.pause("a:2", True)
    elif event == "purge":
        world.turn(peer)
        before = world.operator.overview(["a:2"]).time
        world.tick()
        world.operator.forget("a:2", before)
        world.queues["a:2"].clear()
        world.model.ids["a:2"].waiting.clear()
        world.model._refresh(())
        world.advance(1)
    elif event == "nobody left":
        world.leave(peer)
    else:
        end(world, peer, "a")
        for _ in range(3):
            world.advance(900)
            world.beat(other)

    assert not world.model.hungry
    if event != "lower":
        assert acquire(world, other if event == "nobody left" else peer), "others may have them again"


def test_a_task_that_finds_now_one_limit_full_and_now_the_other_has_its_turn(world: World) -> None:
    peer = world.start("old")
    publish(world, "a", "a", "b", "a+b", *["a", "b"] * 9)
    acquire(world, peer, 3)
    for turn in range(12):
        end(world, peer, "a" if turn % 2 and running(peer, "a") else "b" if running(peer, "b") else "a")
        acquire(world, peer, 2)
        if running(peer, "a+b"):
            return
    raise AssertionError("it was passed over for ever")


def test_of_two_that_leave_nothing_to_each_other_the_older_goes_first(world: World) -> None:
    first, second = world.start("old"), world.start("other")
    publish(world, *["a"] * 9, *["b"] * 9, *["c"] * 9)
    acquire(world, first, 3)
    acquire(world, second, 3)
    publish(world, "a:2", "b+c:2", "a+b")
    for _ in range(14):
        for peer in (first, second):
            for work in list(peer.running()):
                end(world, peer, work.id)
                acquire(world, peer)
            acquire(world, peer, 2)
    ran = {id for id in ("a:2", "b+c:2", "a+b") if not world.queues[id]}
    assert ran == {"a:2", "b+c:2", "a+b"}


def test_keys_take_turns_under_a_total(world: World) -> None:
    peer = world.start("old")
    publish(world, *["k1"] * 4, *["k2"] * 2)
    order = acquire(world, peer, 4)
    assert sorted(order) == ["k1", "k2"], "of each one at a time, and both slots are in use"
    publish(world, "a")
    for _ in range(4):
        for work in list(peer.running()):
            end(world, peer, work.id)
        order += acquire(world, peer, 4)
    assert sorted(order) == sorted(["k1"] * 4 + ["k2"] * 2 + ["a"])
    assert order.index("a") < 5


def test_a_slot_is_not_kept_while_others_wait_for_one(world: World) -> None:
    peer = world.start("old")
    publish(world, *["b"] * 6)
    assert acquire(world, peer) == ["b"]
    (work,) = peer.running()
    assert work.keep, "nobody else waits"
    publish(world, "a+b")
    world.turn(peer)
    end(world, peer, "b")
    assert running(peer, "b"), "it was told that it may keep its slot before the other came"
    end(world, peer, "b")
    assert not running(peer, "b")
    assert acquire(world, peer) == ["b"], "it has waited for longer"
    end(world, peer, "b")
    assert acquire(world, peer) == ["a+b"]
    assert not running(peer, "a+b")[0].keep, "two limits are given back at once"


@pytest.mark.parametrize("death", ["leave", "silence", "by hand", "by hand, by its limit"])
def test_every_slot_comes_back(world: World, death: str) -> None:
    peer, other = world.start("old"), world.start("old")
    publish(world, "a+b", "a:2")
    assert acquire(world, peer) == ["a+b"]
    (work,) = peer.running()
    if death == "leave":
        world.leave(peer)
    elif death == "silence":
        world.silence(peer, 16, beating=True)
    elif death == "by hand":
        world.free_by_hand(peer, work)
    else:
        assert world.operator.release("b", work.token) is not None
        assert world.model.free_by_hand("a+b", work.token) is not None
        world._doubtful.add(work.token)
        world._freed_by_hand.add(work.token)
        world.advance(1)
    assert taken(world, "b") == 0
    got = acquire(world, other)
    assert got, "what it had is free"
    assert got[0] in ("a:2", "a+b")


@pytest.mark.parametrize("event", ["flush", "restart", "restart empty"])
def test_a_redis_without_its_data_learns_of_every_slot(world: World, event: str) -> None:
    peer, other = world.start("old"), world.start("old")
    publish(world, "a+b", "b", "a", "a")
    assert "a+b" in acquire(world, peer)
    if event == "flush":
        world.flush()
    else:
        world.restart(keeps_data=event == "restart")
        world.listen(peer)
        world.listen(other)
    for each in (other, peer):
        world.join(each)
    for id in ("b", "a", "a"):
        world.announce(id, "again", 0)
    world.advance(2100)
    assert (taken(world, "a"), taken(world, "b")) == (1, 1)
    assert acquire(world, other, 3) == ["a"], "one slot is left of two"


def test_a_worker_that_comes_back_loses_what_others_have_of_it(world: World) -> None:
    frozen, other = world.start("old"), world.start("old")
    publish(world, "a+b", "b")
    assert acquire(world, frozen) == ["a+b"]
    world.silence(frozen, 16, beating=True)
    assert "b" in acquire(world, other, 2)

    world.join(frozen)

    assert not frozen.held, "one of its two limits is full"
    assert taken(world, "a") == len(running(other, "a+b"))


def test_a_second_fleet_with_other_weights_stands_in_line_too(world: World) -> None:
    first, second = world.start("old"), world.start("new")
    publish(world, "c", "c")
    assert acquire(world, second, 2) == ["c", "c"]
    third = world.start("other")
    publish(world, "b+c:2", "c")
    assert acquire(world, third) == []
    end(world, second, "c")
    end(world, second, "c")
    assert acquire(world, third, 2) in (["b+c:2"], ["c"])
    world.leave(third)
    assert acquire(world, second) == ["c"] or not world.queues["c"]
    assert acquire(world, first) == []


def test_a_fleet_that_is_gone_leaves_nothing_free_for_what_it_alone_served(world: World) -> None:
    idle, busy = world.start("old"), world.start("other")
    make_hungry(world, busy)

    world.leave(idle)

    assert not world.model.hungry
    assert acquire(world, busy) == ["a"]


def test_what_waited_before_any_worker_came_stands_in_line(world: World) -> None:
    publish(world, "a", "a:2", "a")
    peer = world.start("old")
    assert acquire(world, peer, 3) in (["a", "a"], ["a:2"])


#: In which history a bug shows, where not in one of the first two.
FOUND_BY: dict[str, Callable[[World], None]] = {
    "older ones leave it something, too": test_of_two_that_leave_nothing_to_each_other_the_older_goes_first,
    "hungry though it cannot start": partial(test_slots_are_left_free_only_for_what_can_start, event="lower"),
    "hungry though nobody takes it": partial(test_slots_are_left_free_only_for_what_can_start, event="nobody free"),
    "its own id stands in no line": test_what_waited_before_any_worker_came_stands_in_line,
    "a fleet leaves its lines": partial(test_slots_are_left_free_only_for_what_can_start, event="nobody left"),
    "a fleet leaves the hungry": test_a_fleet_that_is_gone_leaves_nothing_free_for_what_it_alone_served,
    "join takes one slot": partial(test_a_redis_without_its_data_learns_of_every_slot, event="flush"),
    "join looks at one limit": test_a_worker_that_comes_back_loses_what_others_have_of_it,
    "join forgets that there are more": partial(test_a_redis_without_its_data_learns_of_every_slot, event="flush"),
    "a release by its limit finds nothing": partial(test_every_slot_comes_back, death="by hand, by its limit"),
}
FIRST_TWO = (
    test_a_task_gets_every_slot_it_needs_or_none,
    test_a_wide_task_has_its_turn_though_narrow_ones_keep_coming,
)

#: What is planted, and the bug it makes.
BUGS = {
    "takes what it can get": ("if available(lacking, lane, tonumber(since)) < tonumber(count) then", "if false then"),
    "takes one slot for all": ("for number = 1, tonumber(weight) do", "for number = 1, 1 do"),
    "takes no slot of others": ("if others then lanes().take_units(worker, id, token, others) end", ""),
    "frees the slots of one limit": (
        "  if in_lane(record) then lanes().free_units(id, token) end\n  return record",
        "  return record",
    ),
    "frees slots and tells nobody": ("    stale[limit] = true\n", ""),
    "forgets what was taken": ("  redis.call('HDEL', took, token)\n", ""),
    "nobody is ever hungry": (
        "if redis.call('HINCRBY', P .. 'id:' .. lane, 'passed', 1) >= PATIENCE then",
        "if false then",
    ),
    "hungry at once": (">= PATIENCE then", ">= 1 then"),
    "hungry, and nothing is left for it": ("return older and free - weight or free", "return free"),
    "older ones leave it something, too": ("return older and free - weight or free", "return free - weight"),
    "hungry for ever": (
        "  if redis.call('ZREM', P .. 'hungry', lane) == 0 then return end\n",
        "  if true then return end\n",
    ),
    "hungry though it cannot start": ("if not since or not able or not served then", "if not since then"),
    "hungry though nobody takes it": ("then lanes().end_grace() end", "then end"),
    "narrow ones do not count": (
        "if first[1] and first[1] ~= lane and tonumber(first[2]) < since then",
        "if false then",
    ),
    "a near miss does not count": (
        "        line_up(lane, lacking, count, since)\n        pass_over(lane)",
        "        line_up(lane, lacking, count, since)",
    ),
    "who changes lines is young again": (
        "line_up(lane, lacking, count, since)",
        "line_up(lane, lacking, count, int(now))",
    ),
    "who was served stays first": ("'since', int(now + turn)", "'since', int(since)"),
    "all served in one turn are of one age": ("int(now + turn)", "int(now)"),
    "a line is ready whatever is free": (
        "if first[1] and available(limit, first[1], tonumber(first[2])) >= tonumber(weight) then",
        "if first[1] then",
    ),
    "a line is never ready": ("if first[1] and available(limit", "if false and available(limit"),
    "slots are kept though others wait": ("or (weights and lanes().contended(id, weights))", ""),
    "slots are kept in several limits": ("if others or (weights and", "if (weights and"),
    "its own id stands in no line": ("  if not weights then note_ready(limit) end\n", ""),
    "a fleet leaves its lines": ("    redis.call('DEL', line_of(fleet, limit, weight))\n", ""),
    "a fleet leaves the hungry": (
        "  for _, lane in ipairs(redis.call('ZRANGE', P .. 'hungry', 0, -1)) do reconsider(lane) end\nend",
        "end",
    ),
    "join takes one slot": ("      if needs ~= '' then lanes().take_units(worker, id, token, needs) end\n", ""),
    "join looks at one limit": ("if left and left < tonumber(weight) then free = 0 end", ""),
    "join forgets that there are more": ("needs ~= '' and 'R' or 'r'", "'r'"),
    "a start forgets that there are more": ("in_lane(record) and 'R' or 'r'", "'r'"),
    "a limit does not tell who has its slots": (
        "  if lane then\n    token = string.match",
        "  if false then\n    token = string.match",
    ),
    "a release by its limit finds nothing": ("token .. '.1') or ''", "token .. '.0') or ''"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug: str, redis_url: str) -> None:
    before, after = BUGS[bug]
    assert before in "\n".join(shipped(verb).source for verb in VERBS), f"the scripts changed; plant {bug!r} anew"
    with scripts({before: after}), pytest.raises((AssertionError, IndexError)):
        for history in [FOUND_BY[bug]] if bug in FOUND_BY else FIRST_TWO:
            world = World(redis_url, lanes=True)
            try:
                history(world)
            finally:
                world.close()
