"""From what Redis says to what an operator is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..policy import Policy, policy_of
from ..semaphore import keys
from ..semaphore.client import Client
from ..semaphore.operator import AwayRow, OperatorVerbs, Overview, Row, SlotRow, WaitingRow
from .views import Away, Holder, IdDetails, IdStatus, Override, Pause, Waiting

__all__ = ("details", "gated", "known_ids", "line_to", "place_of", "statuses", "statuses_of")


@contextmanager
def line_to(app: Any) -> Iterator[OperatorVerbs]:
    """Open a connection to the semaphore of an app for a while."""
    settings = policy_of(app).settings
    line = OperatorVerbs(Client(settings.url, keys.prefix(settings.namespace), dict(settings.options)))
    try:
        yield line
    finally:
        line.close()


def gated(app: Any) -> frozenset[str]:
    """Return the ids that the app's tasks name, or its configuration for them."""
    policy = policy_of(app)
    policy.look_up(app.tasks)  # which also binds the tasks that nobody has used yet
    return policy.gated


def known_ids(app: Any, line: OperatorVerbs) -> list[str]:
    """Return every id that is known to the app, to live workers or to an operator."""
    return sorted(gated(app) | line.ids())


def statuses(app: Any, line: OperatorVerbs, ids: Iterable[str]) -> tuple[IdStatus, ...]:
    """Return how some ids are."""
    return statuses_of(app, line.overview(ids))


def statuses_of(app: Any, overview: Overview) -> tuple[IdStatus, ...]:
    """Return how the ids of an overview are."""
    policy = policy_of(app)
    return tuple(_status(row, overview.time, policy) for row in overview.rows)


def details(app: Any, line: OperatorVerbs, id: str, head: int) -> IdDetails:
    """Return an id with its holders, the head of its queue, and those who have given their slots back for a while."""
    now, slots, waiting, away = line.holders(id, head)
    return IdDetails(
        statuses(app, line, [id])[0],
        tuple(_holder(slot, now) for slot in slots),
        tuple(place_of(place, now) for place in waiting),
        tuple(_away(row, now) for row in away),
    )


def _status(row: Row, now: float, policy: Policy) -> IdStatus:
    override, pause = _override(row), _pause(row)
    known = row.id in policy.gated
    told = policy.told(row.id) if row.limit is None else -row.observes or row.limit
    code_limit, agreed = (told if told > 0 else None), row.limit is None or (known and policy.told(row.id) == told)
    source = "override" if override else policy.source_of(row.id) if agreed else "workers"
    return IdStatus(
        id=row.id,
        limit=override.limit if override else code_limit,
        source=source,
        code_limit=code_limit,
        override=override,
        pause=pause,
        running=row.running,
        waiting=row.waiting + row.unseen,
        oldest_wait=None if row.since is None else max(0.0, now - row.since),
        workers=row.workers,
        taken=row.announced - row.waiting,
        observes=-told if told < 0 else None,
    )


def _holder(slot: SlotRow, now: float) -> Holder:
    lease_age = None if slot.heard is None else max(0.0, now - slot.heard)
    return Holder(slot.token, slot.task, slot.host, slot.since, max(0.0, now - slot.since), lease_age, slot.name)


def _away(row: AwayRow, now: float) -> Away:
    slot = _holder(row.slot, now)
    waits = None if row.wants is None else max(0.0, now - row.wants)
    ahead = None if row.wants is None else row.ahead
    return Away(
        slot.token, slot.task, slot.worker, slot.since, slot.age, slot.lease_age, row.wants, waits, ahead, slot.name
    )


def place_of(row: WaitingRow, now: float) -> Waiting:
    """Return a waiting task."""
    return Waiting(row.task, row.retries, row.rank, row.since, max(0.0, now - row.since), row.name)


def _override(row: Row) -> Override | None:
    limit = row.fields.get("override")
    if limit is None:
        return None
    return Override(
        int(limit) or None,
        row.time("override_until"),
        row.fields.get("override_by", ""),
        row.fields.get("override_note", ""),
        row.time("override_at") or 0.0,
    )


def _pause(row: Row) -> Pause | None:
    if "paused" not in row.fields:
        return None
    return Pause(row.fields.get("paused_by", ""), row.fields.get("paused_note", ""), row.time("paused_at") or 0.0)
