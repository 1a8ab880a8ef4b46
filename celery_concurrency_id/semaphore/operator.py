"""An operator's verbs as typed calls. What each does on the server is told in the header of its Lua file.

Times are seconds since 1970 by the server's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .client import Client

__all__ = ("AwayRow", "OperatorVerbs", "Overview", "Row", "SlotRow", "WaitingRow")

#: Ids, or looks at the keys of waiting tasks, per call, so that no single script keeps the server busy for long.
_CHUNK = 200
_LOOKS = 4000


class Row(NamedTuple):
    """How an id is; ``limit`` is None where no worker has said one, and 0 for none; ``fields`` are the other fields
    of its hash, by name; ``observes`` is the limit that only watches, 0 for none."""

    id: str
    limit: int | None
    fields: dict[str, str]
    running: int
    waiting: int
    unseen: int
    announced: int
    since: float | None
    workers: int
    observes: int = 0

    def time(self, field: str) -> float | None:
        """Return a field that is a time."""
        return _time(self.fields.get(field))


class Overview(NamedTuple):
    """How some ids were at a time; ``recovery`` is in seconds."""

    time: float
    recovery: float
    rows: tuple[Row, ...]


class SlotRow(NamedTuple):
    """A slot; ``heard`` is when its worker was last heard, ``task`` is empty while one is fetched into it; ``name`` is
    that of the task, empty where it is not known. ``lane`` is the id in whose queue that task was; ``units``, how many
    slots of the id looked at it takes."""

    token: str
    worker: str
    host: str
    task: str
    since: float
    heard: float | None
    name: str = ""
    lane: str = ""
    units: int = 1


class AwayRow(NamedTuple):
    """A slot that its task has given back for a while, at ``slot.since``; ``wants`` is since when the task waits to
    have it again, None while it does not; ``ahead``, how many tasks come before it then."""

    slot: SlotRow
    wants: float | None
    ahead: int


class WaitingRow(NamedTuple):
    """A waiting task; ``name`` is empty where it is not known."""

    id: str
    task: str
    retries: int
    rank: int
    since: float
    name: str = ""


class OperatorVerbs:
    """What an operator may ask of, and do to, one namespace; belongs to one thread.

    Raises:
        SemaphoreUnavailable: From every call, when Redis cannot be reached or refuses.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def ids(self, made_for_calls: bool = True) -> set[str]:
        """Return every id that a live worker serves, that was made for a call, or that an operator has a hand in."""
        return {_text(id) for id in self._client.call("ids", int(made_for_calls))}

    def overview(self, ids: Iterable[str]) -> Overview:
        """Tell how some ids are."""
        now, recovery, rows = 0.0, 0.0, []
        for chunk in _chunks(list(ids), _CHUNK):
            at, recovery_ms, found = self._client.call("overview", *chunk)
            now, recovery = at / 1e6, recovery_ms / 1000
            rows += [_row(id, *row) for id, row in zip(chunk, found)]
        return Overview(now, recovery, tuple(rows))

    def holders(self, id: str, head: int) -> tuple[float, list[SlotRow], list[WaitingRow], list[AwayRow]]:
        """Return the time, who holds the slots of an id, what waits first, and who has given a slot back for a while:
        those that want theirs again first, in turn."""
        at, slots, waiting, given = self._client.call("holders", id, head)
        found = [
            _slot(_text(token), _text(record), _text(host), heard, _text(lane), units)
            for token, record, host, heard, lane, units in slots
        ]
        first = [_waiting(id, _text(waiting[i]), i // 3, *waiting[i + 1 : i + 3]) for i in range(0, len(waiting), 3)]
        away = [
            AwayRow(_slot(_text(token), _text(record), _text(host), heard), _time(wants), ahead)
            for token, record, host, heard, wants, ahead in given
        ]
        away.sort(key=lambda row: (row.wants is None, row.wants or row.slot.since))
        return at / 1e6, sorted(found, key=lambda slot: slot.since), first, away

    def locate(self, task: str, retries: int, ids: Iterable[str]) -> tuple[list[tuple[str, str]], list[WaitingRow]]:
        """Return id and token of the slots that a task is in, or has given back for a while, and the places in which
        it waits."""
        slots, places = [], []
        for chunk in _chunks(list(ids), max(1, _LOOKS // (retries + 1))):
            held, waiting = self._client.call("locate", task, retries, *chunk)
            slots += [(_text(id), _text(token)) for id, token in held]
            places += [
                WaitingRow(_text(id), task, number, rank, _time(since) or 0.0) for id, number, rank, since in waiting
            ]
        return slots, places

    def observed(self, id: str, anew: bool) -> tuple[float, dict[str, int], int, int]:
        """Return the time, the figures of a limit that only watches (none where there are none), how many tasks run
        and how many of them would wait; and, if told to, begin anew."""
        at, figures, running, line = self._client.call("observed", id, int(anew))
        words = [_text(each) for each in figures]
        return at / 1e6, {name: int(value) for name, value in zip(words[::2], words[1::2])}, int(running), int(line)

    def limit(self, id: str, limit: int | None, lasts: float, by: str, note: str) -> bool:
        """Set an operator's limit (0: none) for so many seconds (0: until it is changed); None goes back to the
        code's. Return whether there was one before."""
        said = "" if limit is None else limit
        return bool(self._client.call("limit", id, said, int(lasts * 1000), by, note))

    def pause(self, id: str, pause: bool, by: str, note: str) -> bool:
        """Pause or resume an id; return whether it was paused."""
        return bool(self._client.call("pause", id, int(pause), by, note))

    def release(self, id: str, token: str) -> tuple[SlotRow, bool] | None:
        """Free a slot by hand; return it and whether its holder was reached, or None if nobody held it."""
        held, record, told = self._client.call("release", id, token)
        return (_slot(token, _text(record), "", b""), told == 1) if held else None

    def forget(self, id: str, before: float) -> int:
        """Forget what was announced before a time; return how many."""
        return int(self._client.call("forget", id, int(before * 1e6)))

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()


_FIELDS = (
    *("limit", "override", "override_until", "override_by", "override_note", "override_at"),
    *("paused", "paused_by", "paused_note", "paused_at", "seq", "unseen", "needs"),
)


def _row(id: str, values: list[Any], running: int, waiting: int, since: Any, workers: int) -> Row:
    fields = {name: _text(value) for name, value in zip(_FIELDS, values) if value is not None}
    limit, unseen, seq = fields.pop("limit", None), int(fields.pop("unseen", 0)), int(fields.pop("seq", 0))
    said = None if limit is None else int(limit)
    observes = -min(said or 0, 0)
    return Row(id, 0 if observes else said, fields, running, waiting, unseen, seq, _time(since), int(workers), observes)


def _slot(token: str, record: str, host: str, heard: Any, lane: str = "", units: int = 1) -> SlotRow:
    worker, state, since, rest = record.split("|", 3)
    task, _, name = rest.rpartition("\0") if "\0" in rest else (rest, "", "")
    running = task if state in "rR" else ""
    return SlotRow(token, worker, host, running, int(since) / 1e6, _time(heard), name, lane, units)


def _waiting(id: str, member: str, rank: int, since: Any, kind: Any) -> WaitingRow:
    task, _, retries = member.rpartition(":")
    return WaitingRow(id, task, int(retries), rank, _time(since) or 0.0, _text(kind).partition(" ")[2])


def _time(value: Any) -> float | None:
    return float(value) / 1e6 if value else None


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
