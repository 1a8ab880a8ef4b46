"""What the page is told, as JSON: bounded, however many ids and tasks there are."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from ..control import IdDetails, IdStatus
from .history import SPAN, STEP
from .reader import Reader, Shared

__all__ = ("status_of", "told")

#: Ids in the list, and holders of one id.
_IDS, _HOLDERS = 50, 100
#: Seconds per point of the small lines and of the large one.
_SMALL, _LARGE = 20, STEP


def told(reader: Reader, words: str, id: str) -> dict[str, Any]:
    """Return the ids whose names have some words in them, and more of one of them.

    Raises:
        InvalidControl: Nobody knows the id.
    """
    shared, now = reader.list.ask(), time.time()
    statuses, wanted = shared.value or (), words.lower().split()
    found = [each for each in statuses if all(word in each.id.lower() for word in wanted)]
    details = reader.details(id) if id else None
    return {
        "time": now,
        "span": SPAN,
        "trouble": _trouble(shared, details),
        "total": len(statuses),
        "found": len(found),
        "running": sum(each.running for each in statuses),
        "waiting": sum(each.waiting for each in statuses),
        "ids": [_row(reader, each, now) for each in found[:_IDS]],
        "id": _details(reader, details.value, now) if details and details.value else None,
    }


def status_of(status: IdStatus) -> dict[str, Any]:
    """Return an id."""
    return asdict(status)


def _trouble(*looks: Shared[Any] | None) -> dict[str, Any] | None:
    """Say since when Redis does not answer, and how old the state is."""
    for look in looks:
        if look is not None and look.trouble:
            return {"since": look.since, "said": look.trouble, "seen": look.at or None}
    return None


def _row(reader: Reader, status: IdStatus, now: float) -> dict[str, Any]:
    rate = reader.history.rate(status.id, now)
    return {**status_of(status), "rate": rate, "line": reader.history.line(status.id, now, _SMALL)}


def _details(reader: Reader, details: IdDetails, now: float) -> dict[str, Any]:
    status, holders = details.status, details.holders
    return {
        **status_of(status),
        "rate": reader.history.rate(status.id, now),
        "line": reader.history.line(status.id, now, _LARGE),
        "holders": [asdict(each) for each in holders[:_HOLDERS]],
        "more_holders": max(0, len(holders) - _HOLDERS),
        "away": len(details.away),
        "returning": sum(each.wants_since is not None for each in details.away),
        "head": [asdict(each) for each in details.head],
        "more_waiting": max(0, status.waiting - len(details.head)),
    }
