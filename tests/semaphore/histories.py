"""Histories that chance seldom makes; the world checks each step against the model."""

from __future__ import annotations

from typing import Callable

from semaphore.world import World


def a_worker_joins_while_it_fetches(world: World) -> None:
    """It has begun a task, and had no time to say so."""
    worker = world.start("old")
    world.publish("a")
    world.turn(worker, want=1)
    world.fetch(worker, worker.open_slots()[0])
    world.join(worker)


def a_queue_is_found_empty_while_a_task_is_published(world: World) -> None:
    worker = world.start("old")
    world.publish("b", "early")
    world.turn(worker, want=1)
    world.fetch(worker, worker.open_slots()[0])  # the broker does not show the message yet
    world.publish("b")
    world.turn(worker)


def what_nobody_announced_is_gone_when_it_is_fetched(world: World) -> None:
    worker = world.start("old")
    world.publish("b", "never")
    world.beat(worker, look_up=True)
    world.queues["b"].clear()
    world.turn(worker, want=1)
    world.fetch(worker, worker.open_slots()[0])
    world.turn(worker)


def an_idle_worker_dies(world: World) -> None:
    """The only one of its fleet, and one of two."""
    first, second, alone = world.start("old"), world.start("old"), world.start("new")
    for worker in (first, second, alone):
        world.turn(worker, want=1)
    world.kill(first)
    world.kill(alone)
    for _ in range(2):
        world.advance(1000)
        world.beat(second)


def a_worker_leaves_while_another_waits_for_its_slot(world: World) -> None:
    first, second = world.start("old"), world.start("old")
    for _ in range(2):
        world.publish("a")
    world.turn(first, want=1)
    world.turn(second, want=1)
    world.leave(first)


def the_first_of_the_idle_cannot_be_reached(world: World) -> None:
    first, second = world.start("old"), world.start("old")
    for worker in (first, second):
        world.turn(worker, want=1)
    world.cut(first)
    world.publish("a")


def a_worker_is_silent_for_longer_than_its_lease(world: World) -> None:
    """The others beat, and end it; or they only report, and it finds out by itself."""
    first, second = world.start("old"), world.start("old")
    for beating in (True, False):
        world.publish("a")
        world.turn(first, want=1)
        (work,) = first.open_slots()
        world.fetch(first, work)
        world.turn(first)
        world.silence(first, 16, beating)
        world.publish("a")
        world.turn(second, want=1)
        world.turn(first)
        world.turn(first)  # it joins
        for worker in (first, second):
            for work in worker.open_slots():
                world.fetch(worker, work)
            for work in worker.running():
                world.end(worker, work, chain=False)
            world.turn(worker)


def an_empty_redis_has_only_just_started(world: World) -> None:
    worker = world.start("old")
    world.restart(keeps_data=False)
    world.join(worker)


def what_was_fetched_ahead_goes_back(world: World) -> None:
    worker = world.start("old")
    for _ in range(4):
        world.publish("a")
    world.turn(worker, want=1)
    (work,) = worker.open_slots()
    world.fetch(worker, work)
    world.turn(worker)
    world.fetch_ahead(worker, work)
    world.turn(worker)
    world.put_back(worker)
    assert worker.reports, "something was fetched ahead"
    world.turn(worker)


def the_slot_of_a_dead_worker_is_for_one_that_sleeps(world: World) -> None:
    first, idle, other = world.start("old"), world.start("old"), world.start("old")
    for _ in range(2):
        world.publish("a")
    world.turn(first, want=1)
    world.turn(idle, want=1)
    world.kill(first)
    for _ in range(2):
        world.advance(1000)
        world.turn(idle)
        world.beat(other)


def an_invitation_is_lost(world: World) -> None:
    worker = world.start("old")
    world.turn(worker, want=1)
    world.publish("a")
    world.read_mail(worker, lost=True)
    world.beat(worker)


def redis_forgets_what_a_worker_holds(world: World) -> None:
    worker = world.start("old")
    world.publish("a")
    world.turn(worker, want=1)
    world.fetch(worker, worker.open_slots()[0])
    world.turn(worker)
    world.flush()
    world.join(worker)
    world.advance(2100)
    world.beat(worker)


#: By the planted bug that each is there for.
SELDOM: dict[str, Callable[[World], None]] = {
    "join forgets that it was fetching": a_worker_joins_while_it_fetches,
    "drop without a look at the sequence": a_queue_is_found_empty_while_a_task_is_published,
    "drop forgets the unannounced": what_nobody_announced_is_gone_when_it_is_fetched,
    "expire leaves the dead idle": an_idle_worker_dies,
    "expire leaves a fleet of nobody": an_idle_worker_dies,
    "leave wakes nobody": a_worker_leaves_while_another_waits_for_its_slot,
    "wake stops at a dead mailbox": the_first_of_the_idle_cannot_be_reached,
    "acts on a lease that lapsed": a_worker_is_silent_for_longer_than_its_lease,
    "takes a lapsed lease for a new server": a_worker_is_silent_for_longer_than_its_lease,
    "join takes back what others have now": a_worker_is_silent_for_longer_than_its_lease,
    "no long tier": a_worker_is_silent_for_longer_than_its_lease,
    "no short tier": an_idle_worker_dies,
    "expire forgets to look who can go on": a_worker_leaves_while_another_waits_for_its_slot,
    "expire keeps the slots": a_worker_leaves_while_another_waits_for_its_slot,
    "back goes to the tail": what_was_fetched_ahead_goes_back,
    "back is no news": what_was_fetched_ahead_goes_back,
    "beat wakes nobody": the_slot_of_a_dead_worker_is_for_one_that_sleeps,
    "beat forgets a lost invitation": an_invitation_is_lost,
    "join loses what it holds": redis_forgets_what_a_worker_holds,
    "a new server waits for nobody": an_empty_redis_has_only_just_started,
}
