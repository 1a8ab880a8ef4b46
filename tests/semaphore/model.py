"""What the scripts should do, in Python: kept simple, so that it can be believed.

It holds only what cannot be derived: who has which slot, what waits, who lives. Counts, free slots and readiness are
computed from that whenever they are asked for, while the scripts keep them up to date step by step: where the two
differ, a script forgot something.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from celery_concurrency_id.semaphore.semaphore import RECOVERY_MS, SHORT_TIER, Grant, Known, Report, Verdict
from celery_concurrency_id.semaphore.tasks import GONE, HELD, UNKNOWN, WAITS
from semaphore.directory import Directory

RECOVERY_US = RECOVERY_MS * 1000
SHORT_US = int(SHORT_TIER * 1e6)
#: How often one worker of a fleet looks up queue lengths, in microseconds.
POLL_US = 2_000_000
#: How often one worker of a fleet holds slots against their holders, in microseconds.
AUDIT_US = 1_000_000
#: How long a start is remembered whose announcement has not come, in microseconds.
EARLY_US = 30_000_000
#: How long a task that came earlier may keep one from having its slot again although nobody has room for it.
WANTED_US = 500_000
#: Times that a lane is passed over before younger ones leave it what it needs, and how long they do so although it
#: could start, in microseconds.
PATIENCE, GRACE_US = 3, 1_000_000
#: How long a place in a bounded queue is kept for a task whose announcement has not come, in microseconds, and how
#: long that task may be taken for one that is in the queue.
RESERVED_US, ON_THEIR_WAY_US = 10_000_000, 5_000_000
#: How long the queue of a silent id may be about to be deleted, and after how long a silent id is offered again.
RETIRING_US, OFFERED_AGAIN_US = 3_000_000, 30_000_000


@dataclass
class Slot:
    worker: str
    running: bool
    task: str
    needs: str = ""


def parts(needs: str) -> list[tuple[str, int]]:
    """Return each limit that a task needs, and how many slots of it."""
    words = needs.split()
    return [(limit, int(weight)) for limit, weight in zip(words[::2], words[1::2])]


class Ids(dict[str, "Id"]):
    def __missing__(self, name: str) -> Id:
        self[name] = Id(self, name)
        return self[name]


@dataclass
class Id:
    """One concurrency id; ``limit`` is None until somebody says it, and 0 for no limit. One that was made for a call
    has a ``family``, and its queue may be about to be deleted until ``retiring``.

    ``override`` and ``pause`` are what an operator said: fields of Redis' hash. A lane has ``needs``; the limits that
    lanes need have the ``weights`` with which they are needed. Both stand in line ``since`` they had work, for the
    limit at which it ``stands``.
    ``waiting`` and ``back`` say since when.
    ``away`` are the slots that their tasks have given back for a while, ``back`` those of them that are wanted again.
    """

    ids: Ids
    name: str
    needs: str = ""
    weights: list[int] = field(default_factory=list)
    since: int | None = None
    stands: str = ""
    passed: int = 0
    fits: int | None = None
    limit: int | None = None
    family: str = ""
    retiring: int = 0
    override: dict[str, Any] = field(default_factory=dict)
    pause: dict[str, Any] = field(default_factory=dict)
    seq: int = 0
    unseen: int = 0
    waiting: dict[str, int] = field(default_factory=dict)
    reserved: dict[str, int] = field(default_factory=dict)
    slots: dict[str, Slot] = field(default_factory=dict)
    away: dict[str, Slot] = field(default_factory=dict)
    back: dict[str, int] = field(default_factory=dict)

    @property
    def fetching(self) -> int:
        return sum(not slot.running for slot in self.all.values())

    @property
    def all(self) -> dict[str, Slot]:
        return {**self.slots, **self.away}

    def drop(self, token: str) -> None:
        for each in (self.slots, self.away, self.back):
            each.pop(token, None)  # type: ignore[attr-defined]

    @property
    def claimable(self) -> int:
        return len(self.waiting) + self.unseen - self.fetching

    @property
    def limit_now(self) -> int | None:
        return self.override.get("override", self.limit)

    @property
    def room(self) -> float:
        if self.limit_now is None:
            return 0
        return math.inf if self.limit_now == 0 else self.limit_now - len(self.slots) - len(self.units)

    @property
    def units(self) -> dict[str, tuple[str, str]]:
        """Slots taken with those of lanes: the worker and the lane."""
        return {
            f"{token}.{number + 1}": (slot.worker, lane.name)
            for lane in list(self.ids.values())
            for token, slot in lane.slots.items()
            for limit, weight in parts(slot.needs)
            if limit == self.name
            for number in range(weight)
        }

    @property
    def in_lines(self) -> bool:
        return bool(self.needs or self.weights)

    @property
    def line_needs(self) -> list[tuple[str, int]]:
        """What it stands in line for: a limit that others need, too, is its own lane."""
        return parts(self.needs) or [(self.name, 1)]

    @property
    def waits_in_line(self) -> bool:
        may = self.limit_now is not None and not self.pause and (self.room > 0 or not self.needs)
        return self.in_lines and may and self.claimable > 0

    @property
    def free(self) -> float:
        return -1 if self.pause and self.limit_now is not None else self.room

    @property
    def is_ready(self) -> bool:
        return not self.in_lines and self.free > 0 and self.claimable > 0


class Heartbeat(NamedTuple):
    """What ``beat`` answers: the leases that ended with their slots, what was mended, the ids to look up and those that
    are silent, and whether limits are missing."""

    status: str
    invited: bool = False
    resync: bool = False
    cursor: int = -1
    expired: Set[tuple[str, int]] = frozenset()
    mended: Sequence[tuple[str, int]] = ()
    lookups: Sequence[tuple[str, str]] = ()
    silent: Sequence[tuple[str, str]] = ()
    serve: bool = False


@dataclass
class Lease:
    fleet: str
    lasts: int
    heard: int


class Model:
    """The semaphore of one namespace.

    Attributes:
        now: The server's clock, in microseconds.
        listening: Workers whose mailbox is connected.
        mail: What each worker's mailbox got in the current step.
        lapsed: Whether an override ended in the current step.
        recovered: Whether a recovery began in the current step: what runs stands, though others may have said a lower
            limit before.
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self.listening: set[str] = set()
        self.mail: dict[str, list[str]] = defaultdict(list)
        self.lapsed = self.recovered = False
        self.forget()

    def forget(self) -> None:
        """Lose all data."""
        self.run: str | None = None
        self.recover_floor = self.recover_until = 0
        self.fence = 0
        self.awaited: set[str] = set()
        self.ids = Ids()
        self.hungry: set[str] = set()
        self.leases: dict[str, Lease] = {}
        self.serves: dict[str, set[str]] = defaultdict(set)
        self.families: set[str] = set()
        self.directory = Directory()
        self._not_adopted: set[tuple[str, str]] = set()
        self.ready: dict[str, dict[str, int]] = defaultdict(dict)
        self.idle: dict[str, dict[str, int]] = defaultdict(dict)
        self.early: dict[str, int] = {}
        self.polled: dict[str, int] = {}
        self.cursors: dict[str, int] = defaultdict(int)
        self.audited: dict[str, int] = {}

    # The verbs

    def reserve(self, id: str, task: str, retries: int, most: int) -> tuple[bool, int]:
        """Return whether there was a place, and how many others wait."""
        state, member = self.ids[id], f"{task}:{retries}"
        state.reserved = {
            other: at for other, at in state.reserved.items() if at > self.now - RESERVED_US and other != member
        }
        size = len(state.waiting) + state.unseen + len(state.reserved)
        if size < most:
            state.reserved[member] = self.now
        return size < most, size

    def cancel(self, id: str, task: str, retries: int) -> None:
        self.ids[id].reserved.pop(f"{task}:{retries}", None)

    def announce(self, id: str, task: str, retries: int, family: str = "", limit: int = 0) -> None:
        if family:
            self._know(Known(id, family, limit))
        self.ids[id].reserved.pop(f"{task}:{retries}", None)
        if self.early.pop(f"{task}:{retries}", None) is None:
            state = self.ids[id]
            state.seq += 1
            state.waiting[f"{task}:{retries}"] = self.now
        self._refresh({id})
        self._wake()

    def join(
        self,
        worker: str,
        run: str,
        uptime_us: int,
        fleet: str,
        lasts: int,
        held: Iterable[tuple[str, str, str, str, bool]],
    ) -> tuple[bool, int, list[str], bool]:
        """Return whether to serve, the recovery in ms, the tokens lost and whether a recovery began."""
        self._forgive()
        began = self.run != run
        if began:
            self._begin_recovery(run, uptime_us)
            self.recovered = True
        self.awaited.discard(worker)
        if self.recovery_ms and not self.awaited:
            self.recover_until = max(self.now, self.recover_floor)
            if not self.recovery_ms:
                self._tell_all("invite")
        if fleet not in self.fleets:
            self.serves[fleet].clear()
        self.leases[worker] = Lease(fleet, lasts, self.now)
        self.idle[fleet].pop(worker, None)
        lost, touched = self._compare_slots(worker, list(held), began)
        self._refresh(touched)
        if not self.recovery_ms:
            self._wake()
        return not self.serves[fleet], self.recovery_ms, lost, began

    def _begin_recovery(self, run: str, uptime_us: int) -> None:
        if self.run is None:
            self.awaited = set(self.listening)
            self._tell_all("rejoin")
        else:
            self.awaited = set(self.leases)
            for other in list(self.leases):
                self._expire(other)
        self.run = run
        self.recover_floor = self.now + (1_000_000 if uptime_us < 2_000_000 else 0)
        self.recover_until = self.now + RECOVERY_US

    def _compare_slots(
        self, worker: str, held: list[tuple[str, str, str, str, bool]], began: bool
    ) -> tuple[list[str], set[str]]:
        """Return the tokens lost, and the ids that something happened to.

        Where a recovery has just begun, and may be over with its only worker, nobody else can have any of these slots.
        """
        lost, touched = [], set()
        for id, token, task, needs, away in held:
            state = self.ids[id]
            slot = state.all.get(token)
            others = [(self.ids[limit], weight) for limit, weight in parts(needs)]
            lacks = any(other.limit_now is not None and other.room < weight for other, weight in others)
            if away:
                state.slots.pop(token, None)
                state.away[token] = slot or Slot(worker, True, task)
                touched.add(id)
            elif slot is not None:
                if task and not slot.running:
                    slot.running, slot.task = True, task
                    touched.add(id)
            elif began or self.recovery_ms or (not lacks and (state.limit_now is None or state.room > 0)):
                state.slots[token] = Slot(worker, True, task, needs)
                touched |= {id, *dict(parts(needs))}
            else:
                lost.append(token)
        offered = {token for _, token, _, _, _ in held}
        for id, state in self.ids.items():
            for token in [token for token, slot in state.all.items() if slot.worker == worker]:
                if token not in offered:
                    touched |= {id, *dict(parts(state.all[token].needs))}
                    state.drop(token)
        return lost, touched

    def serve(
        self, fleet: str, limits: dict[str, int], families: Iterable[str] = (), needs: dict[str, str] | None = None
    ) -> None:
        for id, limit in limits.items():
            self.serves[fleet].add(id)
            state = self.ids[id]
            state.limit = limit
            if state.family:  # from now on some task always has it
                state.family = ""
                self.directory.forget(id)
            state.needs = (needs or {}).get(id, "")
            for other, weight in parts(state.needs):
                weights = self.ids[other].weights
                weights += [each for each in dict.fromkeys((1, weight)) if each not in weights]
            self._refresh({id})
        for family in families:
            if family not in self.serves[fleet]:
                self._not_adopted.add((fleet, family))
            self.serves[fleet].add(family)
            self.families.add(family)
        if not self.recovery_ms:
            self._wake()

    def adopt(self) -> None:
        """What waits of the families that are served anew is ready now."""
        self._not_adopted.clear()
        self._refresh(set(self.directory.used))
        if not self.recovery_ms:
            self._wake()

    def learn(self, each: Iterable[Known]) -> int:
        """Return the milliseconds until the queues of these ids may be declared."""
        retiring = 0
        for known in each:
            self._know(known)
            retiring = max(retiring, self.ids[known.id].retiring)
            self._refresh({known.id})
        if not self.recovery_ms:
            self._wake()
        return max(0, math.ceil((retiring - self.now) / 1000))

    def _know(self, known: Known) -> None:
        state = self.ids[known.id]
        if not state.family and any(known.id in self.serves[fleet] for fleet in self.fleets):
            return  # some task always has it: its workers tell the limit
        self.directory.use(known.id, self.now)
        state.family, state.limit = known.family, known.limit

    def retire(self, silent: Iterable[tuple[str, str]]) -> int:
        """Return how many ids were forgotten."""
        forgotten = 0
        for id, mark in silent:
            if mark and self.directory.used.get(id) == int(mark) and not self._busy(id):
                del self.ids[id]
                self.directory.forget(id)
                forgotten += 1
            else:
                self.ids[id].retiring = 0
        return forgotten

    def _busy(self, id: str) -> bool:
        state = self.ids[id]
        return bool(state.all or state.waiting or state.reserved or state.unseen > 0 or state.override or state.pause)

    def turn(
        self, worker: str, run: str, want: int, may_idle: bool, reports: Iterable[Report]
    ) -> tuple[str, list[Verdict], list[Grant], int, bool]:
        """Return the status, verdicts, grants, recovery in ms and whether it is now registered as idle."""
        status = self._admit(worker, run)
        if status != "ok":
            return status, [], [], 0, False
        fleet = self.leases[worker].fleet
        started, touched = [], set()
        for report in reports:
            held = self._report(worker, report)
            touched.add(report.id)
            if held and report.kind in ("release", "drop"):
                touched |= set(dict(parts(held.needs)))
            if report.kind in ("start", "resume"):
                started.append((report.id, report.token, held))
        self._refresh(touched)
        granted = []
        while len(granted) < want and not self.recovery_ms and self.ready[fleet]:
            id = self.longest_ready(fleet)
            if " " in id:
                lane = self._next_in_line(fleet, id)
                if not lane:
                    self._refresh(())
                    continue
                id = lane
                self._serve_lane(id, len(granted))
            self.fence = max(self.fence + 1, self.now)
            needs = self.ids[id].needs
            self.ids[id].slots[str(self.fence)] = Slot(worker, False, "", needs)
            for ready in self.ready.values():
                ready.pop(id, None)
            self._refresh({id, *dict(parts(needs))})
            granted.append((id, str(self.fence), self.ids[id].seq, self.ids[id].claimable, needs))
        if want and not self.recovery_ms:
            if may_idle and len(granted) < want:
                self.idle[fleet].setdefault(worker, self.now)
            else:
                self.idle[fleet].pop(worker, None)
        self._wake()
        verdicts = []
        for id, token, held in started:
            keep, ahead = self._keeps(fleet, id, held.needs) if held else (False, False)
            verdicts.append(Verdict(token, keep, bool(held), self.ids[id].claimable, ahead))
        grants = [
            Grant(*grant, *self._keeps(fleet, grant[0], needs), self.ids[grant[0]].family, needs)
            for *grant, needs in granted
        ]
        return "ok", verdicts, grants, self.recovery_ms, worker in self.idle[fleet]

    def _next_in_line(self, fleet: str, name: str) -> str:
        """Return who gets slots next, or nothing, after the first went to another line."""
        limit, weight = name.split()
        since, lane = self.line(fleet, limit, int(weight))[0]
        for lacking, count in self.ids[lane].line_needs:
            if self.available(lacking, lane, since) < count:
                assert lacking != limit, "its line would not be ready"
                self.ids[lane].stands = lacking
                self._pass_over(lane)
                return ""
        return lane

    def _serve_lane(self, lane: str, turn: int) -> None:
        """A lane gets slots: who is older and does not fit is passed over; it goes to the end of its line."""
        state, passed = self.ids[lane], set()
        assert state.since is not None
        for limit, _ in state.line_needs:
            for weight in self.ids[limit].weights:
                for fleet in self.fleets if self.ids[limit].room < weight else ():
                    for since, first in self.line(fleet, limit, weight)[:1]:
                        if first != lane and since < state.since:
                            passed.add(first)
        for first in passed:
            self._pass_over(first)
        self._sate(lane)
        state.since, state.stands = self.now + turn, state.line_needs[0][0]

    def _pass_over(self, lane: str) -> None:
        self.ids[lane].passed += 1
        if self.ids[lane].passed >= PATIENCE:
            self._reconsider(lane)

    def _reconsider(self, lane: str) -> None:
        """Slots are left free for a lane that waits, that somebody serves, and that can start some time."""
        state = self.ids[lane]
        limits = [(self.ids[limit], weight) for limit, weight in state.line_needs]
        able = all(
            not limit.pause and limit.limit_now is not None and (limit.limit_now or math.inf) >= weight
            for limit, weight in limits
        )
        if state.since is None or not able or not any(self._serves(fleet, lane) for fleet in self.fleets):
            self._sate(lane)
            return
        self.hungry.add(lane)
        if not all(limit.room >= weight for limit, weight in limits):
            state.fits = None
        elif state.fits is None:
            state.fits = self.now

    def _sate(self, lane: str) -> None:
        self.hungry.discard(lane)
        self.ids[lane].passed, self.ids[lane].fits = 0, None

    def _report(self, worker: str, report: Report) -> Slot | None:
        """Take in one report; return the slot if it was still held."""
        state = self.ids[report.id]
        held = state.all.get(report.token)
        if report.kind in ("start", "skip"):
            self._no_longer_waiting(state, report.task, report.number)
        if report.kind == "park":
            self._no_longer_waiting(state, report.task, report.number)
            state.reserved[f"{report.task}:{report.number}"] = self.now + 1000 * int(report.token)
        if report.kind == "back":
            state.waiting[f"{report.task}:{report.number}"] = min(state.waiting.values(), default=self.now) - 1
            state.seq += 1
        if report.kind in ("start", "resume") and held:
            held_in = state.slots if report.token in state.slots else state.away
            held_in[report.token] = Slot(worker, True, report.task, held.needs)
        if report.kind == "drop" and state.seq == report.number:
            state.waiting.clear()
            state.unseen = 0
        if report.kind in ("release", "drop"):
            state.drop(report.token)
        return held

    def _no_longer_waiting(self, state: Id, task: str, retries: int) -> None:
        if state.waiting.pop(f"{task}:{retries}", None) is not None:
            return
        if state.unseen:
            state.unseen -= 1
        else:
            self.early = {key: at for key, at in self.early.items() if at > self.now - EARLY_US}
            self.early[f"{task}:{retries}"] = self.now

    def beat(
        self,
        worker: str,
        run: str,
        idle_here: bool,
        tokens: Iterable[str],
        lengths: dict[str, int],
        batch: int = 0,
        ttl_us: int = 0,
    ) -> Heartbeat:
        status = self._admit(worker, run)
        if status != "ok":
            return Heartbeat(status)
        fleet = self.leases[worker].fleet
        expired = set()
        silent = sorted(
            (lease.heard, name) for name, lease in self.leases.items() if lease.heard <= self.now - SHORT_US
        )
        for heard, name in silent:
            if self.now - heard > self.leases[name].lasts or not self._tell(name, "ping"):
                expired.add((name, self._expire(name)))
        resync = self.held(worker) != set(tokens)
        if not self.recovery_ms and self.now - self.audited.get(fleet, 0) > AUDIT_US:
            self.audited[fleet] = self.now  # it finds nothing: what it would find, no script leaves behind
            served = self.serves[fleet] - self.families
            self._refresh(served | {limit for id in served for limit, _ in parts(self.ids[id].needs)})
        mended = []
        for id, length in lengths.items():
            state = self.ids[id]
            on_their_way = sum(0 <= self.now - at <= ON_THEIR_WAY_US for at in state.reserved.values())
            unseen, state.unseen = state.unseen, max(0, length - len(state.waiting) - on_their_way)
            if state.unseen > unseen:
                mended.append((id, state.unseen))
            if state.unseen != unseen:
                self._refresh({id})
        self._refresh(())
        for lane in list(self.hungry):
            fits = self.ids[lane].fits
            if fits is not None and self.now - fits > GRACE_US:
                self._sate(lane)
        self._refresh(())
        invited = False
        if not idle_here:
            self.idle[fleet].pop(worker, None)
        elif worker not in self.idle[fleet]:
            invited = bool(self.ready[fleet])
            if not invited:
                self.idle[fleet][worker] = self.now
        if not self.recovery_ms:
            self._wake()
        cursor = -1
        if self.now - self.polled.get(fleet, 0) > POLL_US:
            self.polled[fleet] = self.now
            self.cursors[fleet] += 1
            cursor = self.cursors[fleet]
        lookups, silent = self._look_into_directory(fleet, batch, ttl_us) if cursor >= 0 else ([], [])
        return Heartbeat("ok", invited, resync, cursor, expired, mended, lookups, silent, not self.serves[fleet])

    def _look_into_directory(
        self, fleet: str, batch: int, ttl_us: int
    ) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Return the ids whose queues are to be looked up, with their families, and the silent ones, with marks."""
        lookups = self.directory.look_up(
            batch,
            self.now,
            lambda id: self._serves(fleet, id),
            lambda id: any(self._serves(each, id) for each in self.fleets),
        )
        if not self.recovery_ms:
            self._refresh(lookups)
        silent = []
        if ttl_us and not self.recovery_ms:
            for id in self.directory.silent(batch, self.now - ttl_us):
                if self._busy(id):
                    self.directory.used[id] = self.now
                else:
                    mark = self.directory.used[id] = self.now - ttl_us + OFFERED_AGAIN_US
                    self.ids[id].retiring = self.now + RETIRING_US
                    silent.append((id, str(mark)))
        return [(id, self.ids[id].family) for id in lookups], silent

    def leave(self, worker: str) -> int:
        slots = self._expire(worker)
        self._wake()
        return slots

    # A task's verbs

    def give_back(self, worker: str, id: str, token: str) -> bool:
        """Return whether the worker is known to hold the slot, and nothing else with it."""
        state = self.ids[id]
        slot = state.all.get(token)
        if slot is None or slot.worker != worker or slot.needs:
            return False
        state.drop(token)
        state.away[token] = slot
        self._tell(worker, f"recall {id}")
        self._refresh({id})
        if not self.recovery_ms:
            self._wake()
        return True

    def take_again(self, worker: str, run: str, id: str, token: str, wait: bool) -> tuple[int, int]:
        """Return what came of it, and the fencing token."""
        state = self.ids[id]
        slot = state.all.get(token)
        if self.run != run:
            return UNKNOWN, 0
        if slot is None or slot.worker != worker:
            return (GONE if worker in self.leases else UNKNOWN), 0
        if token in state.away:
            self._lapse()
            comes = token not in state.back
            state.back.setdefault(token, self.now)
            self._refresh({id})
            if token in state.away:
                if not wait:
                    del state.back[token]
                elif comes:
                    self._tell_holders(id)
                if not self.recovery_ms:
                    self._wake()
                return WAITS, 0
        self.fence = max(self.fence + 1, self.now)
        return HELD, self.fence

    def ahead(self, id: str, token: str) -> int:
        """Return how many come before a task that waits to have its slot again; 0 where it does not."""
        state = self.ids[id]
        since = state.back.get(token)
        if since is None:
            return 0
        earlier = sum(at < since for at in state.waiting.values()) - max(state.fetching, 0)
        return sum(at < since for at in state.back.values()) + max(earlier, 0)

    def _hand_back(self, id: str) -> None:
        """Free slots go to the tasks that want theirs again, in turn."""
        state = self.ids[id]
        while state.back and not self.recovery_ms and state.limit_now is not None and state.free > 0:
            token, since = min(state.back.items(), key=lambda item: item[1])
            earlier = [at for at in state.waiting.values() if at < since]
            name = f"{id} 1" if state.weights else id
            ready = [self.ready[fleet][name] for fleet in self.fleets if name in self.ready[fleet]]
            wanted = any(self.now - at < WANTED_US for at in ready)
            if len(earlier) > max(state.fetching, 0) and wanted:
                return
            if state.weights and self.available(id, id, since) <= 0:
                return  # it is left free for one that waits longer
            del state.back[token]
            state.slots[token] = state.away.pop(token)
            self._note_ready()

    # An operator's verbs

    def set_limit(self, id: str, limit: int | None, lasts_us: int, by: str, note: str) -> bool:
        self._lapse()
        state = self.ids[id]
        before, state.override = bool(state.override), {}
        if limit is not None:
            state.override = {"override": limit, "override_by": by, "override_note": note, "override_at": self.now}
            if lasts_us:
                state.override["override_until"] = self.now + lasts_us
        self._changed(id)
        return before

    def set_pause(self, id: str, pause: bool, by: str, note: str) -> bool:
        self._lapse()
        state = self.ids[id]
        before, state.pause = bool(state.pause), {}
        if pause:
            state.pause = {"paused": 1, "paused_by": by, "paused_note": note, "paused_at": self.now}
        self._changed(id)
        return before

    def free_by_hand(self, id: str, token: str) -> tuple[Slot, bool] | None:
        """Return the slot and whether its holder was reached."""
        slot = self.ids[id].slots.pop(token, None)
        if slot is None:
            return None
        told = self._tell(slot.worker, f"released {token}")
        self._refresh({id, *dict(parts(slot.needs))})
        if not self.recovery_ms:
            self._wake()
        return slot, told

    def look(self) -> None:
        self._lapse()
        if self.lapsed and not self.recovery_ms:
            self._wake()

    def _changed(self, id: str) -> None:
        self._recall(id)
        self._refresh({id})
        if not self.recovery_ms:
            self._wake()

    def _recall(self, id: str) -> None:
        """Holders of more slots than the id may have keep none of them."""
        if self.ids[id].free < 0:
            self._tell_holders(id)

    def _tell_holders(self, id: str) -> None:
        units = {worker for worker, _ in self.ids[id].units.values()}
        for worker in units | {slot.worker for slot in self.ids[id].slots.values()}:
            self._tell(worker, f"recall {id}")

    def _lapse(self) -> None:
        """Overrides end in time."""
        ends = [(state.override.get("override_until", math.inf), id) for id, state in self.ids.items()]
        for until, id in sorted(ends):
            if until <= self.now:
                self.ids[id].override = {}
                self._recall(id)
                self.lapsed = True
                self._refresh({id})

    # What they share

    @property
    def fleets(self) -> set[str]:
        return {lease.fleet for lease in self.leases.values()}

    @property
    def recovery_ms(self) -> int:
        return max(0, math.ceil((self.recover_until - self.now) / 1000))

    def held(self, worker: str) -> set[str]:
        """Return the tokens of the slots that a worker has."""
        return {token for state in self.ids.values() for token, slot in state.all.items() if slot.worker == worker}

    def longest_ready(self, fleet: str) -> str:
        return min(self.ready[fleet], key=lambda id: (self.ready[fleet][id], id))

    def line(self, fleet: str, limit: str, weight: int) -> list[tuple[int, str]]:
        """Return who stands in line for a limit, and since when, the oldest first."""
        return sorted(
            (each.since, each.name)
            for each in self.ids.values()
            if each.since is not None
            and each.stands == limit
            and (limit, weight) in each.line_needs
            and self._serves(fleet, each.name)
        )

    def hungry_for(self, limit: str) -> list[tuple[int, str, int]]:
        """Return for whom slots of a limit are left free: since when it waits, its name and how many."""
        return sorted(
            (self.ids[lane].since or 0, lane, weight)
            for lane in self.hungry
            for each, weight in self.ids[lane].line_needs
            if each == limit
        )

    def available(self, limit: str, lane: str, since: int) -> float:
        """Return how many slots of a limit a lane may have that waits since then."""
        state = self.ids[limit]
        free = 0 if state.pause else state.room
        for older, first, weight in self.hungry_for(limit)[:1]:
            if first != lane and (older, first) < (since, lane) and not state.pause and state.limit_now is not None:
                free -= weight
        return free

    def lines_ready(self, fleet: str) -> dict[str, int]:
        found = {}
        for id in list(self.ids):
            for weight in self.ids[id].weights:
                for since, first in self.line(fleet, id, weight)[:1]:
                    if self.available(id, first, since) >= weight:
                        found[f"{id} {weight}"] = since
        return found

    def _contended(self, id: str) -> bool:
        waiting = [
            name
            for fleet in self.fleets
            for weight in self.ids[id].weights
            for _, name in self.line(fleet, id, weight)
            if name != id
        ]
        return bool(waiting or (self.ids[id].weights and self.hungry_for(id)))

    def _keeps(self, fleet: str, id: str, needs: str) -> tuple[bool, bool]:
        """Return whether a worker keeps its slot when its task ends, and whether it may fetch the next task ahead.

        A slot goes back where more are held than the limit allows, or where another id waits for its turn. Nothing is
        fetched ahead that another worker could start.
        """
        free, limited = self.ids[id].free, self.ids[id].limit_now is not None
        own = f"{id} 1" if self.ids[id].weights else id
        keep = limited and free >= 0 and not self.ids[id].back and set(self.ready[fleet]) <= {own}
        keep = keep and not needs and not self._contended(id)
        return keep, keep and free == 0

    def _admit(self, worker: str, run: str) -> str:
        if self.run != run:
            return "epoch"
        self._forgive()
        lease = self.leases.get(worker)
        if lease is None:
            return "lost"
        if self.now - lease.heard > lease.lasts:
            self._expire(worker)
            self._wake()
            return "lost"
        lease.heard = self.now
        self._lapse()
        return "ok"

    def _forgive(self) -> None:
        """Where nobody at all was heard, the silence was the server's, and costs nobody a lease."""
        if self.leases and self.now - max(lease.heard for lease in self.leases.values()) > SHORT_US:
            for lease in self.leases.values():
                lease.heard = self.now

    def _expire(self, worker: str) -> int:
        lease = self.leases.pop(worker, None)
        if lease is not None:
            self.idle[lease.fleet].pop(worker, None)
            if lease.fleet not in self.fleets:
                self.serves[lease.fleet].clear()
        held = self.held(worker)
        touched = {id for id, state in self.ids.items() if held & set(state.all)}
        freed = {limit for id in touched for token in held for limit in self._limits_of(id, token)}
        for id in touched:
            for token in held:
                self.ids[id].drop(token)
            if id in self.directory.used:
                self.directory.used[id] = self.now
        self._refresh(touched | freed)
        return len(held)

    def _limits_of(self, id: str, token: str) -> list[str]:
        """Return the other limits that a slot takes slots of."""
        slot = self.ids[id].slots.get(token)
        return [limit for limit, _ in parts(slot.needs)] if slot else []

    def _serves(self, fleet: str, id: str) -> bool:
        return fleet in self.fleets and bool(self.serves[fleet] & {id, self.ids[id].family})

    def _refresh(self, touched: Iterable[str]) -> None:
        """Which ids are ready is always known; what becomes of free slots is looked at where something happened."""
        self._note_ready()
        for id in sorted(touched):
            self._hand_back(id)

    def _note_ready(self) -> None:
        for state in list(self.ids.values()):
            if state.waits_in_line and state.since is None:
                state.since, state.stands = self.now, state.line_needs[0][0]
            elif not state.waits_in_line and state.since is not None:
                state.since, state.stands = None, ""
                self._sate(state.name)
        for lane in list(self.hungry):
            self._reconsider(lane)
        for fleet in [*self.ready, *self.fleets]:
            before = self.ready[fleet]
            ready = {id for id, state in self.ids.items() if state.is_ready and self._serves(fleet, id)}
            ready = {id for id in ready if id in before or (fleet, self.ids[id].family) not in self._not_adopted}
            self.ready[fleet] = {id: before.get(id, self.now) for id in ready}
            if fleet in self.fleets:
                self.ready[fleet] |= self.lines_ready(fleet)

    def _wake(self) -> None:
        for fleet in self.fleets:
            idle = self.idle[fleet]
            while self.ready[fleet] and idle:
                first = min(idle, key=lambda worker: (idle[worker], worker))
                del idle[first]
                if self._tell(first, "invite"):
                    break

    def _tell(self, worker: str, word: str) -> bool:
        if worker not in self.listening:
            return False
        self.mail[worker].append(word)
        return True

    def _tell_all(self, word: str) -> None:
        for worker in self.listening:
            self.mail[worker].append(word)
