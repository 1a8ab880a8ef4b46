"""Whatever somebody does to the keys, heartbeats bring the accounts back to what the workers really hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

import pytest

from celery_concurrency_id.semaphore.semaphore import Report
from semaphore.lua import scripts
from semaphore.peer import Peer, Work
from semaphore.server import PREFIX, Server

LIMITS = {"a": 2, "b": 1}
BEAT_MS = 1100


class Pair:
    """Two workers, each with a task in a slot of ``a``, while more wait; they do what real workers do."""

    def __init__(self, redis_url: str) -> None:
        self.server = Server(redis_url)
        self.peers = [Peer(name, "fleet", LIMITS, self.server) for name in ("first", "second")]
        self.found = 0
        for peer in self.peers:
            peer.mailbox.open()
            self.join(peer)
        for peer in self.peers:
            for _ in range(3):
                peer.semaphore.announce("a", f"task-{peer.name}-{_}", 0)
            peer.semaphore.announce("b", f"task-{peer.name}", 0)
        self.server.admin.zrem(f"{PREFIX}ready:fleet", "b")
        for peer in self.peers:
            self.acquire(peer, 1)
            for work in peer.held.values():
                peer.begin(work, "start", f"task-{peer.name}-0", 0)
            peer.semaphore.turn(0, False, peer.reports)
            peer.reports.clear()

    def key(self, name: str) -> str:
        return PREFIX + name

    def join(self, peer: Peer) -> None:
        held = [(work.id, work.token, work.task, work.needs) for work in peer.held.values()]
        joined = peer.semaphore.join("host", peer.fleet, 15.0, held)
        for token in joined.lost:
            del peer.held[token]
        if joined.serve or not peer.served:
            peer.semaphore.serve(peer.fleet, peer.limits)
            peer.served = True
        peer.joined = True

    def acquire(self, peer: Peer, want: int) -> list[str]:
        turn = peer.semaphore.turn(want, False, [])
        assert turn.status == "ok"
        for grant in turn.grants:
            peer.held[grant.token] = Work(grant.id, grant.token, grant.seq, grant.keep, grant.claimable, grant.ahead)
        return [grant.id for grant in turn.grants]

    def beat(self, peer: Peer) -> None:
        for word in peer.mailbox.read():
            if word == "rejoin":
                peer.joined = False
        if not peer.joined:
            self.join(peer)
        beat = peer.semaphore.beat(True, peer.held, {})
        self.found += beat.repaired + beat.resync + beat.serve + (beat.status != "ok")
        if beat.serve:
            peer.semaphore.serve(peer.fleet, peer.limits)
        peer.joined = beat.status == "ok" and not beat.resync

    def beats(self, rounds: int) -> None:
        for _ in range(rounds):
            self.server.advance(BEAT_MS * 1000)
            for peer in self.peers:
                if peer.alive:
                    self.beat(peer)

    def check(self, count: int) -> None:
        """So many slots are held, both sides agree on them, and all slots can be used."""
        living = [peer for peer in self.peers if peer.alive]
        state = self.server.state()
        assert sum(len(peer.held) for peer in living) == count, "nobody lost a slot that nobody else took"
        slots = {token: peer.name for peer in living for token in peer.held}
        assert {token: worker for token, (worker, _, _) in state.get("slots:a", {}).items()} == slots
        for peer in self.peers:
            assert state.get(f"held:{peer.name}", {}).keys() == (peer.held.keys() if peer.alive else set())
        assert state["members:fleet"] == state["workers"].keys() == {peer.name for peer in living}
        assert state["fleets"] == {"fleet"} and state["serves:fleet"] == set(LIMITS)
        assert (state["id:a"]["limit"], state["id:b"]["limit"]) == (2, 1)
        assert "fetching" not in state["id:a"] and "fetching" not in state["id:b"]
        for peer in living:
            releases = [Report("release", work.id, work.token) for work in peer.held.values()]
            peer.semaphore.turn(0, False, releases)
        for id in ("a", "a", "b"):
            living[0].semaphore.announce(id, f"more-{id}-{self.server.now}", 0)
            self.server.advance(1)
        assert sorted(self.acquire(living[0], 9)) == ["a", "a", "b"], "every slot can be used"

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.server.admin.close()


def token_of(pair: Pair, number: int) -> str:
    return next(iter(pair.peers[number].held))


def plant(record: str, token: str = "77") -> Callable[[Pair], object]:
    return lambda pair: pair.server.admin.hset(pair.key("slots:a"), token, record)


def delete(*names: str) -> Callable[[Pair], object]:
    return lambda pair: pair.server.admin.delete(*(pair.key(name) for name in names))


def delete_and_kill(pair: Pair) -> None:
    """With its own list gone, the end of its lease frees nothing."""
    delete("held:first")(pair)
    pair.peers[0].mailbox.cut()
    pair.peers[0].close()


MEDDLING: dict[str, Callable[[Pair], object]] = {
    "slots of an id deleted": delete("slots:a"),
    "slots of a worker deleted": delete("held:first"),
    "slots of both workers deleted": delete("held:first", "held:second"),
    "a worker deleted": delete("worker:first"),
    "all leases deleted": delete("workers"),
    "an id deleted": delete("id:a"),
    "the ids of a fleet deleted": delete("serves:fleet"),
    "all fleets deleted": delete("fleets"),
    "the workers of a fleet deleted": delete("members:fleet"),
    "slots of an id, and of a worker, deleted": delete("slots:a", "held:first"),
    "a slot of a living worker planted": plant("first|r|1|task"),
    "a slot on its way to a task planted": plant("first|f|1|"),
    "a slot of nobody planted": plant("ghost|r|1|task"),
    "rubbish planted": plant("rubbish", "rubbish"),
    "a worker said to hold what it does not": lambda pair: pair.server.admin.hset(pair.key("held:first"), "77", "a"),
    "a worker said to hold another's slot": lambda pair: pair.server.admin.hset(
        pair.key("held:second"), token_of(pair, 0), "a"
    ),
    "fetching miscounted": lambda pair: pair.server.admin.hset(pair.key("id:a"), "fetching", 7),
    "slots of a worker deleted that then dies": delete_and_kill,
    "a worker deleted that then leaves": lambda pair: (
        delete("worker:first")(pair),
        pair.peers[0].semaphore.leave(),
        pair.peers[0].mailbox.cut(),
        pair.peers[0].close(),
    ),
}


@pytest.fixture
def pair(redis_url: str) -> Iterator[Pair]:
    with scripts():
        pair = Pair(redis_url)
        yield pair
        pair.close()


def heal(pair: Pair, meddling: str) -> None:
    MEDDLING[meddling](pair)
    pair.beats(3)
    if "leaves" not in meddling:  # that leaves nothing behind
        assert pair.found > 0
    pair.found = 0
    pair.beats(3)
    assert pair.found == 0, "it is over"
    pair.check(2 if all(peer.alive for peer in pair.peers) else 1)


@pytest.mark.parametrize("meddling", MEDDLING)
def test_heartbeats_mend_what_was_done_to_the_keys_and_tell(meddling: str, pair: Pair) -> None:
    pair.beats(2)
    assert pair.found == 0, "nobody has meddled yet"

    heal(pair, meddling)


def test_a_slot_that_another_worker_took_meanwhile_is_lost_and_both_sides_know_it(pair: Pair) -> None:
    first, second = pair.peers
    delete("slots:a")(pair)
    pair.server.admin.zadd(pair.key("ready:fleet"), {"a": 1})
    assert pair.acquire(second, 1) == ["a"]

    pair.beats(3)

    assert len(first.held) + len(second.held) == 2, "the limit holds again"
    state = pair.server.state()
    assert set(state["slots:a"]) == first.held.keys() | second.held.keys()
    for peer in pair.peers:
        assert state.get(f"held:{peer.name}", {}).keys() == peer.held.keys()


MUTANTS = {
    "frees nothing": ("        redis.call('HDEL', key, token)\n", ""),
    "takes everybody for alive": ("if not leased and", "if false and"),
    "takes those without a lease for dead": (
        "if not leased and redis.call('PUBLISH', P .. 'mail:' .. owner, 'rejoin') == 0 then",
        "if not leased then",
    ),
    "forgets to tell the worker": ("        redis.call('HSET', P .. 'held:' .. owner, token, id)\n", ""),
    "does not count": ("if fetching ~= field(P .. 'id:' .. id, 'fetching') then", "if false then"),
    "believes a worker's list": ("if record and slot_worker(record) == worker then", "if true then"),
    "join leaves a worker's list as it is": (
        "    redis.call('HSET', P .. 'held:' .. worker, token, id)\n    if slot_state",
        "    if slot_state",
    ),
    "a deleted worker loses its slots": (
        "if not row[1] or not row[2] then return 'lost' end",
        "if not row[1] or not row[2] then expire(worker) return 'lost' end",
    ),
    "misses no limit": ("if redis.call('HEXISTS', P .. 'id:' .. id, 'limit') == 0 then serve = 1 end", ""),
    "misses no ids": ("1 - redis.call('EXISTS', P .. 'serves:' .. fleet), 0\n", "0, 0\n"),
    "misses no fleet": (" + redis.call('SADD', P .. 'fleets', fleet)\n", "\n"),
    "misses no member": ("redis.call('SADD', P .. 'members:' .. fleet, worker) +", "0 +"),
    "frees what others hold": ("or slot_worker(record) ~= worker then return false", "then return false"),
    "looks only at the fleet that it knows": ("fleet and {fleet} or fleets()", "{fleet}"),
}


@pytest.mark.parametrize("bug", MUTANTS)
def test_a_planted_bug_is_noticed(bug: str, redis_url: str) -> None:
    noticed = []
    with scripts(dict([MUTANTS[bug]])):
        for meddling in MEDDLING:
            pair = Pair(redis_url)
            try:
                heal(pair, meddling)
            except Exception:  # a script that fails is noticed too
                noticed.append(meddling)
            finally:
                pair.close()
    assert noticed
