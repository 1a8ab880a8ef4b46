"""A slot, as the worker that holds it sees it."""

from __future__ import annotations

from enum import Enum
from typing import Any

from ..lanes import lane_of
from ..semaphore.needs import unpack

__all__ = ("Slot", "State")


class State(Enum):
    """What a held slot is doing."""

    OPEN = "open"  #: has no task: the next one is to be fetched
    WAITING = "waiting"  #: the queue looked empty: another look is due
    HELD = "held"  #: its task waits for ``rate_limit``
    RUNNING = "running"  #: its task was handed to the pool
    AHEAD = "ahead"  #: no slot at all: stands for one while a message is fetched ahead
    GONE = "gone"  #: given back, or lost with the lease


class Slot:
    """One unit of an id's limit.

    Attributes:
        id: The concurrency id.
        token: Names this slot; grows with every grant, so that it also serves as a fencing token.
        seq: Announcements of the id when the slot was granted.
        keep: Whether it may take the next task of the id when this one ends.
        ahead: Whether the next message may be fetched while a task runs.
        began: Whether the message last fetched into it became a running task.
        fresh: Whether it was granted and nothing was fetched into it yet.
        looks: How often the queue was found empty since the last message.
        request: The request of the task in it.
        result: The pool's handle of that task.
        pid: The process that runs it, once one has accepted it.
        since: When the task was handed to the pool, by the worker's clock.
        ended: When the task before ended, by the same clock; None for a slot that is new, and once that was counted.
        left: The request of the task that was in it before, until somebody is told that it has left.
        needs: Slots that it takes of other limits, as the semaphore writes it; empty for most.
        short_since: Since when it stands open without a place for its next task, by the worker's clock; None where it
            does not.
    """

    __slots__ = (
        "ahead",
        "began",
        "ended",
        "fresh",
        "id",
        "keep",
        "left",
        "looks",
        "needs",
        "pid",
        "request",
        "result",
        "seq",
        "short_since",
        "since",
        "state",
        "token",
    )

    def __init__(
        self, id: str, token: str = "", seq: int = 0, keep: bool = False, ahead: bool = False, needs: str = ""
    ) -> None:
        self.id = id
        self.token = token
        self.seq = seq
        self.keep = keep
        self.ahead = ahead
        self.needs = needs
        self.began = False
        self.fresh = True
        self.state = State.OPEN
        self.looks = 0
        self.request: Any = None
        self.left: Any = None
        self.result: Any = None
        self.pid: int | None = None
        self.since = 0.0
        self.ended: float | None = None
        self.short_since: float | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What events and signals tell of it."""
        slots = unpack(self.needs)
        if self.id != lane_of(slots):
            slots[self.id] = 1
        return {"concurrency_id": self.id, "token": int(self.token), "slots": slots}
