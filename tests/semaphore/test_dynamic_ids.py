"""The directory of ids that were made for calls, call by call, with a clock of the tests'."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from celery_concurrency_id.semaphore.semaphore import Beat, Known, Report, Semaphore
from semaphore.lua import scripts
from semaphore.peer import TroubledClient
from semaphore.server import PREFIX, Server

FAMILY, TTL = "t-{tenant}", 60
SECOND = 1_000_000


class Fleet:
    """One worker, and a producer."""

    def __init__(self, server: Server, name: str, families: list[str], limits: dict[str, int]) -> None:
        self.server, self.name = server, name
        self.call = Semaphore(TroubledClient(server), name)
        self.families, self.limits = families, limits
        self.join()

    def join(self) -> None:
        self.call.join("host", f"fleet-{self.name}", 15.0, [])
        self.call.serve(f"fleet-{self.name}", self.limits, self.families)
        self.call.adopt()

    def beat(self, after: float = 1.0, lengths: dict[str, int] | None = None, batch: int = 4, ttl: float = TTL) -> Beat:
        self.server.advance(int(after * SECOND))
        beat = self.call.beat(True, [], lengths or {}, batch, ttl)
        assert beat.status == "ok"
        return beat

    def publish(self, id: str, task: str = "task", limit: int = 1, family: str = FAMILY) -> None:
        self.call.announce(id, task, 0, family, limit)

    def run(self) -> list[str]:
        """Start and end whatever is granted; return the ids in order."""
        ran = []
        while True:
            self.server.advance(1)
            turn = self.call.turn(1, True, [])
            if not turn.grants:
                return ran
            (grant,) = turn.grants
            assert grant.family == FAMILY
            waiting = self.server.admin.zrange(f"{PREFIX}waiting:{grant.id}", 0, 0)
            task, _, retries = (waiting[0] if waiting else "unseen:0").partition(":")
            reports = [
                Report("start", grant.id, grant.token, task, int(retries)),
                Report("release", grant.id, grant.token),
            ]
            self.call.turn(0, False, reports)
            ran.append(grant.id)


@pytest.fixture
def server(redis_url: str) -> Iterator[Server]:
    with scripts():
        server = Server(redis_url)
        server.admin.script_flush()
        server.advance(3600 * SECOND)
        yield server


@pytest.fixture
def fleet(server: Server) -> Fleet:
    return Fleet(server, "one", [FAMILY], {"static": 1})


def keys(server: Server) -> set[str]:
    """What Redis holds of ids made for calls."""
    names = {key[len(PREFIX) :] for key in server.admin.scan_iter(f"{PREFIX}*")}
    return {name for name in names if ":t-" in name or name in ("dynamic", "lookups", "fresh")}


def test_an_id_that_nobody_has_heard_of_is_served_and_gets_its_limit_with_its_first_announcement(fleet: Fleet) -> None:
    for task in ("a", "b", "c"):
        fleet.publish("t-1", task, limit=2)

    grants = fleet.call.turn(3, True, []).grants

    assert [(grant.id, grant.family) for grant in grants] == [("t-1", FAMILY)] * 2


def test_a_changed_limit_holds_from_the_next_announcement(fleet: Fleet) -> None:
    for limit in (1, 3):
        fleet.publish("t-1", f"of {limit}", limit=limit)
        fleet.publish("t-1", f"again of {limit}", limit=limit)
    assert len(fleet.call.turn(9, True, []).grants) == 3


def test_a_changed_limit_holds_also_where_its_task_started_before_its_announcement_came(fleet: Fleet) -> None:
    for task in ("a", "b"):
        fleet.publish("t-1", task)
    (grant,) = fleet.call.turn(9, True, []).grants
    fleet.call.turn(0, False, [Report("start", "t-1", grant.token, "early")])

    fleet.publish("t-1", "early", limit=3)

    assert len(fleet.call.turn(9, True, []).grants) == 2


def test_ids_take_turns_however_many_tasks_of_one_wait(fleet: Fleet) -> None:
    for number in range(100):
        fleet.publish("t-many", f"{number}", limit=0)
    fleet.server.advance(SECOND)
    fleet.publish("t-one")

    assert fleet.run()[:3].index("t-one") <= 1


def test_only_fleets_that_serve_the_family_get_its_ids(server: Server, fleet: Fleet) -> None:
    other = Fleet(server, "other", ["u-{tenant}"], {})
    fleet.publish("t-1")
    assert other.run() == []
    assert fleet.run() == ["t-1"]


def test_a_family_that_is_served_anew_has_its_waiting_ids(server: Server, fleet: Fleet) -> None:
    fleet.call.leave()
    ids = {f"t-{number}" for number in range(700)}  # more than one chunk
    for id in ids:
        fleet.publish(id)
    assert fleet.call.turn(1, True, []).status == "lost"

    fleet.join()

    assert set(fleet.run()) == ids


def test_new_ids_are_looked_up_first_and_then_all_in_turn(fleet: Fleet) -> None:
    fleet.call.learn(Known(f"t-{number}", FAMILY, 1) for number in range(10))
    seen: list[str] = []
    for _ in range(4):
        lookups = fleet.beat(2.1).lookups
        assert len(lookups) <= 4, "a batch is never longer"
        seen += [id for id, _ in lookups]
    assert len(set(seen)) == 10, "each in its turn"

    fleet.call.learn([Known("t-new", FAMILY, 1)])
    assert fleet.beat(2.1).lookups[0] == ("t-new", FAMILY)


def test_an_id_is_looked_up_once_at_a_time(fleet: Fleet) -> None:
    fleet.call.learn([Known("t-1", FAMILY, 1)])
    assert fleet.beat(2.1).lookups == (("t-1", FAMILY),)


def test_a_task_is_found_whose_producer_died_between_its_publish_and_its_announcement(fleet: Fleet) -> None:
    fleet.call.learn([Known("t-1", FAMILY, 1)])
    assert fleet.run() == []

    assert ("t-1", FAMILY) in fleet.beat(2.1).lookups
    fleet.beat(lengths={"t-1": 1})

    assert fleet.run() == ["t-1"]


def test_what_another_fleet_serves_is_left_to_it_and_what_nobody_serves_blocks_nothing(
    server: Server, fleet: Fleet
) -> None:
    other = Fleet(server, "other", ["u-{tenant}"], {})
    for name, count in (("u", 6), ("x", 40)):
        fleet.call.learn(Known(f"{name}-{number:02}", f"{name}-{{tenant}}", 1) for number in range(count))
        server.advance(1)
    fleet.call.learn([Known("t-1", FAMILY, 1)])

    mine = [id for _ in range(8) for id, _ in fleet.beat(2.1).lookups]
    assert server.admin.zrange(f"{PREFIX}fresh", 0, -1) == [f"u-{number:02}" for number in range(6)]
    theirs = [id for _ in range(6) for id, _ in other.beat(2.1).lookups]

    assert set(mine) == {"t-1"}
    assert set(theirs) == {f"u-{number:02}" for number in range(6)}


def test_a_silent_id_is_offered_once_and_retired_without_a_trace(server: Server, fleet: Fleet) -> None:
    before = keys(server)
    fleet.publish("t-1")
    assert fleet.run() == ["t-1"]
    assert keys(server) > before
    assert fleet.beat(TTL - 5).silent == ()
    fleet.join()

    ((id, mark),) = fleet.beat(10).silent
    assert fleet.beat(2.1).silent == (), "not again at once"
    assert fleet.call.retire([(id, mark)]) == 1

    assert (id, keys(server)) == ("t-1", before)


def test_an_id_is_not_silent_while_anything_waits_runs_or_is_reserved(server: Server, fleet: Fleet) -> None:
    fleet.publish("t-waits")
    fleet.call.learn([Known("t-unseen", FAMILY, 1)])
    fleet.beat(lengths={"t-unseen": 1})
    fleet.publish("t-runs")
    server.admin.hset(f"{PREFIX}slots:t-runs", "1", "one|r|0|task")
    for _ in range(4):
        fleet.server.advance(TTL * SECOND)
        fleet.join()
        assert fleet.beat(2.1).silent == ()


@pytest.mark.parametrize("event", ["publish", "learn", "the queue is not gone"])
def test_an_id_that_is_used_while_it_is_retired_stays(fleet: Fleet, event: str) -> None:
    fleet.call.learn([Known("t-1", FAMILY, 1)])
    fleet.server.advance(TTL * SECOND)
    fleet.join()
    ((id, mark),) = fleet.beat(2.1).silent

    if event == "publish":
        fleet.publish("t-1")
    elif event == "learn":
        fleet.call.learn([Known("t-1", FAMILY, 1)])
    assert fleet.call.retire([(id, mark if event != "the queue is not gone" else "")]) == 0

    fleet.publish("t-1", "later")
    assert "t-1" in fleet.run()


def test_who_learns_an_id_that_is_being_retired_has_to_wait_until_that_is_over(server: Server, fleet: Fleet) -> None:
    def wait_ms() -> Any:
        return fleet.call._client.call("learn", "t-1", FAMILY, 1, "")

    assert wait_ms() == 0
    server.advance(TTL * SECOND)
    fleet.join()
    ((id, mark),) = fleet.beat(2.1).silent
    assert 2000 < wait_ms() <= 3000
    fleet.call.retire([(id, mark)])
    assert wait_ms() == 0, "the worker has said what became of the queue"

    server.advance(TTL * SECOND)
    fleet.join()
    assert fleet.beat(2.1).silent
    server.advance(3 * SECOND)
    assert wait_ms() == 0, "the worker died: it does nothing now"


def test_an_id_that_some_task_always_has_is_never_forgotten(server: Server, fleet: Fleet) -> None:
    fleet.publish("static", limit=9)
    assert "dynamic" not in keys(server)
    assert server.admin.hget(f"{PREFIX}id:static", "limit") == "1", "its workers tell the limit"

    fleet.publish("t-1")
    Fleet(server, "other", [], {"t-1": 5})
    assert "dynamic" not in keys(server)
    assert server.admin.hget(f"{PREFIX}id:t-1", "limit") == "5"


def test_what_a_dead_worker_held_keeps_its_id_known(server: Server, fleet: Fleet) -> None:
    fleet.publish("t-1")
    assert fleet.call.turn(1, True, []).grants
    survivor = Fleet(server, "survivor", [FAMILY], {})
    used = server.admin.zscore(f"{PREFIX}dynamic", "t-1")

    survivor.beat(20)  # nobody was heard for so long: forgiven
    survivor.beat(1)
    survivor.beat(1)

    assert server.admin.hlen(f"{PREFIX}slots:t-1") == 0, "its lease has ended"
    assert server.admin.zscore(f"{PREFIX}dynamic", "t-1") > used + 20 * SECOND
