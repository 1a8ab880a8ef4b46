"""Slots that are given back for a while: one history that comes by everything, and the bugs that it must notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from semaphore.lua import scripts
from semaphore.peer import NEVER_SENT, Peer, Work
from semaphore.test_mutants import everything
from semaphore.world import World

#: What is wrong: the shipped text, and what is put in its place.
MUTANTS = {
    "yield keeps the slot": ("redis.call('HDEL', key, token)\ntrial_end", "trial_end"),
    "yield wakes nobody": ("refresh(id)\nif recovery_ms() == 0 then wake() end\nreturn 1", "refresh(id)\nreturn 1"),
    "yield leaves the worker what it may keep": (
        "redis.call('PUBLISH', P .. 'mail:' .. worker, 'recall ' .. id)\nrefresh",
        "refresh",
    ),
    "who comes back goes before those that came earlier": ("and (before_all(id, first[2]) or not wanted(id)) do", "do"),
    "who comes back waits for tasks that nobody has room for": ("or not wanted(id)", ""),
    "who comes back needs no free slot": ("spare(id, first[2]) > 0 and (before", "(before"),
    "who comes back last goes first": (
        "local first = redis.call('ZRANGE', back, 0, 0, 'WITHSCORES')",
        "local first = redis.call('ZRANGE', back, -1, -1, 'WITHSCORES')",
    ),
    "who comes back waits for no recovery": ("recovery_ms() == 0 and spare", "spare"),
    "holders keep what others want back": ("or redis.call('EXISTS', P .. 'back:' .. id) == 1 then", "then"),
    "holders are not told who comes back": ("    elseif comes then\n      recall(id)\n", ""),
    "who may not wait waits": ("      redis.call('ZREM', back, token)\n    elseif", "    elseif"),
    "who comes back has an old fencing token": (
        "local fence = int(math.max(field(P .. 'meta', 'fence') + 1, now))",
        "local fence = int(now)",
    ),
    "the end of a task leaves it in the line": (
        "  if key == P .. 'away:' .. id then redis.call('ZREM', P .. 'back:' .. id, token) end\n",
        "",
    ),
    "join takes back what was given back": ("  if away then\n", "  if false then\n"),
    "beat misses what was given back": (
        "local record = find(held[i + 1], held[i])",
        "local record = redis.call('HGET', P .. 'slots:' .. held[i + 1], held[i])",
    ),
    "holders tells of nothing that is away": (
        "local given, away = redis.call('HGETALL', P .. 'away:' .. id), {}",
        "local given, away = {}, {}",
    ),
    "holders tells of none that wait for theirs again": (
        "local wants, before = redis.call('ZSCORE', P .. 'back:' .. id, token), 0",
        "local wants, before = nil, 0",
    ),
    "holders forgets those in the line before it": (
        "redis.call('ZRANK', P .. 'back:' .. id, token) + earlier(id, wants)",
        "earlier(id, wants)",
    ),
    "holders forgets those in the queue before it": (
        "redis.call('ZRANK', P .. 'back:' .. id, token) + earlier(id, wants)",
        "redis.call('ZRANK', P .. 'back:' .. id, token)",
    ),
    "holders counts what is on its way": ("'(' .. since) - on_the_way, 0)", "'(' .. since), 0)"),
    "locate finds nothing that is away": (
        "  for _, key in ipairs({'slots:', 'away:'}) do\n    local held",
        "  for _, key in ipairs({'slots:'}) do\n    local held",
    ),
    "start forgets where the slot is": (
        "redis.call('HSET', key, token, running(record, worker, task, name))\n    if key",
        "redis.call('HSET', P .. 'slots:' .. id, token, running(record, worker, task, name))\n    if key",
    ),
}


@pytest.fixture
def world(redis_url: str) -> Iterator[World]:
    world = World(redis_url)
    yield world
    world.close()


def started(world: World, peer: Peer, id: str = "a") -> Work:
    """Let a worker start the next task of an id."""
    before = set(peer.held)
    world.turn(peer, want=1)
    (work,) = (peer.held[token] for token in peer.held if token not in before)
    assert work.id == id
    world.fetch(peer, work)
    world.turn(peer)
    return work


def ended(world: World, peer: Peer, work: Work) -> None:
    world.read_mail(peer)
    world.end(peer, work)
    world.turn(peer)


def history(world: World) -> None:
    """Limits: a 1, b 2. Whatever happens here, the world compares it with the model."""
    one, two = world.start("old"), world.start("old")
    world.publish("a")
    mine = started(world, one)
    world.turn(two, want=1)  # it is idle now

    # Given back, it is another's at once; who waits for it may have it before those that came later.
    world.publish("a")
    world.give_back(one, mine)
    other = started(world, two)
    world.beat(one)
    world.take_again(one, mine, wait=False)
    world.publish("a")
    world.take_again(one, mine)
    assert mine.away and one.holder(mine).token in world.model.ids["a"].back
    assert world.model.ahead("a", mine.token) == 1
    world.publish("a")
    world.look()
    ended(world, two, other)
    assert "a" in world.model.ready[one.fleet], "one came earlier, and a worker may have room for it"
    other = started(world, two)
    ended(world, two, other)
    world.take_again(one, mine)
    assert not mine.away, "the other came later"

    # Where nobody has room for what came earlier, it does not wait for that.
    world.give_back(one, mine)
    other = started(world, two)
    world.publish("a")
    world.take_again(one, mine)
    ended(world, two, other)
    world.advance(400)
    world.take_again(one, mine)
    assert mine.away
    world.advance(200)
    world.take_again(one, mine)
    assert not mine.away

    # Its task ends while it is in the line, or elsewhere; two stand in it.
    world.give_back(one, mine)
    other = started(world, two)
    world.take_again(one, mine)
    world.end(one, mine)
    world.turn(one)
    assert not world.model.ids["a"].back
    for _ in range(4):
        world.publish("b")
    ended(world, two, other)
    first, second = started(world, one, "b"), started(world, one, "b")
    for work in (first, second):
        world.give_back(one, work)
    world.turn(two, want=1)
    (on_its_way,) = two.open_slots()
    world.take_again(one, second)
    assert second.away and world.model.ahead("b", second.token) == 1, "two wait in the queue, of which one has its slot"
    world.look()
    world.fetch(two, on_its_way)
    world.turn(two)
    started(world, two, "b")
    world.take_again(one, first)
    assert [world.model.ahead("b", work.token) for work in (second, first)] == [0, 1]
    world.look()
    ended(world, two, next(work for work in two.running() if work.id == "b"))
    assert first.away, "the second was there before"
    world.take_again(one, second)
    assert not second.away

    # Data are lost: what is away is not there for a recovery to be counted, and comes back after it.
    ended(world, two, two.running()[0])
    world.take_again(one, first)
    world.give_back(one, first)
    world.flush()
    world.join(one)
    world.take_again(one, first)
    assert world.model.recovery_ms and first.away
    world.join(two)
    world.take_again(one, first)
    assert not first.away

    # Redis is not told that it is given back, or is told before it hears of the start.
    world.give_back(one, first, NEVER_SENT)
    world.join(one)
    assert first.token in world.model.ids["b"].away
    world.turn(one)
    world.end(one, first)
    world.turn(one)
    world.publish("b")
    world.turn(one, want=1)
    early = one.open_slots()[0]
    world.fetch(one, early)
    world.give_back(one, early)
    world.turn(one)
    # Several grants in one step have newer tokens than the clock.
    for _ in range(2):
        world.publish("c")
        world.publish("unlimited")
    third = world.start("other")
    world.turn(third, want=3)
    world.take_again(one, early)
    world.settle()


def test_a_slot_that_is_given_back_for_a_while_is_everybodys_and_comes_back_in_turn(world: World) -> None:
    with scripts():
        history(world)


@pytest.fixture
def wide(redis_url: str) -> Iterator[World]:
    """Some tasks take several slots; limits: a 2, b 1."""
    world = World(redis_url, lanes=True)
    yield world
    world.close()


def refusal(world: World) -> None:
    peer = world.start("old")
    world.publish("a+b")
    work = started(world, peer, "a+b")
    world.give_back(peer, work)
    assert not work.away
    assert len(world.model.ids["a"].units) == 1
    world.settle()


def turns(world: World) -> None:
    """A slot of a limit that a wide task needs, too, comes back when it is not left free for that."""
    one, two = world.start("old"), world.start("old")
    world.publish("a")
    mine = started(world, one)
    world.give_back(one, mine)
    world.publish("a")
    first = started(world, two)
    world.publish("a:2")
    for _ in range(3):  # others go before it, until its patience is over
        world.publish("a")
        ended(world, one, started(world, one))
    assert world.model.hungry == {"a:2"}
    world.take_again(one, mine)
    assert mine.away, "what is free is left free for the one that waits longer"
    ended(world, two, first)
    wide = started(world, two, "a:2")
    world.take_again(one, mine)
    assert mine.away, "both are taken"
    ended(world, two, wide)
    world.take_again(one, mine)
    assert not mine.away
    world.settle()


#: The same of slots that are taken with others, and of limits that several ids share, each in the history that shows it.
WIDE_MUTANTS = {
    "several slots are given back": ("if in_lane(record) then return -1 end\n", "", refusal),
    "who comes back takes what is left free for another": (
        "  if weights and free and free > 0 then return lanes().available(id, id, tonumber(since)) end\n",
        "",
        turns,
    ),
}


@pytest.mark.parametrize("history", [refusal, turns])
def test_slots_of_several_limits_stay_and_a_shared_one_comes_back_in_turn(
    history: Callable[[World], None], wide: World
) -> None:
    with scripts():
        history(wide)


@pytest.mark.parametrize("bug", WIDE_MUTANTS)
def test_a_planted_bug_with_several_limits_is_noticed(bug: str, wide: World) -> None:
    before, after, shows = WIDE_MUTANTS[bug]
    assert before in everything(), f"the scripts changed; plant {bug!r} anew"
    with scripts({before: after}), pytest.raises(AssertionError):
        shows(wide)


@pytest.mark.parametrize("bug", MUTANTS)
def test_a_planted_bug_is_noticed(bug: str, world: World) -> None:
    before, after = MUTANTS[bug]
    assert before in everything(), f"the scripts changed; plant {bug!r} anew"
    with scripts({before: after}), pytest.raises(AssertionError):
        history(world)
