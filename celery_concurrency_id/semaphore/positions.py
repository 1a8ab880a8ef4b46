"""The verbs of those who wait, as typed calls. What each does on the server is told in the header of its Lua file.

Times are seconds since 1970 by the server's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .client import Client

__all__ = ("InLine", "InSlot", "Kind", "LineState", "PositionVerbs", "Taken", "Times")

#: Tasks per call, and ids to look in per call, so that no single script keeps the server busy for long.
_TASKS = 200
_LOOKS = 4000


class Kind(NamedTuple):
    """Tasks of one name and priority, and how many of them wait; ``priority`` is None where the message has none."""

    name: str
    priority: int | None
    waiting: int


class Taken(NamedTuple):
    """A slot that is taken, or, where it is not ``running``, granted and still without a task."""

    running: bool
    since: float
    name: str


class Times(NamedTuple):
    """How long tasks of a name have lately taken: how many they were, mean and variance in seconds."""

    number: int
    mean: float
    variance: float


class InSlot(NamedTuple):
    """A task that runs; ``away``: since then without its slot, which it has given back for a while."""

    since: float
    name: str
    away: bool = False


class InLine(NamedTuple):
    """A task that waits: its kind, its rank among what was announced, and how many of each kind are ahead of it."""

    retries: int
    kind: int
    rank: int
    ahead: tuple[int, ...]


class LineState(NamedTuple):
    """The line of an id: ``limit`` is 0 for none and None where no worker has said one; ``unseen`` are waiting tasks
    that were not announced; ``first`` is when the first one was announced that still waits."""

    time: float
    limit: int | None
    paused: bool
    unseen: int
    announced: int
    first: float | None
    running: int
    alive: bool
    recovery: float
    kinds: tuple[Kind, ...]
    slots: tuple[Taken, ...]
    times: Mapping[str, Times]


class PositionVerbs:
    """What those who wait may ask; belongs to one thread.

    Raises:
        SemaphoreUnavailable: From every call, when Redis cannot be reached or refuses.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def find(self, task: str, retries: int, ids: Iterable[str]) -> str:
        """Return the id under which a task waits or runs: one that was made for its call, or one of these; else
        nothing."""
        each = list(ids)
        step = max(1, _LOOKS // (retries + 1))
        for start in range(0, max(len(each), 1), step):
            found = _text(self._client.call("find", task, retries, *each[start : start + step]))
            if found:
                return found
        return ""

    def position(self, id: str, retries: int, tasks: Iterable[str]) -> tuple[LineState, dict[str, InSlot | InLine]]:
        """Return how the line of an id is, and where those of these tasks are that run or wait under it."""
        each, found = list(tasks), dict[str, Any]()
        state: LineState | None = None
        for start in range(0, max(len(each), 1), _TASKS):
            chunk = each[start : start + _TASKS]
            now, told, kinds, slots, times, places = self._client.call("position", id, retries, *chunk)
            state = _state(now, told, kinds, slots, times)
            found.update((task, _place(place)) for task, place in zip(chunk, places) if place)
        assert state is not None
        return state, found

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()


def _state(now: int, told: list[Any], kinds: list[Any], slots: list[Any], times: list[Any]) -> LineState:
    limit, paused, unseen, announced, first, running, alive, recovery_ms = told
    return LineState(
        time=now / 1e6,
        limit=int(limit) if limit not in (b"", "") else None,
        paused=paused == 1,
        unseen=unseen,
        announced=announced,
        first=float(first) / 1e6 if first else None,
        running=running,
        alive=alive == 1,
        recovery=recovery_ms / 1000,
        kinds=tuple(_kind(_text(kind), count) for kind, count in kinds),
        slots=tuple(Taken(_text(state) != "f", int(since) / 1e6, _text(name)) for state, since, name in slots),
        times={_text(name): _times(_text(record)) for name, record in times},
    )


def _kind(text: str, count: int) -> Kind:
    priority, _, name = text.partition(" ")
    return Kind(name, int(priority) if priority.isdigit() else None, count)


def _times(record: str) -> Times:
    count, mean_ms, variance = record.split()
    return Times(int(count), float(mean_ms) / 1e3, float(variance) / 1e6)


def _place(place: list[Any]) -> InSlot | InLine:
    state = _text(place[0])
    if state in ("r", "a"):
        return InSlot(int(place[1]) / 1e6, _text(place[2]), state == "a")
    return InLine(place[1], place[2], place[3], tuple(place[4]))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
