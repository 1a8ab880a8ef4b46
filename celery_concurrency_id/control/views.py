"""What an operator is told, as frozen dataclasses. Times are seconds since 1970 by Redis' clock, ages seconds."""

from __future__ import annotations

from dataclasses import dataclass

from .expected import Expected

__all__ = (
    "Away",
    "Drained",
    "Holder",
    "IdDetails",
    "IdStatus",
    "Observed",
    "Override",
    "Pause",
    "Position",
    "Waiting",
    "Why",
)


@dataclass(frozen=True)
class Override:
    """A limit that an operator set.

    Attributes:
        limit: The limit; None for no limit.
        until: When it ends by itself; None for never.
        by: Who set it.
        note: Why.
        at: When it was set.
    """

    limit: int | None
    until: float | None
    by: str
    note: str
    at: float


@dataclass(frozen=True)
class Pause:
    """That an operator paused an id.

    Attributes:
        by: Who paused it.
        note: Why.
        at: When.
    """

    by: str
    note: str
    at: float


@dataclass(frozen=True)
class IdStatus:
    """How a concurrency id is.

    Attributes:
        id: The concurrency id.
        limit: The limit that holds now; None for no limit.
        source: Where that comes from: ``"override"`` (an operator), ``"concurrency_limits"``, ``"task"``,
            ``"default"``, or ``"workers"``: the workers say another number than the code of this app.
        code_limit: The limit without the override.
        override: What an operator set.
        pause: Set while it is paused.
        running: Slots that are taken.
        waiting: Tasks that wait.
        oldest_wait: Seconds since the first waiting task was announced; None where none waits, or none was announced.
        workers: Workers that are alive and serve it.
        taken: Announced tasks that have left the queue so far: the difference of two looks makes a rate.
        observes: The limit that only watches; None where there is none. ``limit`` is then None, or an override.
    """

    id: str
    limit: int | None
    source: str
    code_limit: int | None
    override: Override | None
    pause: Pause | None
    running: int
    waiting: int
    oldest_wait: float | None
    workers: int
    taken: int
    observes: int | None = None

    @property
    def runnable(self) -> int:
        """Waiting tasks for which a slot is free: all they need is a worker."""
        if self.pause is not None:
            return 0
        return self.waiting if self.limit is None else max(0, min(self.waiting, self.limit - self.running))

    @property
    def blocked(self) -> int:
        """Waiting tasks that the limit or a pause holds back: more workers would not start them."""
        return self.waiting - self.runnable


@dataclass(frozen=True)
class Holder:
    """A slot that is taken.

    Attributes:
        token: Names the slot; what ``release`` wants.
        task: The id of the task in it; empty while one is being fetched.
        worker: Node name of the worker; empty if its lease is over.
        since: When the task started, or the slot was granted.
        age: Seconds since then.
        lease_age: Seconds since the worker was last heard; None if its lease is over.
        name: The name of the task; empty where it is not known.
    """

    token: str
    task: str
    worker: str
    since: float
    age: float
    lease_age: float | None
    name: str = ""


@dataclass(frozen=True)
class Away:
    """A slot that its task has given back for a while (``yield_slot``): the task runs, and the slot is anybody's.

    Attributes:
        token: Names the slot.
        task: The id of the task; empty where its worker has yet to say it.
        worker: Node name of the worker that runs it; empty if its lease is over.
        since: When the slot was given back; after a loss of data, when the worker told the new Redis so.
        age: Seconds since then.
        lease_age: Seconds since the worker was last heard; None if its lease is over.
        wants_since: Since when the task waits to have its slot again; None while it does not.
        waits: Seconds since then; None while it does not wait.
        ahead: How many tasks come before it: those that wait for their slots since before, and waiting tasks that are
            older. They come after it where no worker has a place for them. None while it does not wait.
        name: The name of the task; empty where it is not known.
    """

    token: str
    task: str
    worker: str
    since: float
    age: float
    lease_age: float | None
    wants_since: float | None = None
    waits: float | None = None
    ahead: int | None = None
    name: str = ""


@dataclass(frozen=True)
class Waiting:
    """A task that waits.

    Attributes:
        task: Its id.
        retries: How often it was retried.
        rank: Its place in the line, from 0.
        since: When it was announced.
        age: Seconds since then.
        name: The name of the task; empty where it is not known.
    """

    task: str
    retries: int
    rank: int
    since: float
    age: float
    name: str = ""


@dataclass(frozen=True)
class IdDetails:
    """An id with who holds its slots, the oldest first, what waits first, and who has given a slot back for a while:
    those that wait to have theirs again first, in turn."""

    status: IdStatus
    holders: tuple[Holder, ...]
    head: tuple[Waiting, ...]
    away: tuple[Away, ...] = ()


@dataclass(frozen=True)
class Observed:
    """What a limit that only watches would have done since it began to watch.

    Attributes:
        id: The concurrency id.
        limit: The limit that is tried.
        since: When it began.
        seconds: How long ago that is.
        tasks: Tasks that started since.
        running: How many run now.
        peak: The most that ran at once: a limit of so many would have stopped nothing.
        waited: How many tasks would have waited for a slot.
        waiting: How many of those that run, or have ended, would still wait now.
        line: The most that would have waited at once.
        wait_mean: Seconds that those which would have waited would have waited, on average, as far as they would have
            started by now; None where there is none.
        wait_median: The wait that half of them would not have exceeded, in seconds; rounded up to a power of two of
            milliseconds.
        wait_95: The same for 95 of 100.
        wait_longest: The longest wait of one of them, in seconds.
        beyond: Tasks that came while 1000 would have waited already. They are in none of the other figures but
            ``tasks`` and ``peak``: where there are any, the limit is far too low, and the waits would have been longer.
    """

    id: str
    limit: int
    since: float
    seconds: float
    tasks: int
    running: int
    peak: int
    waited: int
    waiting: int
    line: int
    wait_mean: float | None
    wait_median: float | None
    wait_95: float | None
    wait_longest: float | None
    beyond: int


@dataclass(frozen=True)
class Drained:
    """What came of draining an id, which stays paused.

    Attributes:
        id: The concurrency id.
        done: Whether nothing runs any more.
        running: Slots that are still taken.
        waiting: Tasks that wait for the id to be resumed.
    """

    id: str
    done: bool
    running: int
    waiting: int


@dataclass(frozen=True)
class Position:
    """Where a task is.

    Attributes:
        task: Its id.
        state: ``"waiting"``, ``"running"``, ``"held"`` (it waits for its next try), ``"done"``, or ``"unknown"``: it
            neither waits nor runs under a limit as far as Redis knows, and the result backend knows of no end.
        id: Its concurrency id, where that is known.
        rank: How many tasks are ahead of it, while it waits.
        waiting: How many tasks of the id wait, where that is known.
        running: How many slots of the id are taken, where that is known.
        limit: How many may be; None for no limit, or where it is not known.
        starts_in: Seconds until it starts, while it waits; None where nobody can tell.
        ends_in: Seconds until it ends, while it waits or runs; None where nobody can tell.
        at: When this was so: seconds since 1970 by Redis' clock; None where Redis knows nothing of it.
    """

    task: str
    state: str
    id: str | None = None
    rank: int | None = None
    waiting: int | None = None
    running: int | None = None
    limit: int | None = None
    starts_in: Expected | None = None
    ends_in: Expected | None = None
    at: float | None = None


@dataclass(frozen=True)
class Why:
    """Where a task is, and why it does not run.

    Attributes:
        task: Its id.
        state: ``"running"``, ``"away"`` (it runs without its slot, which it has given back for a while, or waits to
            have it again), ``"waiting"``, ``"done"`` (or whatever the result backend knows of it), ``"held"`` (a
            worker has it: it is not due, or waits for its rate limit), ``"unknown"``, or ``"unavailable"`` (Redis
            cannot be reached).
        reasons: What to know about it, the most important first; never empty.
        id: Its concurrency id, where that is known.
        place: Where it waits.
        holder: The slot it runs in.
        details: How its id is.
        position: Where it is in the line by the broker's order, and when it is expected to start and to end, while it
            waits.
        away: The slot that it has given back for a while.
    """

    task: str
    state: str
    reasons: tuple[str, ...]
    id: str | None = None
    place: Waiting | None = None
    holder: Holder | None = None
    details: IdDetails | None = None
    position: Position | None = None
    away: Away | None = None
