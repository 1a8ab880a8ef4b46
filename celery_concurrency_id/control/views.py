"""What an operator is told, as frozen dataclasses. Times are seconds since 1970 by Redis' clock, ages seconds."""

from __future__ import annotations

from dataclasses import dataclass

from .expected import Expected

__all__ = ("Drained", "Holder", "IdDetails", "IdStatus", "Override", "Pause", "Position", "Waiting", "Why")


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
    """An id with who holds its slots, the oldest first, and what waits first."""

    status: IdStatus
    holders: tuple[Holder, ...]
    head: tuple[Waiting, ...]


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
        state: ``"running"``, ``"waiting"``, ``"done"`` (or whatever the result backend knows of it), ``"held"`` (a
            worker has it: it is not due, or waits for its rate limit), ``"unknown"``, or ``"unavailable"`` (Redis
            cannot be reached).
        reasons: What to know about it, the most important first; never empty.
        id: Its concurrency id, where that is known.
        place: Where it waits.
        holder: The slot it runs in.
        details: How its id is.
        position: Where it is in the line by the broker's order, and when it is expected to start and to end, while it
            waits.
    """

    task: str
    state: str
    reasons: tuple[str, ...]
    id: str | None = None
    place: Waiting | None = None
    holder: Holder | None = None
    details: IdDetails | None = None
    position: Position | None = None
