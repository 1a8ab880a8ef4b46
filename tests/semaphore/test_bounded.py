"""Places in bounded queues: one history that meets everything that may become of a place, and bugs that it must notice.

The random histories meet these things too, but seldom all that it takes at once.
"""

from __future__ import annotations

import pytest

from celery_concurrency_id.semaphore.scripts import VERBS
from celery_concurrency_id.semaphore.scripts import load as shipped
from semaphore.lua import scripts
from semaphore.world import World

#: What is wrong: the shipped text, and what is put in its place.
BUGS = {
    "one more than may wait": ("if size >= most then", "if size > most then"),
    "a place that nobody counts": (
        "local size = waiting + redis.call('ZCARD', reserved)",
        "local size = waiting",
    ),
    "the unannounced do not fill a queue": (
        "redis.call('ZCARD', P .. 'waiting:' .. id) + field(P .. 'id:' .. id, 'unseen')\nlocal size",
        "redis.call('ZCARD', P .. 'waiting:' .. id)\nlocal size",
    ),
    "the dead keep their places": ("redis.call('ZREMRANGEBYSCORE', reserved,", "redis.call('ZCOUNT', reserved,"),
    "asked twice, counted twice": ("redis.call('ZREM', reserved, member)\n\n", ""),
    "announced and still reserved": ("redis.call('ZREM', P .. 'reserved:' .. id, member)\nif", "if"),
    "cancel keeps the place": (
        "return redis.call('ZREM', P .. 'reserved:' .. id, task .. ':' .. retries)",
        "return 0",
    ),
    "what is being published is taken for unannounced": (
        "redis.call('ZCARD', P .. 'waiting:' .. id) + on_their_way(id)",
        "redis.call('ZCARD', P .. 'waiting:' .. id)",
    ),
    "what is not due has no place": (
        "redis.call('ZADD', reserved, int(now + left_us), task .. ':' .. number)",
        "redis.call('ZCARD', reserved)",
    ),
    "what is not due hides the unannounced": ("int(now - 5000000), int(now))", "int(now - 5000000), '+inf')"),
    "the dead hide their messages": ("int(now - 5000000)", "'-inf'"),
}


def history(url: str) -> None:
    """Every step is checked against the model, which counts anew each time."""
    world = World(url)
    try:
        worker = world.start("old")
        # Room for two: the second that is refused was asked for twice, since the first answer was lost.
        for twice in (False, True, False, True):
            world.reserve("a", 2, twice)
        assert len(world.reserved) == 2
        world.use_place(0, "late")
        world.beat(worker, look_up=True)  # it is in the queue, and not announced yet
        world.announce(*world.late.pop())
        world.cancel_place(0)
        world.reserve("a", 2)
        world.use_place(0, "early")
        world.reserve("a", 2)
        world.show()
        # One is not due, and waits all the same; the other starts.
        world.turn(worker, want=2)
        world.fetch(worker, worker.open_slots()[0], "park")
        world.turn(worker)
        world.reserve("a", 2)
        assert not world.reserved, "the one that is not due and the one that waits are two"
        world.publish("a", "never")
        world.beat(worker, look_up=True)  # found, although another one is kept elsewhere
        world.reserve("a", 3)
        assert not world.reserved, "what nobody announced fills a queue too"
        world.advance(3000)
        world.publish(*world.parked[0][:1], "now", *world.parked.pop()[1:])
        # A producer that died after its publish, and one that died before.
        for dies in ("after", "before"):
            world.reserve("c", 2)
            if dies == "after":
                world.use_place(0, "never")
        world.reserved.clear()
        other = world.start("other")
        world.beat(other, look_up=True)
        world.advance(5100)
        world.beat(worker)
        world.beat(other, look_up=True)
        assert world.model.ids["c"].unseen == 1, "found once its announcement is overdue"
        world.reserve("c", 2)
        assert not world.reserved
        world.advance(5000)
        world.reserve("c", 2)
        assert len(world.reserved) == 1, "the places of the dead have lapsed"
        world.settle()
    finally:
        world.close()


def test_places_are_kept_and_given_back_as_the_model_says(redis_url: str) -> None:
    with scripts():
        history(redis_url)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug: str, redis_url: str) -> None:
    before, after = BUGS[bug]
    assert before in "\n".join(shipped(verb).source for verb in VERBS), f"the scripts changed; plant {bug!r} anew"
    with scripts({before: after}), pytest.raises(AssertionError):
        history(redis_url)
