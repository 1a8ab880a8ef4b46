"""Somebody deletes or plants keys in Redis under load: heartbeats find it and mend it, and nothing is lost."""

from __future__ import annotations

from typing import Any, Callable

import pytest
import redis

from harness.setup import Setup
from harness.waiting import wait

pytestmark = [pytest.mark.faults, pytest.mark.slow]

PREFIX = "concurrency:{celery}:"


class Accounts:
    """What Redis holds of one id, read in one step."""

    def __init__(self, client: redis.Redis, id: str) -> None:
        with client.pipeline() as pipe:
            pipe.hgetall(f"{PREFIX}slots:{id}").hgetall(f"{PREFIX}id:{id}").zrange(f"{PREFIX}workers", 0, -1)
            for key in held_keys(client):
                pipe.hgetall(key)
            slots, self.about, self.workers, *held = pipe.execute()
        self.slots = {token: record.split("|")[0] for token, record in slots.items()}
        self.fetching = sum("|f|" in record for record in slots.values())
        self.held = {token for each in held for token, its in each.items() if its == id}

    def agree(self) -> bool:
        return (
            self.slots.keys() == self.held
            and set(self.slots.values()) <= set(self.workers)
            and int(self.about.get("fetching", 0)) == self.fetching
            and self.about.get("limit") == "2"
        )


def held_keys(client: redis.Redis) -> list[str]:
    return [f"{PREFIX}held:{worker}" for worker in client.zrange(f"{PREFIX}workers", 0, -1)]


def worker_keys(client: redis.Redis) -> list[str]:
    return [f"{PREFIX}worker:{worker}" for worker in client.zrange(f"{PREFIX}workers", 0, -1)]


def plant(client: redis.Redis, worker: str) -> None:
    client.hset(f"{PREFIX}slots:two", "77", f"{worker}|r|1|task")


MEDDLING: dict[str, Callable[[redis.Redis], Any]] = {
    "slots of an id deleted": lambda client: client.delete(f"{PREFIX}slots:two"),
    "slots of all workers deleted": lambda client: client.delete(*held_keys(client)),
    "all workers deleted": lambda client: client.delete(*worker_keys(client)),
    "all leases deleted": lambda client: client.delete(f"{PREFIX}workers"),
    "an id deleted": lambda client: client.delete(f"{PREFIX}id:two"),
    "a slot of a living worker planted": lambda client: plant(client, client.zrange(f"{PREFIX}workers", 0, 0)[0]),
    "a slot of nobody planted": lambda client: plant(client, "ghost"),
    "all that waits forgotten": lambda client: client.delete(f"{PREFIX}waiting:two"),
}
#: What `celery inspect stats` counts when something like this was found. Tasks that were not announced are counted too,
#: but that a few are is nothing wrong: the safety poll may be faster than an announcement.
COUNTS = ("repairs", "resyncs", "leases_lost")
#: What the log says then; of tasks that nobody announced, only at level DEBUG.
LINES = ("were set right", "disagreed on the slots", "had no limit for some ids", "lease lapsed")


def found(setup: Setup, counts: tuple[str, ...] = COUNTS) -> int:
    """How much the workers say that they have found."""
    stats = setup.app.control.inspect(timeout=15, limit=len(setup.workers)).stats() or {}
    assert len(stats) == len(setup.workers)
    return sum(each["concurrency"][name] for each in stats.values() for name in counts)


def said(setup: Setup) -> int:
    return sum(node.logs().count(line) for node in setup.workers for line in LINES)


def is_beside_the_limit(setup: Setup, task: Any) -> bool:
    """Whether others took its slot before its worker could say that it was held, and the worker said so."""
    lines = [line for node in setup.workers for line in node.logs().splitlines() if task.id in line]
    return any("was lost with this worker's lease" in line for line in lines)


def at_rest(client: redis.Redis, slots: int) -> bool:
    accounts = Accounts(client, "two")
    return len(accounts.slots) == slots and accounts.agree()


@pytest.mark.timeout(600)
def test_meddling_with_the_keys_under_load_is_mended_counted_and_logged(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(broker="rabbitmq", workers=2, concurrency=2)
    client = setup.backend.container.client
    setup.wait_ended(setup.send_many("two", 20, seconds=0.05))
    assert (found(setup), said(setup)) == (0, 0), f"nobody has meddled yet; {setup.state()}"

    for meddling, meddle in MEDDLING.items():
        counts = ("unannounced",) if "waits" in meddling else COUNTS
        counted, logged, gate = found(setup, counts), said(setup), setup.gate()
        long = setup.send("two", gate=gate)
        setup.wait_running(1, "two")
        load = setup.send_many("two", 30, seconds=0.1)
        setup.wait_running(2, "two")

        meddle(client)

        wait(lambda: Accounts(client, "two").agree(), 10, lambda: f"{meddling}: {vars(Accounts(client, 'two'))}")  # noqa: B023
        setup.wait_ended(load, timeout=60)
        wait(
            lambda: at_rest(client, 0 if is_beside_the_limit(setup, long) else 1),  # noqa: B023
            10,
            lambda: f"{meddling}: {vars(Accounts(client, 'two'))}",  # noqa: B023
        )
        gate.open()
        setup.wait_ended([long])
        setup.assert_slots_are_free("two", 2)
        assert found(setup, counts) > counted, meddling
        if "waits" not in meddling:
            assert said(setup) > logged, meddling
    assert not setup.sweep.twice()
