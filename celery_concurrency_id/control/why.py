"""Why a task does not run."""

from __future__ import annotations

from typing import Any

from ..exceptions import SemaphoreUnavailable
from ..policy import policy_of
from ..producer import waiting_key
from ..semaphore.connect import redacted
from ..semaphore.needs import unpack
from ..semaphore.operator import OperatorVerbs
from .broker import broker_problem
from .expected import Expected
from .look import details, known_ids, line_to, place_of, statuses
from .positions import most_retries, positions_of
from .views import Away, Holder, IdDetails, IdStatus, Pause, Position, Waiting, Why

__all__ = ("explain", "seconds")

#: Seconds for the workers to answer.
_ANSWER = 1.0


def explain(app: Any, task: str) -> Why:
    """Say where a task is, and why it does not run."""
    trouble = broker_problem(app)
    also = (trouble,) if trouble else ()
    try:
        with line_to(app) as line:
            found = _in_redis(app, task, line)
            recovery = line.overview(["-"]).recovery
            lacking = _lacking(app, line, found[0].status.id) if found is not None else []
    except SemaphoreUnavailable as exc:
        where = redacted(policy_of(app).settings.url)
        said = f"Redis at {where}, which holds the slots, cannot be reached ({exc}): no task with a limit starts"
        return Why(task, "unavailable", (said, *also))
    if found is None:
        return _elsewhere(app, task, trouble)
    about, place, slot = found
    if isinstance(slot, Holder):
        return Why(task, "running", (*_running(slot), *also), about.status.id, None, slot, about)
    if slot is not None:
        return Why(task, "away", (*_away(slot, about, recovery), *also), about.status.id, details=about, away=slot)
    assert place is not None
    position = _position(app, task, about.status.id)
    rank = place.rank if position is None or position.rank is None else position.rank
    reasons = (*also, *lacking, *_waiting(about, place, rank, recovery, bool(lacking)), *_starts(position))
    return Why(task, "waiting", reasons, about.status.id, place, None, about, position)


def _in_redis(
    app: Any, task: str, line: OperatorVerbs
) -> tuple[IdDetails, Waiting | None, Holder | Away | None] | None:
    name, ids = waiting_key(task, 0)[0], known_ids(app, line)
    slots, places = line.locate(name, 3, ids)
    if not slots and not places:
        slots, places = line.locate(name, most_retries(app), ids)
    if slots:
        id, token = slots[0]
        found = details(app, line, id, 0)
        held: tuple[Holder | Away, ...] = (*found.holders, *found.away)
        slot = next((each for each in held if each.token == token), None)
        return (found, None, slot) if slot else None
    if places:
        now = line.overview([places[0].id]).time
        return details(app, line, places[0].id, 3), place_of(places[0], now), None
    return None


def _lacking(app: Any, line: OperatorVerbs, id: str) -> list[str]:
    """Return what tasks of an id lack of the slots of others that they need."""
    needs = unpack(line.overview([id]).rows[0].fields.get("needs", ""))
    reasons = []
    for status in statuses(app, line, needs):
        slots, taken = needs[status.id], status.running
        what = f"it needs {slots} slot{'s' if slots > 1 else ''} of {status.id!r}"
        if status.pause:
            reasons.append(f"{what}, which is paused {_by(status.pause)}")
        elif status.limit is not None and status.limit - taken < slots:
            reasons.append(f"{what} ({status.source}): {taken} of {status.limit} are taken")
    return reasons


def _position(app: Any, task: str, id: str) -> Position | None:
    try:
        return positions_of(app).of(task, id=id)
    except SemaphoreUnavailable:
        return None


def _starts(position: Position | None) -> list[str]:
    if position is None or position.starts_in is None:
        return []
    return [f"it is expected to start {expected_text(position.starts_in)}"]


def expected_text(expected: Expected) -> str:
    """Return a time that is expected as an operator reads it."""
    if expected.high < 1:
        return "now"
    return f"in {seconds(expected.likely)} ({seconds(expected.low)} to {seconds(expected.high)})"


def _running(holder: Holder) -> tuple[str, ...]:
    said = f"it runs since {seconds(holder.age)} on {_worker(holder)}"
    return (said, *_lease(holder, "its slot is free"))


def _worker(slot: Holder | Away) -> str:
    return slot.worker or "a worker that is gone"


def _lease(slot: Holder | Away, then: str) -> list[str]:
    if slot.lease_age is None:
        return [f"the lease of that worker is over: {then} as soon as another worker looks"]
    return [f"that worker was not heard for {seconds(slot.lease_age)}"] if slot.lease_age > 3 else []


def _away(slot: Away, about: IdDetails, recovery: float) -> list[str]:
    status, worker, lease = about.status, _worker(slot), _lease(slot, "nothing of the task is left")
    if slot.waits is None:
        return [f"it runs on {worker}, and has given its slot of {status.id!r} back since {seconds(slot.age)}", *lease]
    since = f"since {seconds(slot.waits)}, after it gave it back {seconds(slot.age)} ago"
    reasons = [f"it waits on {worker} to have its slot of {status.id!r} again, {since}", *lease]
    held_back = [*_paused(status, "lets it go on"), *_held_back(about, recovery)]
    reasons += held_back
    if slot.ahead:
        reasons.append(
            f"{slot.ahead} {'tasks come' if slot.ahead > 1 else 'task comes'} before it: those that want their slots "
            "again since before, and older ones that wait in the queue"
        )
    if not held_back:
        reasons.append(
            f"a slot of {status.id!r} is free ({_limit(status)}, {status.running} taken): it has it in a moment, "
            "unless that is left free for a task that needs several"
        )
    return reasons


def _waiting(about: IdDetails, place: Waiting, rank: int, recovery: float, lacks: bool) -> list[str]:
    status, reasons = about.status, _paused(about.status, "lets it start")
    if not status.workers:
        reasons.append(f"no worker that is alive serves {status.id!r}: start one without -Q, or with -Q {status.id}")
    held_back = _held_back(about, recovery)
    reasons += held_back
    back = sum(each.wants_since is not None and each.wants_since <= place.since for each in about.away)
    if back:
        said = "tasks that want their slots again come" if back > 1 else "task that wants its slot again comes"
        reasons.append(f"{back} {said} before it")
    if rank:
        reasons.append(f"{rank} of {status.waiting} waiting tasks are ahead of it")
    if not (status.pause or held_back or lacks) and status.workers:
        reasons.append(
            f"a slot of {status.id!r} is free ({_limit(status)}, {status.running} taken): the {status.workers} workers "
            "that serve it have no free process, thread or greenlet, or will have fetched it in a moment"
        )
    return reasons


def _limit(status: IdStatus) -> str:
    return "no limit" if status.limit is None else f"limit {status.limit}"


def _paused(status: IdStatus, resumed: str) -> list[str]:
    if not status.pause:
        return []
    return [f"{status.id!r} is paused {_by(status.pause)}: `concurrency resume {status.id}` {resumed}"]


def _held_back(about: IdDetails, recovery: float) -> list[str]:
    """Return what keeps every task of an id from a slot, but for a pause."""
    status, reasons = about.status, list[str]()
    if recovery:
        reasons.append(f"Redis has restarted: workers say what they hold, for another {seconds(recovery)}")
    if status.limit is not None and status.running >= status.limit:
        reached = f"the {_limit(status)} of {status.id!r} ({status.source}) is reached"
        reasons.append(f"{reached}: {status.running} hold a slot")
        reasons += [
            f"slot {each.token}: {each.task or 'being fetched'} since {seconds(each.age)} on {each.worker or 'nobody'}"
            for each in about.holders[:10]
        ]
    return reasons


def _by(pause: Pause) -> str:
    return f"by {pause.by or 'somebody'}" + (f" ({pause.note})" if pause.note else "")


def _elsewhere(app: Any, task: str, trouble: str | None) -> Why:
    state = _result_state(app, task)
    if state not in (None, "PENDING"):
        done = state in ("SUCCESS", "FAILURE", "REVOKED")
        said = f"it is {'done' if done else 'known'}: the result backend says {state}"
        return Why(task, "done" if done else str(state).lower(), (said, *((trouble,) if trouble else ())))
    if trouble:
        return Why(task, "unknown", (trouble, "so the workers could not be asked"))
    for worker, known in _ask_workers(app, task).items():
        if task in known:
            what = str(known[task][0])
            reason = {
                "active": "runs it, without a slot",
                "ready": "has done it",
            }.get(what, "has it, but has not started it: it is not due, waits for its rate limit, or was fetched ahead")
            state = {"active": "running", "ready": "done"}.get(what, "held")
            return Why(task, state, (f"{worker} {reason}",))
    hint = " (the result backend knows of no end)" if state else " (there is no result backend to ask)"
    return Why(
        task,
        "unknown",
        (
            f"it neither waits nor runs under a limit, and no worker has it{hint}: it ended, was purged, was never "
            "published, or has no concurrency id",
        ),
    )


def _result_state(app: Any, task: str) -> str | None:
    """Return what the result backend says; None where there is none, or it cannot be asked."""
    try:
        return str(app.AsyncResult(task).state)
    except Exception:
        return None


def _ask_workers(app: Any, task: str) -> dict[str, Any]:
    try:
        return dict(app.control.inspect(timeout=_ANSWER).query_task([task]) or {})
    except Exception:
        return {}


def seconds(value: float) -> str:
    """Return an age as an operator reads it."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.0f} h" if value < 172800 else f"{value / 86400:.0f} d"
