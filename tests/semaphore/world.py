"""Workers, producers, a broker, and the semaphore twice: in Redis and as the model. Every step is checked.

What is checked after each step:

* Redis holds exactly what the model says: slots, holders, waiting tasks, counts, ready ids, idle workers, leases;
* every mailbox got exactly what the model says;
* I1, from what the workers themselves know: no more slots of an id are held than its limit, unless that was lowered;
* where an id is ready and a worker idle, an invitation is on its way, or the next heartbeat will bring it.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from typing import Any, Callable

from celery_concurrency_id.exceptions import SemaphoreUnavailable
from celery_concurrency_id.semaphore.operator import OperatorVerbs
from celery_concurrency_id.semaphore.semaphore import SHORT_TIER, Beat, Known, Report
from celery_concurrency_id.semaphore.tasks import GONE, HELD
from semaphore.model import Heartbeat, Model, parts
from semaphore.peer import NEVER_SENT, REPLY_LOST, Peer, TroubledClient, Work
from semaphore.server import Server, expected

LEASE = 15.0
#: Two generations of one deployment, which differ on limits, and a second kind of worker.
FLEETS = {
    "old": {"a": 1, "b": 2},
    "new": {"a": 2, "b": 1},
    "other": {"b": 2, "c": 1, "unlimited": 0},
}
IDS = ("a", "b", "c", "unlimited")
#: Families of ids that are made for calls, by the fleets that serve them, and some such ids: their families.
FAMILIES = {"old": ("tenant",), "new": (), "other": ("tenant", "user")}
MADE = {"t1": "tenant", "t2": "tenant", "u1": "user"}
#: How many queues of such ids a worker looks at, or deletes, at a time.
BATCH = 2

#: The same with tasks that need several slots: of one limit, of two, and with a limit of their own beside a shared one.
LANE_FLEETS = {
    "old": {"a": 2, "b": 1, "a:2": 0, "a+b": 0, "k1": 1, "k2": 1},
    "new": {"a": 3, "b": 1, "a:2": 0, "k1": 1, "c": 2},
    "other": {"b": 1, "c": 2, "a": 2, "b+c:2": 0, "k2": 1},
}
NEEDS = {"a:2": "a 2", "a+b": "a 1 b 1", "b+c:2": "b 1 c 2", "k1": "a 1", "k2": "a 1"}
LANE_IDS = ("a", "b", "c", *NEEDS)


class World:
    """See the module's docstring. Every public method is one step."""

    def __init__(self, url: str, lanes: bool = False) -> None:
        self.fleets, self.needs = (LANE_FLEETS, NEEDS) if lanes else (FLEETS, {})
        self.ids = LANE_IDS if lanes else IDS
        self.server = Server(url)
        self.model = Model(self.server.now)
        self.producer = TroubledClient(self.server)
        self.operator = OperatorVerbs(TroubledClient(self.server))
        self._freed_by_hand: set[str] = set()  # what its holder may learn by a heartbeat only
        self._disowned: set[str] = set()  # what its holder has heard of
        self.queues: dict[str, deque[tuple[str, int]]] = {id: deque() for id in (*self.ids, *MADE)}
        self.told: dict[str, tuple[str, int]] = {}
        self.id_ttl = 0
        self.late: list[tuple[str, str, int]] = []
        self.unseen: list[tuple[str, str, int]] = []
        self.reserved: list[tuple[str, str]] = []
        self.parked: list[tuple[str, str, int]] = []
        self.peers: list[Peer] = []
        self._tasks = 0
        self._exceeded: set[str] = set()
        self._looked = False
        self._doubtful: set[str] = set()

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.producer.close()
        self.operator.close()
        self.server.admin.close()

    def alive(self) -> list[Peer]:
        return [peer for peer in self.peers if peer.alive]

    # Time, and what happens to the server

    def advance(self, milliseconds: int) -> None:
        self.tick(milliseconds * 1000)
        self._check()

    def silence(self, silent: Peer, seconds: int, beating: bool) -> None:
        """Nothing is heard of one worker, while the others beat, or are too busy for that and only report."""
        for _ in range(seconds):
            self.advance(1000)
            for peer in self.alive():
                if peer is not silent and beating:
                    self.beat(peer)
                elif peer is not silent:
                    self.turn(peer)

    def tick(self, microseconds: int = 1) -> None:
        """No two steps happen in the same microsecond."""
        self.server.advance(microseconds)
        self.model.now = self.server.now

    def flush(self) -> None:
        self._doubt_the_deaf()
        self.server.flush()
        self.model.forget()

    def restart(self, keeps_data: bool) -> None:
        """The server restarts: all connections break; mailboxes come back by a step of their own."""
        for peer in self.alive():
            self.cut(peer)
            peer.client.close()
            peer.tasks.close()
        self.producer.close()
        self.operator.close()
        self.server.restart(keeps_data)
        if not keeps_data:
            self.model.forget()

    def _doubt_the_deaf(self) -> None:
        """Data lost and a mailbox cut at the same moment: then nobody knows that this worker has to be waited for."""
        self._doubtful |= {token for peer in self.peers if not peer.mailbox.listening for token in peer.held}

    # Producers

    def publish(self, id: str, announced: str = "now", task: str = "", retries: int = 0) -> None:
        """Publish a task; ``announced`` at once, late, never, or early: before the broker shows the message."""
        if not task:
            self._tasks += 1
            task = f"t{self._tasks}"
        if announced == "early":
            self.unseen.append((id, task, retries))
        else:
            self.queues[id].append((task, retries))
        if announced in ("now", "early"):
            self.announce(id, task, retries)
        elif announced == "late":
            self.late.append((id, task, retries))

    def reserve(self, id: str, most: int, twice: bool = False) -> None:
        """Take a place in a bounded queue, if there is one, and again where the answer was lost; the publish is
        another step."""
        self._tasks += 1
        task = f"t{self._tasks}"
        for _ in range(1 + twice):
            self.tick()
            taken, size = self.producer.call("reserve", id, task, 0, most)
            said, wanted = (taken == 1, size), self.model.reserve(id, task, 0, most)
            assert said == wanted, f"reserve for {id!r}: (taken, size) is {said}, not {wanted}"
        if taken:
            self.reserved.append((id, task))
        self._check(called=True)

    def use_place(self, number: int, announced: str) -> None:
        """Publish what a place was taken for."""
        id, task = self.reserved.pop(number)
        self.publish(id, announced, task)

    def cancel_place(self, number: int) -> None:
        """The publish failed."""
        id, task = self.reserved.pop(number)
        self.tick()
        self.producer.call("cancel", id, task, 0)
        self.model.cancel(id, task, 0)
        self._check(called=True)

    def show(self) -> None:
        """The broker shows the messages that it has not shown yet."""
        for id, task, retries in self.unseen:
            self.queues[id].append((task, retries))
        self.unseen.clear()

    def announce(self, id: str, task: str, retries: int) -> None:
        self.tick()
        family, limit = self.told.get(id, ("", 0))
        kind = f" name{sum(task.encode()) % 3}"  # the same however often it is announced
        self.producer.call("announce", id, task, retries, family, limit, kind, "")
        self.model.announce(id, task, retries, family, limit)
        self._check(called=True, may_exceed=bool(family))  # the limit may have been lowered

    # An operator

    def limit(self, id: str, limit: int | None, milliseconds: int = 0) -> None:
        """Set a limit for a time, or (None) go back to the workers'."""
        self.tick()
        before = self.operator.limit(id, limit, milliseconds / 1000, "somebody", "why")
        assert before == self.model.set_limit(id, limit, milliseconds * 1000, "somebody", "why")
        self._check(called=True, may_exceed=True)

    def pause(self, id: str, pause: bool) -> None:
        self.tick()
        before = self.operator.pause(id, pause, "somebody", "why")
        assert before == self.model.set_pause(id, pause, "somebody", "why")
        self._check(called=True, may_exceed=True)

    def free_by_hand(self, peer: Peer, work: Work) -> None:
        """What runs in the slot goes on, beside the limit."""
        self.tick()
        if work.token not in self.model.ids[work.id].away:  # what is away takes no slot that could be freed
            self._doubtful.add(work.token)
            self._freed_by_hand.add(work.token)
        reply, wanted = self.operator.release(work.id, work.token), self.model.free_by_hand(work.id, work.token)
        assert (reply is None) == (wanted is None)
        if reply is not None and wanted is not None:
            (slot, told), (modelled, reached) = reply, wanted
            assert (slot.worker, slot.task, told) == (modelled.worker, modelled.task, reached)
        self._check(called=True)

    def look(self) -> None:
        """What an operator is told is what is so."""
        self.tick()
        self.model.look()
        self._looked = True  # it tries who listens
        overview = self.operator.overview(self.ids)
        for row in overview.rows:
            state = self.model.ids[row.id]
            taken = len(state.slots) + len(state.units)
            assert (row.limit, row.running, row.waiting) == (state.limit, taken, len(state.waiting))
            assert (row.unseen, row.announced) == (state.unseen, state.seq)
            assert ("paused" in row.fields) == bool(state.pause)
            assert row.fields.get("override") == (str(state.override["override"]) if state.override else None)
            _, slots, head, away = self.operator.holders(row.id, 3)
            assert {(slot.token, slot.worker, slot.task, slot.lane, slot.units) for slot in slots} == {
                (token, slot.worker, slot.task, lane.name, units)
                for lane in self.model.ids.values()
                for token, slot in lane.slots.items()
                for units in [1 if lane is state else dict(parts(slot.needs)).get(row.id)]
                if units
            }
            assert {(each.slot.token, each.slot.worker, each.slot.task, each.wants, each.ahead) for each in away} == {
                (token, slot.worker, slot.task, back and back / 1e6, self.model.ahead(row.id, token))
                for token, slot in state.away.items()
                for back in [state.back.get(token)]
            }
            for each in away:
                assert (row.id, each.slot.token) in self.operator.locate(each.slot.task, 3, self.ids)[0]
            line = sorted(state.waiting, key=state.waiting.__getitem__)
            assert [f"{place.task}:{place.retries}" for place in head] == line[:3]
            for rank, member in enumerate(line):
                task, _, retries = member.rpartition(":")
                _, places = self.operator.locate(task, 3, self.ids)
                assert (row.id, rank, int(retries)) in [(place.id, place.rank, place.retries) for place in places]
        self._check(called=True)

    # A worker's life

    def start(self, fleet: str, and_serve: bool = True) -> Peer:
        limits, families = self.fleets[fleet], () if self.needs else FAMILIES[fleet]
        needs = {id: self.needs[id] for id in limits if id in self.needs}
        peer = Peer(f"w{len(self.peers)}", fleet, limits, self.server, families, needs)
        self.peers.append(peer)
        self.listen(peer)
        self.join(peer, and_serve=and_serve)
        return peer

    def listen(self, peer: Peer) -> None:
        if not peer.mailbox.listening:
            peer.mailbox.open()
            self.model.listening.add(peer.name)

    def cut(self, peer: Peer) -> None:
        peer.mailbox.cut()
        self.model.listening.discard(peer.name)

    def kill(self, peer: Peer) -> None:
        """The broker gets back what the worker had not acknowledged; the semaphore has to notice by itself."""
        self.cut(peer)
        self._requeue(peer)
        peer.close()

    def leave(self, peer: Peer) -> None:
        self.tick()
        slots = peer.semaphore.leave()
        assert slots == self.model.leave(peer.name)
        self.cut(peer)
        self._requeue(peer)
        peer.close()
        self._check(called=True)

    def _requeue(self, peer: Peer) -> None:
        self.put_back(peer)
        for work in peer.running():
            self.queues[work.id].appendleft((work.task, work.retries))

    # A worker's calls

    def join(self, peer: Peer, trouble: str = "", and_serve: bool = True) -> None:
        self.tick()
        held = [(work.id, work.token, work.task, work.needs) for work in peer.held.values()]
        away = {work.token for work in peer.held.values() if work.away}
        peer.leaving.clear()
        uptime_us = self.server.uptime_ms * 1000

        def modelled() -> Any:
            self._freed_by_hand -= peer.held.keys()  # now the semaphore has said what becomes of them
            said = [(*slot, slot[1] in away) for slot in held]
            return self.model.join(peer.name, self.server.run, uptime_us, peer.fleet, int(LEASE * 1e6), said)

        joined = self._call(peer, trouble, lambda: peer.semaphore.join("host", peer.fleet, LEASE, held, away), modelled)
        if joined is not None:
            reply, (serve, recovery, lost, began) = joined
            said, wanted = (reply.serve, reply.recovery, reply.began), (serve, recovery / 1000, began)
            assert said == wanted, f"join of {peer.name}: (serve, recovery, began) is {said}, not {wanted}"
            assert sorted(reply.lost) == sorted(lost)
            for token in lost:
                del peer.held[token]
            peer.joined, peer.owes, peer.seeking = True, True, True
            peer.adopts, peer.untold = peer.adopts or serve, bool(peer.heard_of)
            peer.must_serve = peer.must_serve or serve or not peer.served
        self._check(called=True, may_exceed=self.model.recovery_ms > 0)
        if joined is not None and and_serve:
            self.serve(peer)

    def serve(self, peer: Peer, and_adopt: bool = True) -> None:
        if peer.must_serve:
            self.tick()
            peer.semaphore.serve(peer.fleet, peer.limits, peer.families, peer.needs)
            self.model.serve(peer.fleet, peer.limits, peer.families, peer.needs)
            peer.served, peer.must_serve = True, False
            if and_adopt and peer.adopts:
                self.adopt(peer)
            self._check(called=True, may_exceed=True)  # a limit may have been lowered
        if peer.untold:
            # The semaphore may have lost them.
            self.tick()
            known = [Known(id, family, self.told.get(id, ("", 1))[1]) for id, family in peer.heard_of.items()]
            peer.semaphore.learn(known)
            self.model.learn(known)
            peer.untold = False
            self._check(called=True, may_exceed=True)

    def adopt(self, peer: Peer) -> None:
        self.tick()
        peer.semaphore.adopt()
        self.model.adopt()
        peer.adopts = False
        self._check(called=True, may_exceed=True)  # it follows a serve

    def turn(self, peer: Peer, want: int = 0, may_idle: bool = True, trouble: str = "") -> None:
        if not self._has_joined(peer):
            return
        self.tick()
        reports, peer.reports = peer.reports, []
        peer.leaving.clear()
        peer.sent = reports
        self._turn(peer, want, may_idle, reports, trouble)

    def repeat(self, peer: Peer) -> None:
        """Say again what was said last: it was true once, and must do no harm now."""
        if self._has_joined(peer):
            self.tick()
            self._turn(peer, 0, False, [report for report in peer.sent if report.kind != "drop"], "")

    def _turn(self, peer: Peer, want: int, may_idle: bool, reports: list[Report], trouble: str) -> None:
        answer = self._call(
            peer,
            trouble,
            lambda: peer.semaphore.turn(want, may_idle, reports),
            lambda: self.model.turn(peer.name, self.server.run, want, may_idle, reports),
        )
        if answer is None:
            self._check(called=trouble == REPLY_LOST)
            return
        reply, (status, verdicts, grants, recovery, idle) = answer
        assert (reply.status, reply.recovery) == (status, recovery / 1000)
        if status != "ok":
            peer.excluded()
            self._check()
            return
        assert list(reply.verdicts) == verdicts, f"{reply.verdicts} should be {verdicts}"
        assert list(reply.grants) == grants, f"{reply.grants} should be {grants}"
        assert reply.idle == idle
        for verdict in verdicts:
            work = peer.held.get(verdict.token)
            if work is not None:
                work.keep, work.claimable, work.ahead = verdict.keep, verdict.claimable, verdict.ahead
                if not verdict.held:
                    del peer.held[verdict.token]
        for grant in grants:
            peer.held[grant.token] = Work(
                grant.id, grant.token, grant.seq, grant.keep, grant.claimable, grant.ahead, needs=grant.needs
            )
            if grant.family:
                peer.heard_of[grant.id] = grant.family
        if want:
            peer.seeking = len(grants) == want or not may_idle
        if recovery:
            peer.seeks_at = self.server.now + recovery * 1000
        peer.owes = False
        self._check(called=True)

    def beat(self, peer: Peer, look_up: bool = False, trouble: str = "") -> int:
        """Return the cursor of the safety poll."""
        if not self._has_joined(peer):
            return -1
        self._tell_retired(peer)
        self.tick()
        looked_up = [*peer.limits, *peer.heard_of] if look_up else []
        lengths = {id: len(self.queues[id]) for id in looked_up}
        tokens, at_rest = [*peer.held, *peer.leaving], peer.at_rest
        answer = self._call(
            peer,
            trouble,
            lambda: peer.semaphore.beat(at_rest, tokens, lengths, BATCH, self.id_ttl),
            lambda: self.model.beat(
                peer.name, self.server.run, at_rest, tokens, lengths, BATCH, self.id_ttl * 1_000_000
            ),
        )
        cursor = -1
        if answer is not None:
            reply, wanted = answer
            self._compare(peer, reply, wanted)
            # A worker may have joined again with what was freed by hand before it heard of that.
            odd = self._freed_by_hand & set(tokens) | (self._disowned & self.model.held(peer.name) - set(tokens))
            meddled = reply.status == "ok" and bool(odd)
            assert reply.resync == meddled, f"resync is {reply.resync}; somebody meddled: {meddled}"
            cursor = reply.cursor
            peer.joined = not reply.resync
            peer.must_serve = peer.must_serve or reply.serve
            if reply.status != "ok":
                peer.excluded()
            peer.owes, peer.seeking = peer.owes or reply.invited, peer.seeking or reply.invited
            peer.heard_of.update(reply.lookups)
            if reply.silent:
                peer.silent, peer.silent_since = list(reply.silent), self.server.now
        self._check(called=trouble != NEVER_SENT)
        return cursor

    def _compare(self, peer: Peer, reply: Beat, wanted: Heartbeat) -> None:
        said = Heartbeat(
            reply.status,
            reply.invited,
            reply.resync,
            reply.cursor,
            {(name, slots) for name, _, slots in reply.expired},
            list(reply.mended),
            list(reply.lookups),
            list(reply.silent),
            reply.serve,
        )
        differ = {
            field: (mine, its) for field, mine, its in zip(said._fields, said, wanted) if mine != its and (mine or its)
        }
        assert not differ, f"beat of {peer.name}: (field: Redis, model): {differ}"
        assert reply.repaired == 0, "nobody meddled"

    def _has_joined(self, peer: Peer) -> bool:
        """A worker that lost touch joins before it says anything else."""
        if not peer.joined:
            self.join(peer)
        else:
            self.serve(peer)
        return peer.joined

    def _call(self, peer: Peer, trouble: str, real: Callable[[], Any], modelled: Callable[[], Any]) -> Any:
        """Make a call on both sides; return both replies, or None where the worker learns nothing."""
        peer.client.trouble = trouble
        try:
            reply = real()
        except SemaphoreUnavailable:
            if not trouble:
                raise
            if trouble == REPLY_LOST:
                modelled()
            peer.lose_touch()
            return None
        peer.answered = self.server.now
        return reply, modelled()

    def _tell_retired(self, peer: Peer) -> None:
        """What became of the queues of silent ids."""
        if peer.retired:
            self.tick()
            peer.semaphore.retire(peer.retired)
            self.model.retire(peer.retired)
            peer.retired = []
            self._check()

    # A worker's tasks

    def fetch(self, peer: Peer, work: Work, instead: str = "") -> None:
        """Fetch a message into an open slot; it may not start: ``skip`` it was revoked, say, ``park`` it is not due."""
        if peer.ahead[work.id]:
            peer.begin(work, "resume", *peer.ahead[work.id].popleft())
        elif not self.queues[work.id]:
            peer.forget(work, "drop")
        else:
            task, retries = self.queues[work.id].popleft()
            if instead == "skip":
                peer.reports.append(Report("skip", work.id, work.token, task, retries))
            elif instead == "park":
                peer.reports.append(Report("park", work.id, "3000", task, retries))
                self.parked.append((work.id, task, retries))
            else:
                peer.begin(work, "start", task, retries)
        self._check()

    def fetch_ahead(self, peer: Peer, work: Work) -> None:
        """Fetch the next message of an id while a task still runs in the slot."""
        queue, running = self.queues[work.id], sum(each.id == work.id for each in peer.running())
        if work.ahead and work.claimable > 0 and queue and len(peer.ahead[work.id]) < running:
            task, retries = queue.popleft()
            peer.ahead[work.id].append((task, retries))
            peer.reports.append(Report("skip", work.id, "", task, retries))

    def put_back(self, peer: Peer, only: str = "") -> None:
        """What was fetched ahead was not started in time: it goes back to the head of its queue."""
        for id, ahead in peer.ahead.items():
            while ahead and only in ("", id):
                task, retries = ahead.pop()
                self.queues[id].appendleft((task, retries))
                peer.reports.append(Report("back", id, "", task, retries))

    def end(self, peer: Peer, work: Work, chain: bool = True, retry: bool = False) -> None:
        """A task ends; ``chain``: the slot stays if it may; ``retry``: the task publishes itself again before."""
        task, retries = work.task, work.retries
        if retry:
            self.publish(work.id, task=task, retries=retries + 1)
        work.task = ""
        more = work.claimable > 0 or peer.ahead[work.id]
        if work.away or not (chain and work.keep and more and self._fresh(peer)):
            peer.forget(work, "release")
            if not peer.running():
                self.put_back(peer)
        self._check()

    def give_back(self, peer: Peer, work: Work, trouble: str = "") -> None:
        """A task gives its slot back for a while. If Redis cannot be told, its worker does that by joining again.

        A slot that takes others with it is refused: the task goes on with it.
        """
        self.tick()
        work.away = not work.needs
        peer.tasks_client.trouble = trouble
        try:
            said = peer.tasks.give_back(peer.holder(work))
        except SemaphoreUnavailable:
            peer.joined = False
            if trouble == REPLY_LOST:
                self.model.give_back(peer.name, work.id, work.token)
        else:
            assert said == self.model.give_back(peer.name, work.id, work.token)
        self._check(called=trouble != NEVER_SENT)

    def take_again(self, peer: Peer, work: Work, wait: bool = True, trouble: str = "") -> None:
        """The task wants its slot again; where it has it, it makes sure."""
        for _ in range(2):
            self.tick()
            peer.tasks_client.trouble = trouble
            try:
                said = peer.tasks.take_again(peer.holder(work), wait)
            except SemaphoreUnavailable:
                said = None
            wanted = None
            if trouble != NEVER_SENT:
                wanted = self.model.take_again(peer.name, self.server.run, work.id, work.token, wait)
            assert said is None or said == wanted, f"{work.token} of {work.id!r}: {said}, not {wanted}"
            work.away = said is None or said[0] not in (HELD, GONE)
            if said is not None and said[0] == GONE:
                peer.held.pop(work.token, None)  # it goes on, beside the limit
            self._check(called=said is not None)
            if work.away:
                return

    def read_mail(self, peer: Peer, lost: bool = False) -> None:
        while peer.mail:
            word = peer.mail.popleft()
            if lost:
                continue
            if word == "invite":
                peer.owes, peer.seeking = True, True
            elif word == "rejoin":
                peer.joined = False
            elif word.startswith("recall "):
                self._recall(peer, word[len("recall ") :])
            elif word.startswith("released "):
                token = word[len("released ") :]
                if peer.held.pop(token, None) is not None:
                    self._disowned.add(token)

    def _recall(self, peer: Peer, id: str) -> None:
        for work in peer.held.values():
            if work.id == id:
                work.keep = work.ahead = False
        self.put_back(peer, id)

    def _fresh(self, peer: Peer) -> bool:
        return peer.joined and self.server.now - peer.answered < (SHORT_TIER - 0.3) * 1e6

    # Checks

    def _check(self, called: bool = False, may_exceed: bool = False) -> None:
        observed, wanted = self.server.state(), expected(self.model)
        differ = {
            key: (observed.get(key), wanted.get(key))
            for key in observed.keys() | wanted.keys()
            if observed.get(key) != wanted.get(key)
        }
        assert not differ, f"Redis and the model differ (key: Redis, model): {differ}"
        for peer in self.alive():
            if peer.mailbox.listening:
                mail = [word for word in peer.mailbox.read() if word != "ping" or not self._looked]
                assert mail == self.model.mail[peer.name], f"mail of {peer.name}"
                peer.mail += mail
        self.model.mail.clear()
        self._looked = False
        self._check_limits(may_exceed or self.model.lapsed or self.model.recovered)
        self.model.lapsed = self.model.recovered = False
        if called and not self.model.recovery_ms:
            self._check_nobody_sleeps()

    def _check_limits(self, may_exceed: bool) -> None:
        """I1, by what the workers know and do, not by what the semaphore believes."""
        held: dict[str, int] = defaultdict(int)
        for peer in self.alive():
            if self.server.now - peer.answered < SHORT_TIER * 1e6:
                for work in peer.held.values():
                    for id, units in [(work.id, 1), *parts(work.needs)]:
                        held[id] += units * (work.token not in self._doubtful and not work.away)
        for id, state in self.model.ids.items():
            limit = state.limit_now or math.inf
            most = max(held[id], len(state.slots) + len(state.units))
            if may_exceed and most > limit:
                self._exceeded.add(id)
            elif most <= limit:
                self._exceeded.discard(id)
            assert id in self._exceeded or held[id] <= limit, f"{held[id]} slots of {id!r} are held; limit {limit}"

    def _check_nobody_sleeps(self) -> None:
        for fleet in self.model.fleets:
            ready, idle = self.model.ready[fleet], self.model.idle[fleet]
            if not ready or not idle:
                continue
            coming = [
                peer.name
                for peer in self.peers
                if peer.fleet == fleet
                and (
                    not peer.alive
                    or not peer.joined
                    or peer.owes
                    or peer.seeks_at
                    or "invite" in peer.mail
                    or (peer.at_rest and peer.name not in idle)
                )
            ]
            assert coming, f"{set(ready)} are ready for {fleet!r}, {set(idle)} are idle, and nobody was told"

    # The end

    def settle(self) -> None:
        """Nothing goes wrong any more: everything that waits must run, by workers that only do as they are told."""
        for fleet in ("old", "other"):  # together they serve every id
            if not any(peer.fleet == fleet for peer in self.alive()):
                self.start(fleet)
        for id in self.ids:
            self.pause(id, False)
            if self.needs:
                self.limit(id, None)  # one below a task's weight would keep it waiting
        self.show()
        for late in self.late:
            self.announce(*late)
        for peer in self.alive():
            self.listen(peer)
        for _ in range(40):
            self.advance(1100)
            for peer in self.alive():
                self._end_all(peer)
                self.put_back(peer)
                self.beat(peer, look_up=True)
            self._work_until_quiet()
            if self._is_done():
                break
        waiting = {id: list(queue) for id, queue in self.queues.items() if queue}
        assert not waiting, f"never ran: {waiting}"
        assert self._is_done(), f"slots that nobody uses: { {id: s.slots for id, s in self.model.ids.items()} }"

    def _work_until_quiet(self) -> None:
        left, rounds = self._left(), 0
        while rounds < 100:
            busy = False
            for peer in self.alive():
                self.read_mail(peer)
                if 0 < peer.seeks_at <= self.server.now:
                    peer.seeking, peer.seeks_at = True, 0
                for work in peer.open_slots():
                    self.fetch(peer, work)
                self._end_all(peer)
                if peer.seeking or peer.reports or not peer.joined:
                    busy = True
                    self.turn(peer, want=1)
            if not busy:
                return
            # A long history may leave hundreds of tasks.
            rounds = rounds + 1 if self._left() >= left else 0
            left = self._left()
        raise AssertionError("workers are busy with nothing")

    def _left(self) -> int:
        return sum(len(queue) for queue in self.queues.values())

    def _end_all(self, peer: Peer) -> None:
        """End what runs, but what has given back its slot waits until it has it again."""
        for work in peer.running():
            if work.away:
                self.take_again(peer, work)  # which may show that other slots are lost
            if not work.away and peer.held.get(work.token) is work:
                self.end(peer, work)

    def _is_done(self) -> bool:
        ids = self.model.ids.values()
        return not any(self.queues.values()) and not any(each.all or each.claimable > 0 for each in ids)
