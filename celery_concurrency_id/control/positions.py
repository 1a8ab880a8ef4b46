"""Where tasks are in the line of their concurrency id, and when they are expected to start and to end."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Any, Callable, TypeVar

from ..exceptions import InvalidControl, SemaphoreUnavailable
from ..per_app import one_for_each
from ..policy import policy_of
from ..producer import waiting_key
from ..queues import turn_of
from ..semaphore import keys
from ..semaphore.client import Client
from ..semaphore.positions import InLine, InSlot, LineState, PositionVerbs
from .checked import checked_text, unknown_id
from .expected import end_of, left_of, start_of
from .look import gated, known_ids, line_to
from .views import Position

__all__ = ("Positions", "checked_task", "most_retries", "positions_of")

#: Of how many tasks a process remembers under which id they are.
_MOST = 10_000
#: Connections that are kept.
_MOST_LINES = 8
#: Retries to look for where a task may be retried for ever.
_MANY_RETRIES = 50
_READY = ("SUCCESS", "FAILURE", "REVOKED")

Answer = TypeVar("Answer")


def checked_task(command: str, task_id: Any) -> str:
    """Return the id of a task.

    Raises:
        InvalidControl: It can be none.
    """
    if not isinstance(task_id, str) or not task_id:
        raise InvalidControl(command, "task_id", task_id, "the id of a task, a str")
    return checked_text(command, "task_id", task_id)


def most_retries(app: Any, name: str | None = None) -> int:
    """Return how often a task, or any gated task of an app, is retried; three times where that is not known."""
    policy = policy_of(app)
    names = [*policy.ids, *policy.families] if name is None else [name]
    most = [app.tasks[each].max_retries for each in names if each in app.tasks]
    return max([3, *(_MANY_RETRIES if retries is None else min(retries, 1000) for retries in most)])


class Positions:
    """The positions of an app's tasks; may be used by any thread, and after a fork."""

    def __init__(self, app: Any) -> None:
        self._ref = weakref.ref(app)  # the app keeps its positions, not the other way round
        self._lines: deque[PositionVerbs] = deque()
        self._pid = os.getpid()
        self._found: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def _app(self) -> Any:
        app = self._ref()
        if app is None:
            raise RuntimeError("the Celery app of this position is gone")
        return app

    def of(self, task_id: Any, name: str | None = None, id: Any = None) -> Position:
        """Return where a task is.

        Args:
            name: The task's name, where it is known.
            id: Its concurrency id, where it is known.

        Raises:
            InvalidControl: An argument cannot be right.
            SemaphoreUnavailable: Redis cannot be reached.
        """
        task = checked_task("position", task_id)
        if id is not None and (not isinstance(id, str) or not id):
            raise InvalidControl("position", "concurrency_id", id, "a concurrency id, a str")
        found = self.of_many([task], name, self.id_of(task, name, id))[task]
        if found is not None:
            return found
        if id is not None:
            self._check_id(id)
        return self.elsewhere(task, id)

    def of_many(self, tasks: Iterable[str], name: str | None, id: str | None) -> dict[str, Position | None]:
        """Return where tasks of one id are; None for those that Redis does not know under that id."""
        each = list(tasks)
        if id is None:
            return dict.fromkeys(each)
        by_key = {waiting_key(task, 0)[0]: task for task in each}
        retries = most_retries(self._app, name)
        state, places = self._ask(lambda line: line.position(id, retries, by_key))
        turn, known_left = turn_of(self._app, id), dict[int, Any]()
        told: dict[str, Position | None] = dict.fromkeys(each)
        for key, place in places.items():
            task = by_key[key]
            told[task] = (
                _running(task, id, state, place)
                if isinstance(place, InSlot)
                else _waiting(task, id, state, place, turn, known_left)
            )
        for task in each:
            if told[task] is None:
                with self._lock:
                    self._found.pop(task, None)
        return told

    def id_of(self, task: str, name: str | None, id: str | None = None) -> str | None:
        """Return under which id a task waits or runs; None where it does neither, as far as can be told."""
        if id is not None:
            return id
        policy = policy_of(self._app)
        if name is not None and policy.id_of(name) is not None and name in policy.ids:
            own: list[str] | None = [policy.ids[name]]
        else:
            own = None
        with self._lock:
            remembered = self._found.get(task)
        if remembered is not None:
            return remembered
        key, retries = waiting_key(task, 0)[0], most_retries(self._app, name)
        ids = own if own is not None else sorted(gated(self._app))
        found = self._ask(lambda line: line.find(key, retries, ids))
        if not found and own is None:
            # Neither may anybody here know the id: workers do.
            with line_to(self._app) as operator:
                others = sorted(operator.ids(made_for_calls=False).difference(ids))
            found = self._ask(lambda line: line.find(key, retries, others)) if others else ""
        if not found:
            return None
        with self._lock:
            self._found[task] = found
            while len(self._found) > _MOST:
                self._found.popitem(last=False)
        return found

    def elsewhere(self, task: str, id: str | None = None) -> Position:
        """Return what the result backend knows of a task that Redis does not know."""
        try:
            state = str(self._app.AsyncResult(task).state)
        except Exception:  # there is none, or it cannot be asked
            state = ""
        known = "done" if state in _READY else "held" if state == "RETRY" else "unknown"
        return Position(task, known, id)

    def _check_id(self, id: str) -> None:
        """Refuse an id of which nobody has heard."""
        if id in gated(self._app):
            return
        with line_to(self._app) as operator:
            row = operator.overview([id]).rows[0]
            if row.limit is None and not (row.fields or row.announced or row.workers):
                policy = policy_of(self._app)
                if policy.families:
                    return  # an id that was made for a call, and is forgotten by now
                raise unknown_id("position", id, known_ids(self._app, operator), "concurrency_id")

    def _ask(self, question: Callable[[PositionVerbs], Answer]) -> Answer:
        if self._pid != os.getpid():
            self._lines, self._pid = deque(), os.getpid()
        while True:
            try:
                line, fresh = self._lines.pop(), False
            except IndexError:
                settings = policy_of(self._app).settings
                client = Client(settings.url, keys.prefix(settings.namespace), dict(settings.options))
                line, fresh = PositionVerbs(client), True
            try:
                answer = question(line)
            except SemaphoreUnavailable:
                # It may have died of idleness, or with a server that is back already: then a new one tells.
                line.close()
                self._lines.clear()
                if fresh:
                    raise
            else:
                if len(self._lines) < _MOST_LINES:
                    self._lines.append(line)
                else:
                    line.close()
                return answer


def _running(task: str, id: str, state: LineState, place: InSlot) -> Position:
    # For how long it does without its slot, and waits to have it again, nobody can tell.
    ends_in = None if place.away else left_of(state.times.get(place.name), state.time - place.since)
    return Position(task, "running", id, ends_in=ends_in, at=state.time, **_about(state))


def _waiting(
    task: str,
    id: str,
    state: LineState,
    place: InLine,
    turn: Callable[[int | None], int] | None,
    known_left: dict[int, Any],
) -> Position:
    own = state.kinds[place.kind]
    ahead = list(place.ahead)
    if turn is not None:
        # Whole kinds are before it, or behind it, by their priority.
        for number, kind in enumerate(state.kinds):
            if turn(kind.priority) != turn(own.priority):
                ahead[number] = kind.waiting if turn(kind.priority) < turn(own.priority) else 0
    starts_in = start_of(state, [(kind.name, number) for kind, number in zip(state.kinds, ahead)], known_left)
    ends_in = end_of(starts_in, state.times.get(own.name))
    about = _about(state)
    return Position(task, "waiting", id, sum(ahead), starts_in=starts_in, ends_in=ends_in, at=state.time, **about)


def _about(state: LineState) -> Mapping[str, Any]:
    return {
        "waiting": state.announced + state.unseen,
        "running": state.running,
        "limit": state.limit or None,
    }


#: Returns the positions of an app; the same ones every time.
positions_of = one_for_each(Positions)
