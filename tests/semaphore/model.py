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
from semaphore.directory import Directory

RECOVERY_US = RECOVERY_MS * 1000
SHORT_US = int(SHORT_TIER * 1e6)
#: How often one worker of a fleet looks up queue lengths, in microseconds.
POLL_US = 2_000_000
#: How often one worker of a fleet holds slots against their holders, in microseconds.
AUDIT_US = 1_000_000
#: How long a start is remembered whose announcement has not come, in microseconds.
EARLY_US = 30_000_000
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


@dataclass
class Id:
    """One concurrency id; ``limit`` is None until somebody says it, and 0 for no limit. One that was made for a call
    has a ``family``, and its queue may be about to be deleted until ``retiring``.

    ``override`` and ``pause`` are what an operator said: fields of Redis' hash.
    """

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

    @property
    def fetching(self) -> int:
        return sum(not slot.running for slot in self.slots.values())

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
        return math.inf if self.limit_now == 0 else self.limit_now - len(self.slots)

    @property
    def free(self) -> float:
        return -1 if self.pause and self.limit_now is not None else self.room

    @property
    def is_ready(self) -> bool:
        return self.free > 0 and self.claimable > 0


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
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self.listening: set[str] = set()
        self.mail: dict[str, list[str]] = defaultdict(list)
        self.lapsed = False
        self.forget()

    def forget(self) -> None:
        """Lose all data."""
        self.run: str | None = None
        self.recover_floor = self.recover_until = 0
        self.fence = 0
        self.awaited: set[str] = set()
        self.ids: dict[str, Id] = defaultdict(Id)
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
            state.waiting[f"{task}:{retries}"] = state.seq
        self._refresh()
        self._wake()

    def join(
        self, worker: str, run: str, uptime_us: int, fleet: str, lasts: int, held: Iterable[tuple[str, str, str]]
    ) -> tuple[bool, int, list[str], bool]:
        """Return whether to serve, the recovery in ms, the tokens lost and whether a recovery began."""
        self._forgive()
        began = self.run != run
        if began:
            self._begin_recovery(run, uptime_us)
        self.awaited.discard(worker)
        if self.recovery_ms and not self.awaited:
            self.recover_until = max(self.now, self.recover_floor)
            if not self.recovery_ms:
                self._tell_all("invite")
        if fleet not in self.fleets:
            self.serves[fleet].clear()
        self.leases[worker] = Lease(fleet, lasts, self.now)
        self.idle[fleet].pop(worker, None)
        lost = self._compare_slots(worker, list(held))
        self._refresh()
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

    def _compare_slots(self, worker: str, held: list[tuple[str, str, str]]) -> list[str]:
        lost = []
        for id, token, task in held:
            state = self.ids[id]
            if token in state.slots:
                slot = state.slots[token]
                if task and not slot.running:
                    slot.running, slot.task = True, task
            elif self.recovery_ms or state.limit_now is None or state.room > 0:
                state.slots[token] = Slot(worker, True, task)
            else:
                lost.append(token)
        offered = {token for _, token, _ in held}
        for state in self.ids.values():
            for token in [token for token, slot in state.slots.items() if slot.worker == worker]:
                if token not in offered:
                    del state.slots[token]
        return lost

    def serve(self, fleet: str, limits: dict[str, int], families: Iterable[str] = ()) -> None:
        for id, limit in limits.items():
            self.serves[fleet].add(id)
            state = self.ids[id]
            state.limit = limit
            if state.family:  # from now on some task always has it
                state.family = ""
                self.directory.forget(id)
            self._refresh()
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
        self._refresh()
        if not self.recovery_ms:
            self._wake()

    def learn(self, each: Iterable[Known]) -> int:
        """Return the milliseconds until the queues of these ids may be declared."""
        retiring = 0
        for known in each:
            self._know(known)
            retiring = max(retiring, self.ids[known.id].retiring)
        self._refresh()
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
        return bool(state.slots or state.waiting or state.reserved or state.unseen > 0 or state.override or state.pause)

    def turn(
        self, worker: str, run: str, want: int, may_idle: bool, reports: Iterable[Report]
    ) -> tuple[str, list[Verdict], list[Grant], int, bool]:
        """Return the status, verdicts, grants, recovery in ms and whether it is now registered as idle."""
        status = self._admit(worker, run)
        if status != "ok":
            return status, [], [], 0, False
        fleet = self.leases[worker].fleet
        started = []
        for report in reports:
            held = self._report(worker, report)
            if report.kind in ("start", "resume"):
                started.append((report.id, report.token, held))
        self._refresh()
        granted = []
        while len(granted) < want and not self.recovery_ms and self.ready[fleet]:
            id = self.longest_ready(fleet)
            self.fence = max(self.fence + 1, self.now)
            self.ids[id].slots[str(self.fence)] = Slot(worker, False, "")
            for ready in self.ready.values():
                ready.pop(id, None)
            self._refresh()
            granted.append((id, str(self.fence), self.ids[id].seq, self.ids[id].claimable))
        if want and not self.recovery_ms:
            if may_idle and len(granted) < want:
                self.idle[fleet].setdefault(worker, self.now)
            else:
                self.idle[fleet].pop(worker, None)
        self._wake()
        verdicts = []
        for id, token, held in started:
            keep, ahead = self._keeps(fleet, id) if held else (False, False)
            verdicts.append(Verdict(token, keep, held, self.ids[id].claimable, ahead))
        grants = [Grant(*grant, *self._keeps(fleet, grant[0]), self.ids[grant[0]].family) for grant in granted]
        return "ok", verdicts, grants, self.recovery_ms, worker in self.idle[fleet]

    def _report(self, worker: str, report: Report) -> bool:
        """Take in one report; return whether the slot was still held."""
        state = self.ids[report.id]
        held = report.token in state.slots
        if report.kind in ("start", "skip"):
            self._no_longer_waiting(state, report.task, report.number)
        if report.kind == "park":
            self._no_longer_waiting(state, report.task, report.number)
            state.reserved[f"{report.task}:{report.number}"] = self.now + 1000 * int(report.token)
        if report.kind == "back":
            state.waiting[f"{report.task}:{report.number}"] = min(state.waiting.values(), default=state.seq) - 1
            state.seq += 1
        if report.kind in ("start", "resume") and held:
            state.slots[report.token] = Slot(worker, True, report.task)
        if report.kind == "drop" and state.seq == report.number:
            state.waiting.clear()
            state.unseen = 0
        if report.kind in ("release", "drop"):
            state.slots.pop(report.token, None)
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
        mended = []
        for id, length in lengths.items():
            state = self.ids[id]
            on_their_way = sum(0 <= self.now - at <= ON_THEIR_WAY_US for at in state.reserved.values())
            unseen, state.unseen = state.unseen, max(0, length - len(state.waiting) - on_their_way)
            if state.unseen > unseen:
                mended.append((id, state.unseen))
        self._refresh()
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
        self._refresh()
        if not self.recovery_ms:
            self._wake()
        return slot, told

    def look(self) -> None:
        self._lapse()
        if self.lapsed and not self.recovery_ms:
            self._wake()

    def _changed(self, id: str) -> None:
        self._recall(id)
        self._refresh()
        if not self.recovery_ms:
            self._wake()

    def _recall(self, id: str) -> None:
        """Holders of more slots than the id may have keep none of them."""
        if self.ids[id].free < 0:
            for worker in {slot.worker for slot in self.ids[id].slots.values()}:
                self._tell(worker, f"recall {id}")

    def _lapse(self) -> None:
        """Overrides end in time."""
        ends = [(state.override.get("override_until", math.inf), id) for id, state in self.ids.items()]
        for until, id in sorted(ends):
            if until <= self.now:
                self.ids[id].override = {}
                self._recall(id)
                self.lapsed = True
        self._refresh()

    # What they share

    @property
    def fleets(self) -> set[str]:
        return {lease.fleet for lease in self.leases.values()}

    @property
    def recovery_ms(self) -> int:
        return max(0, math.ceil((self.recover_until - self.now) / 1000))

    def held(self, worker: str) -> set[str]:
        """Return the tokens of the slots that a worker has."""
        return {token for state in self.ids.values() for token, slot in state.slots.items() if slot.worker == worker}

    def longest_ready(self, fleet: str) -> str:
        return min(self.ready[fleet], key=lambda id: (self.ready[fleet][id], id))

    def _keeps(self, fleet: str, id: str) -> tuple[bool, bool]:
        """Return whether a worker keeps its slot when its task ends, and whether it may fetch the next task ahead.

        A slot goes back where more are held than the limit allows, or where another id waits for its turn. Nothing is
        fetched ahead that another worker could start.
        """
        free, limited = self.ids[id].free, self.ids[id].limit_now is not None
        keep = limited and free >= 0 and set(self.ready[fleet]) <= {id}
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
        for id, state in self.ids.items():
            for token in held:
                if state.slots.pop(token, None) and id in self.directory.used:
                    self.directory.used[id] = self.now
        self._refresh()
        return len(held)

    def _serves(self, fleet: str, id: str) -> bool:
        return fleet in self.fleets and bool(self.serves[fleet] & {id, self.ids[id].family})

    def _refresh(self) -> None:
        for fleet in [*self.ready, *self.fleets]:
            before = self.ready[fleet]
            ready = {id for id, state in self.ids.items() if state.is_ready and self._serves(fleet, id)}
            ready = {id for id in ready if id in before or (fleet, self.ids[id].family) not in self._not_adopted}
            self.ready[fleet] = {id: before.get(id, self.now) for id in ready}

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
