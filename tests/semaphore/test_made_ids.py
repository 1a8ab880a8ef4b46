"""Ids that are made for calls: one history that meets everything that may become of one, and bugs that it must notice.

The random histories meet these things too, but seldom all that it takes at once.
"""

from __future__ import annotations

import pytest

from celery_concurrency_id.semaphore.scripts import VERBS
from celery_concurrency_id.semaphore.scripts import load as shipped
from semaphore.lua import scripts
from semaphore.peer import Peer
from semaphore.world_made import ID_TTL, MakingWorld

#: What is wrong: the shipped text, and what is put in its place.
BUGS = {
    # announce and learn
    "announce says nothing of the id": ("if family ~= '' then know(id, family, limit, needs) end", ""),
    "a new limit is not heard": ("if row[1] ~= family or row[2] ~= limit then", "if row[1] ~= family then"),
    "an early start hides a new limit": (
        "'PX', WHERE_MS) end\nend\nrefresh(id)",
        "'PX', WHERE_MS) end\nrefresh(id)\nend",
    ),
    "what some task always has is made": (
        "'serves:' .. fleet, id) == 1 then return end",
        "'serves:' .. fleet, id) == 1 then end",
    ),
    "use is not noted": ("  redis.call('ZADD', P .. 'dynamic', int(now), id)\nend", "end"),
    "nobody looks at new ids first": ("    redis.call('ZADD', P .. 'fresh', int(now), id)\n", ""),
    "nobody looks at ids": (
        "    redis.call('ZADD', P .. 'lookups', int(now), id)\n    redis.call('ZADD', P .. 'fresh'",
        "    redis.call('ZADD', P .. 'fresh'",
    ),
    "learn makes nothing ready": ("  refresh(ARGV[i])\n  retiring", "  retiring"),
    "learn wakes nobody": ("if recovery_ms() == 0 then wake() end\nreturn math.max", "return math.max"),
    "a queue that goes may be declared": ("return math.max(math.ceil((retiring - now) / 1000), 0)", "return 0"),
    # who serves them
    "a family serves nothing": ("return family and redis.call('SISMEMBER', names, family) == 1", "return false"),
    "a grant hides its family": ("seq, left, 0, family or '', others", "seq, left, 0, '', others"),
    "an id that is served keeps its family": (
        "if redis.call('HDEL', P .. 'id:' .. ARGV[i], 'family') == 1 then",
        "if false then",
    ),
    "an id that is served stays in the directory": (
        "'lookups', 'fresh'}) do redis.call('ZREM', P .. each, ARGV[i]) end",
        "'lookups', 'fresh'}) do end",
    ),
    "adopt finds nothing ready": ("for i = 1, #reply[2], 2 do refresh(reply[2][i]) end", ""),
    "adopt wakes nobody": ("if recovery_ms() == 0 then wake() end\nreturn reply[1]", "return reply[1]"),
    # the looks at queues
    "more looks than asked for": ("if #lookups >= most then return end", ""),
    "new ids are new for ever": ("      redis.call('ZREM', P .. 'fresh', id)\n", ""),
    "no id takes its turn": ("      redis.call('ZADD', P .. 'lookups', 'XX', int(now), id)\n", ""),
    "one looks at what others serve": ("if own and not looked[id] then", "if not looked[id] then"),
    "takes the turns of others": ("    if not others then\n", "    if true then\n"),
    "looked at twice": ("if own and not looked[id] then", "if own then"),
    # the end of an id
    "never silent": ("if cursor >= 0 and ttl_us > 0 and recovery_ms() == 0 then", "if false then"),
    "silent from the start": ("'-inf', int(now - ttl_us), 'LIMIT', 0, batch", "'-inf', int(now), 'LIMIT', 0, batch"),
    "more are silent than asked for": ("'-inf', int(now - ttl_us), 'LIMIT', 0, batch", "'-inf', int(now - ttl_us)"),
    "what runs is silent": (
        "'EXISTS', P .. 'slots:' .. id, P .. 'away:' .. id, P .. 'waiting:'",
        "'EXISTS', P .. 'waiting:'",
    ),
    "what waits is silent": ("P .. 'away:' .. id, P .. 'waiting:' .. id,", "P .. 'away:' .. id,"),
    "what is not due is silent": (", P .. 'reserved:' .. id)\n  return some", ")\n  return some"),
    "what nobody announced is silent": ("some > 0 or field(P .. 'id:' .. id, 'unseen') > 0 or", "some > 0 or"),
    "what is paused is silent": (" or redis.call('ZSCORE', P .. 'controlled', id) ~= false", ""),
    "what is busy has no new time": ("      redis.call('ZADD', P .. 'dynamic', int(now), id)\n    else", "    else"),
    "offered again at once": ("local mark = int(now - ttl_us + 30000000)", "local mark = int(now - ttl_us)"),
    "goes without a word": ("      redis.call('HSET', P .. 'id:' .. id, 'retiring', int(now + 3000000))\n", ""),
    "forgets what was used since": ("if score and score == mark and", "if score and"),
    "forgets what is busy": ("score == mark and not busy(id) then", "score == mark then"),
    "forgets half of it": (
        "for _, each in ipairs({'dynamic', 'lookups', 'fresh'}) do redis.call('ZREM', P .. each, id) end\n    for",
        "for",
    ),
    "keeps its limit": ("    redis.call('DEL', P .. 'id:' .. id, P .. 'took:' .. id)\n", ""),
    "goes for ever": ("    redis.call('HDEL', P .. 'id:' .. id, 'retiring')\n", ""),
    "what the dead held is silent": ("    redis.call('ZADD', P .. 'dynamic', 'XX', int(now), held[i + 1])\n", ""),
}


def run_all(world: MakingWorld, *peers: Peer) -> None:
    """Let workers run what they are granted, until nothing is left for them."""
    for peer in peers:
        while True:
            world.turn(peer, want=1)
            if not peer.open_slots():
                break
            for work in peer.open_slots():
                world.fetch(peer, work)
            world.turn(peer)
            for work in peer.running():
                world.end(peer, work, chain=False)


def pass_time(world: MakingWorld, seconds: int) -> None:
    """Nobody uses anything, and the workers beat."""
    for _ in range(0, seconds, 10):
        world.advance(10_000)
        for peer in world.alive():
            world.beat(peer)


def until_silent(world: MakingWorld, peer: Peer, *ids: str) -> None:
    """Until a worker is told that these ids are silent."""
    for _ in range(ID_TTL // 5 + 1):
        world.advance(5000)
        world.beat(peer)
        if peer.silent:
            break
    assert {id for id, _ in peer.silent} == set(ids)


def served_and_looked_at(world: MakingWorld) -> None:
    old, other = world.start("old"), world.start("other")
    assert world.told["t1"] == ("tenant", 1)
    for _ in range(3):
        world.make("t1", "now")
    world.turn(old, want=3)
    assert [work.id for work in old.held.values()] == ["t1"], "its limit came with it"
    world.turn(other, want=1)
    assert not other.held
    # Another release says more, with a task that starts before its announcement comes.
    world.told["t1"] = "tenant", 2
    (work,) = old.open_slots()
    world.make("t1", "late")
    world.queues["t1"].rotate(1)
    world.fetch(old, work)
    world.turn(old)
    world.announce(*world.late.pop())
    assert other.mail, "there is a slot"
    run_all(world, old, other)
    # Others learn of more, before they publish anything.
    for _ in range(3):
        world.make("t1", "now")
    world.turn(old, want=3)
    world.turn(other, want=1)
    assert (len(old.held), len(other.held)) == (2, 0)
    other.mail.clear()
    world.told["t1"] = "tenant", 3
    world.learn("t1")
    assert "invite" in other.mail
    run_all(world, old, other)
    world.make("u1", "now")
    run_all(world, old)
    assert world.queues["u1"], "it does not serve that"
    run_all(world, other)
    # A producer dies between its publish and its announcement.
    for id in ("t2", "u1", "t1"):
        world.make(id, "never")
    for _ in range(5):
        for peer in (old, other):
            world.advance(2100)
            world.beat(peer, look_up=True)
    run_all(world, old, other)
    assert not any(world.queues.values())


def adopted(world: MakingWorld) -> None:
    """Ids that nobody serves, until somebody does; one of them wakes who is idle."""
    old = world.start("old")
    for _ in range(2):
        world.make("u1", "now")
    world.told["c"] = "tenant", 1
    world.publish("c")  # no task that always has this id is known
    for _ in range(3):
        world.advance(2100)
        world.beat(old, look_up=True)
    other = world.start("other")
    del world.told["c"]
    assert "c" not in world.model.directory.used, "from now on it is known"
    world.told["c"] = "tenant", 2
    world.publish("c")
    del world.told["c"]
    run_all(world, old, other)
    assert not any(world.queues.values())
    # Its family comes back.
    world.leave(other)
    for _ in range(2):
        world.make("u1", "now")
    idle = world.start("other")
    run_all(world, idle)
    # And again: somebody is idle before those ids were adopted that wait.
    world.leave(idle)
    world.make("u1", "now")
    first = world.start("other", and_serve=False)
    world.serve(first, and_adopt=False)
    idle = world.start("other")
    world.turn(idle, want=1)
    assert not idle.held
    idle.mail.clear()
    world.adopt(first)
    assert "invite" in idle.mail
    run_all(world, idle)
    world.leave(first)
    # What waits is learnt of anew, by a worker that joins.
    world.make("t1", "now")
    run_all(world, old)
    for _ in range(2):
        world.make("t1", "never")
    world.flush()
    run_all(world, old, idle)
    world.advance(2100)
    for peer in (old, idle):
        world.beat(peer, look_up=True)
    world.settle()


def silent(world: MakingWorld) -> None:
    old = world.start("old")
    for id in ("t1", "t2"):
        world.make(id, "now")
    run_all(world, old)
    pass_time(world, ID_TTL - 10)
    assert not old.silent
    until_silent(world, old, "t1", "t2")
    world.make("t1", "now")
    world.make("t2", "now")
    assert len(world.delayed) == 2, "it has to wait"
    world.beat(old)
    world.delete_queues(old)
    world.beat(old)
    for id, announced in world.delayed:
        world.make(id, announced)
    run_all(world, old)
    assert not any(world.queues.values())
    # A few at a time; one that is paused meanwhile stays.
    world.start("other")
    for id in ("t1", "t2", "u1"):
        world.make(id, "now")
        run_all(world, *world.alive())
    until_silent(world, old, "t1", "t2")
    world.delete_queues(old)
    world.pause("t1", True)
    world.beat(old)
    assert set(world.model.directory.used) == {"t1", "u1"}
    world.pause("t1", False)
    until_silent(world, old, "u1")
    world.delete_queues(old)
    world.beat(old)
    world.leave(world.alive()[-1])
    for id in ("t1", "t2"):
        world.make(id, "now")
    run_all(world, old)
    # Both are done with, without a trace; a new one then outlives the worker that deletes its queue.
    until_silent(world, old, "t1", "t2")
    world.delete_queues(old)
    world.beat(old)
    assert not world.model.directory.used
    world.make("t1", "now")
    run_all(world, old)
    until_silent(world, old, "t1")
    world.delete_queues(old)
    world.kill(old)
    world.make("t1", "now")
    assert world.server.now - world.model.directory.used["t1"] < 10, "it is used"
    world.advance(3000)
    world.make("t1", "now")
    world.settle()


def not_silent(world: MakingWorld) -> None:
    """Whatever is about an id, it is not taken for silent."""
    old = world.start("old")
    for what in ("waits", "runs", "is not due", "nobody announced", "is paused", "was held by the dead"):
        id = "t1"
        victim = world.start("old")
        world.make(id, "never" if what == "nobody announced" else "now")
        if what == "nobody announced":
            world.advance(2100)
            world.beat(old)
            world.beat(old, look_up=True)
        elif what == "is paused":
            run_all(world, old)
            world.pause(id, True)
        elif what != "waits":
            world.turn(victim, want=1)
            (work,) = victim.open_slots()
            if what != "was held by the dead":
                world.fetch(victim, work, "park" if what == "is not due" else "")
            if what == "is not due":
                world.turn(victim)
                world.end(victim, work, chain=False)
            world.turn(victim)
        if what == "was held by the dead":
            pass_time(world, ID_TTL - 20)
            world.kill(victim)
        pass_time(world, ID_TTL + 10 if what != "was held by the dead" else 30)
        for peer in world.alive():
            assert not peer.silent, f"it {what}"
        if what == "is paused":
            world.pause(id, False)
        while world.parked:
            parked, task, retries = world.parked.pop()
            world.publish(parked, "now", task, retries)
        for peer in world.alive():
            for work in peer.running():
                world.end(peer, work, chain=False)
        run_all(world, *world.alive())
        if victim.alive:
            world.leave(victim)
    world.settle()


SCENARIOS = (served_and_looked_at, adopted, silent, not_silent)


def play(url: str) -> None:
    """Every step is checked against the model."""
    for scenario in SCENARIOS:
        world = MakingWorld(url)
        try:
            scenario(world)
        finally:
            world.close()


def test_ids_are_served_and_forgotten_as_the_model_says(redis_url: str) -> None:
    with scripts():
        play(redis_url)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug: str, redis_url: str) -> None:
    before, after = BUGS[bug]
    assert before in "\n".join(shipped(verb).source for verb in VERBS), f"the scripts changed; plant {bug!r} anew"
    with scripts({before: after}), pytest.raises(AssertionError):
        play(redis_url)
