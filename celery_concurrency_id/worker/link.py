"""The worker's line to the semaphore: one thread that beats, reports and acquires, so that nothing else has to wait."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable

from ..exceptions import SemaphoreUnavailable
from ..notes import Notes
from ..semaphore.semaphore import SHORT_TIER, Report, Semaphore, Turn
from .compat import clock
from .directory import Directory

__all__ = ("Link",)

logger = logging.getLogger(__name__)

#: Seconds between heartbeats: less than one a second, and soon enough for the short tier.
BEAT = 1.1
#: Seconds that reports which nobody waits for may wait for others to go with them: long enough for the hand-off that
#: made the first to be over, and longer where so many come that a call for each would cost more than it tells.
_LINGER = 0.003
_LINGER_AMONG_MANY = 0.01
_MANY = 3
#: Seconds between tries to reach a Redis that is away.
_RETRY = 0.2
#: A worker starts work on a slot it kept only while Redis cannot have taken it for dead.
_FRESH = SHORT_TIER - 0.3


class Link:
    """Owns the semaphore connection and the worker's lease.

    Args:
        semaphore: Only this thread uses it.
        host: The worker's node name, for operators.
        fleet: Names the set of ids served.
        limits: Limit of each id served (0: no limit).
        lease: Seconds.
        mailbox_ready: Waits for the mailbox to listen; a lease begins with it.
        owner: Gets ``turned(turn, want)``, ``joined(lost, blind)``, ``invited()``, ``look_up(cursor, ids)``,
            ``silent(ids and marks, since)`` and ``at_rest()``, called in this thread; ``recalled(id)`` and
            ``released(token)``, in that of the mailbox.
        directory: What is remembered of ids that were made for calls.
        notes: What tasks say of slots that they have given back for a while.
        needs: What the tasks of some of these ids need of other limits.
    """

    def __init__(
        self,
        semaphore: Semaphore,
        host: str,
        fleet: str,
        limits: Mapping[str, int],
        lease: float,
        mailbox_ready: Callable[[float], Any],
        owner: Any,
        directory: Directory,
        notes: Notes | None = None,
        needs: Mapping[str, str] | None = None,
    ) -> None:
        self._semaphore = semaphore
        self._host = host
        self._fleet = fleet
        self._limits = dict(limits)
        self._needs = dict(needs or {})
        self._lease = lease
        self._mailbox_ready = mailbox_ready
        self._owner = owner
        self._directory = directory
        self._notes = notes
        self._retired: list[tuple[str, str]] = []
        self._clock = clock()
        self._news = threading.Condition()
        self._reports: list[Report] = []
        self._want = 0
        self._urgent = False
        self._lengths: dict[str, int] = {}
        self._beat_now = False
        self._nudged = False
        self._held: dict[str, tuple[str, str, str]] = {}
        #: Slots given back of which the semaphore does not know yet: to it, they are held.
        self._leaving: set[str] = set()
        #: How often the lease has begun; what was granted before the last time counts only once the owner knows of it.
        self.joins = 0
        #: What went wrong and was mended, since the worker started.
        self.counts = {
            "leases_lost": 0,
            "outages": 0,
            "recoveries": 0,
            "repairs": 0,
            "resyncs": 0,
            "unannounced": 0,
            "workers_expired": 0,
        }
        self._joined = False
        self._served = self._adopts = False
        self._away_since: float | None = None
        self._answered = float("-inf")
        self._stopped = False
        self._refusing = False
        self._recalls = 0
        self._thread = threading.Thread(target=self._run, name="concurrency-link", daemon=True)

    # Called by the gate, from its own thread.

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def report(self, report: Report, urgent: bool = False) -> None:
        """Tell the semaphore what happened to a slot; nobody waits for it."""
        with self._news:
            if report.kind in ("release", "drop"):
                if self._notes is not None:
                    self._notes.forget(report.token)
                if self._held.pop(report.token, None) is not None:
                    self._leaving.add(report.token)
            elif report.kind == "start" and report.token in self._held:
                self._held[report.token] = (report.id, report.task, self._held[report.token][2])
            self._reports.append(report)
            if urgent:
                self._urgent = True
                self._news.notify()

    def nudge(self) -> None:
        """Send what was reported, soon: the caller has nothing more important to do."""
        if self._reports and not self._nudged:
            with self._news:
                self._nudged = True
                self._news.notify()

    def ask(self, want: int) -> None:
        """Acquire up to ``want`` slots, or become idle; the reply goes to ``owner.turned``."""
        with self._news:
            self._want = want
            self._urgent = True
            self._news.notify()

    def refuse(self, refusing: bool) -> None:
        """Give back at once what is granted from now on: nobody here can use it."""
        with self._news:
            self._refusing = refusing

    def flush(self) -> None:
        """Send what there is now; lets the semaphore invite somebody else."""
        with self._news:
            self._urgent = True
            self._news.notify()

    def tell_lengths(self, lengths: Mapping[str, int]) -> None:
        """Hand over queue lengths; they go with the next heartbeat."""
        with self._news:
            self._lengths.update(lengths)
            if any(lengths.values()):
                self._beat_now = True
                self._news.notify()

    def tell_retired(self, silent: list[tuple[str, str]]) -> None:
        """Say which silent ids may be forgotten, by their marks; those without one may not."""
        with self._news:
            self._retired += silent
            self._beat_now = True
            self._news.notify()

    def rejoin(self) -> None:
        """Join again: the semaphore lost what it knew."""
        with self._news:
            self._joined = False
            self._urgent = True
            self._news.notify()

    def recall(self, id: str) -> None:
        """An operator lowered or paused an id; empty: this worker may have missed that of any."""
        with self._news:
            # What an answer under way says of keeping slots was true before that.
            self._recalls += 1
            self._owner.recalled(id)

    def released(self, token: str) -> None:
        """An operator freed a slot that is held here."""
        with self._news:
            self._held.pop(token, None)
        if self._notes is not None:
            self._notes.forget(token)
        self._owner.released(token)

    def given_back(self, token: str) -> bool:
        """Say whether a task has given its slot back for a while: no other task may have it after that one.

        It may be somebody else's; and where the task has it again, its number is older than the task's fencing token.
        """
        return self._notes is not None and self._notes.was_away(token)

    def age(self, since: float) -> float:
        """Return the seconds since a moment of this line's clock."""
        return self._clock() - since

    def fresh(self) -> bool:
        """Say whether the lease is certain to stand: whether a slot that was kept may take another task."""
        return self._clock() - self._answered < _FRESH

    @property
    def away(self) -> bool:
        """Whether the semaphore cannot be reached."""
        return self._away_since is not None

    def stop(self, patience: float = 3.0) -> None:
        """Send what is left, end the lease and the thread."""
        with self._news:
            self._stopped = True
            self._news.notify()
        if self._thread.ident is not None:
            self._thread.join(patience)

    # In the link's own thread.

    def _run(self) -> None:
        next_beat = 0.0
        while True:
            reports, want, urgent = self._wait(next_beat)
            try:
                if not self._joined:
                    self._join()
                    next_beat = self._clock() + BEAT
                if reports or want or urgent:
                    self._turn(reports, want)
                if self._beat_now or self._clock() >= next_beat:
                    next_beat = self._clock() + BEAT
                    self._beat()
                if self._stopped and not self._reports:
                    self._semaphore.leave()
                    self._semaphore.close()
                    return
            except SemaphoreUnavailable as exc:
                self._lost_touch(exc, want)
                if self._stopped:
                    return
            except Exception:
                logger.exception("concurrency: the line to the semaphore failed; this is a bug")
                self._lost_touch(SemaphoreUnavailable("internal error"), want)

    def _wait(self, next_beat: float) -> tuple[list[Report], int, bool]:
        with self._news:
            if self._away_since is not None and not self._stopped:
                self._news.wait(_RETRY)
            while not (self._urgent or self._want or self._beat_now or self._stopped or not self._joined):
                left = next_beat - self._clock()
                if left <= 0:
                    break
                if self._reports:
                    self._news.wait(min(left, _LINGER))
                    if len(self._reports) >= _MANY and not self._urgent:
                        self._news.wait(min(left, _LINGER_AMONG_MANY - _LINGER))
                    break
                self._news.wait(left)
            reports, self._reports = self._reports, []
            self._leaving.clear()
            want, self._want = 0 if self._refusing else self._want, 0
            urgent, self._urgent, self._nudged = self._urgent, False, False
            return reports, want, urgent

    def _join(self) -> None:
        self._mailbox_ready(1.0)
        sent = self._clock()
        with self._news:
            held = [(id, token, task, needs) for token, (id, task, needs) in self._held.items()]
            self._leaving.clear()  # what is not said to be held is free
        away = self._notes.away() if self._notes is not None else ()
        joined = self._semaphore.join(self._host, self._fleet, self._lease, held, away)
        if joined.serve or not self._served:
            self._semaphore.serve(self._fleet, self._limits, self._directory.families, self._needs)
            self._served = True
        self._adopts = self._adopts or joined.serve
        if self._adopts:
            self._semaphore.adopt()
            self._adopts = False
        if self.joins:
            # Redis may have lost them, with everything else.
            self._semaphore.learn(self._directory.known())
        with self._news:
            for token in joined.lost:
                if self._notes is not None:
                    self._notes.forget(token)
                self._held.pop(token, None)
                self._leaving.discard(token)
            self._joined = True
            self.joins += 1
        self._answered = sent
        blind = joined.began or self._away_since is not None
        self.counts["recoveries"] += joined.began
        if joined.began and held:
            logger.warning("concurrency: the semaphore lost its state; live workers tell it what they hold")
        if self._away_since is not None:
            logger.warning("concurrency: the semaphore is back after %.1f s", self._clock() - self._away_since)
            self._away_since = None
        self._owner.joined(frozenset(joined.lost), blind)

    def _turn(self, reports: list[Report], want: int) -> None:
        sent, recalls = self._clock(), self._recalls
        turn = self._semaphore.turn(want, True, reports)
        if turn.status != "ok":
            self._excluded(turn.status)
            turn = Turn(turn.status)
        else:
            self._answered = sent
            with self._news:
                if self._refusing:
                    self._reports += [Report("release", grant.id, grant.token) for grant in turn.grants]
                    self._leaving.update(grant.token for grant in turn.grants)
                    turn = replace(turn, grants=())
                    self._urgent = True
                for grant in turn.grants:
                    self._held[grant.token] = (grant.id, "", grant.needs)
                gone = {each.token for each in turn.verdicts if not each.held and each.token in self._held}
            if gone:
                # Somebody deleted them: what becomes of them is for the next join to say.
                turn = replace(turn, verdicts=tuple(each for each in turn.verdicts if each.token not in gone))
                self._disagreed()
            self._directory.hear((grant.id, grant.family) for grant in turn.grants if grant.family)
        with self._news:
            if self._recalls != recalls:
                turn = turn.keeping_nothing()
            self._owner.turned(turn, want)

    def _beat(self) -> None:
        if self._notes is not None and self._notes.take_untold():
            return self.rejoin()  # which tells it
        sent = self._clock()
        with self._news:
            self._beat_now = False
            tokens, (lengths, self._lengths) = [*self._held, *self._leaving], (self._lengths, {})
            retired, self._retired = self._retired, []
        if retired:
            self._semaphore.retire(retired)
        directory = self._directory
        beat = self._semaphore.beat(self._owner.at_rest(), tokens, lengths, directory.batch, directory.ttl)
        if beat.status != "ok":
            return self._excluded(beat.status)
        self._answered = sent
        self.counts["workers_expired"] += len(beat.expired)
        self.counts["repairs"] += beat.repaired + beat.serve
        self.counts["unannounced"] += sum(tasks for _, tasks in beat.mended)
        for _, host, slots in beat.expired:
            logger.warning("concurrency: worker %s is gone; %d slots it held are free", host, slots)
        for id, tasks in beat.mended:
            logger.debug("concurrency: %d tasks wait in %r that nobody had announced", tasks, id)
        if beat.resync:
            self._disagreed()
        if beat.repaired:
            logger.warning("concurrency: %d entries of the semaphore were wrong, and were set right", beat.repaired)
        if beat.serve:
            logger.warning("concurrency: the semaphore had no limit for some ids; it is told again")
            self._semaphore.serve(self._fleet, self._limits, self._directory.families, self._needs)
        if beat.invited:
            self._owner.invited()
        if beat.cursor >= 0:
            directory.hear(beat.lookups)
            self._owner.look_up(beat.cursor, [id for id, _ in beat.lookups])
        if beat.silent:
            self._owner.silent(beat.silent, sent)

    def _disagreed(self) -> None:
        self.counts["resyncs"] += 1
        logger.warning("concurrency: the semaphore and this worker disagreed on the slots it holds; mending")
        self.rejoin()

    def _excluded(self, status: str) -> None:
        self._joined = False
        self._answered = float("-inf")
        if status == "lost":
            self.counts["leases_lost"] += 1
            logger.warning("concurrency: this worker's lease lapsed; its slots may have gone to others")

    def _lost_touch(self, exc: Exception, want: int) -> None:
        self._joined = False
        self._semaphore.close()
        if self._away_since is None:
            self._away_since = self._clock()
            self.counts["outages"] += 1
            logger.error(
                "concurrency: the semaphore cannot be reached (%s): no new task with a concurrency limit starts until "
                "it is back; running ones and all others go on",
                exc,
            )
        if want:
            self._owner.turned(Turn("away"), want)
