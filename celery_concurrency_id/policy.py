"""Which concurrency id a task has, and which limit an id has: options, settings, precedence, validation."""

from __future__ import annotations

import logging
import re
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

from .exceptions import InvalidOption, InvalidSetting
from .semaphore.announcer import Announcer, Silent
from .semaphore.reservations import Reservations
from .settings import TASK_OPTIONS, Settings, check_limit, tasks_of

__all__ = ("UNSET", "Policy", "policy_of")

logger = logging.getLogger(__name__)

#: Bytes of an id's name: RabbitMQ takes 255 for a queue, kombu adds a priority to it on Redis.
MAX_ID_BYTES = 200


class _Unset:
    """The value of an option that nobody set; ``None`` is a value of its own: no limit."""

    def __repr__(self) -> str:
        return "UNSET"

    def __reduce__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()


#: What a task says that has no options of its own.
_NOTHING = SimpleNamespace(concurrency_id=None, concurrency_limit=UNSET, concurrency_max_waiting=UNSET)


class Policy:
    """What the gated tasks of one app say.

    Attributes:
        ids: Concurrency id by task name, for every gated task that is known.
        gated: Every concurrency id.
    """

    def __init__(self, app: Any) -> None:
        self._app = weakref.proxy(app)  # the app keeps its policy, not the other way round
        self._explicit: dict[str, dict[str, int | None]] = {}
        self._settings: Settings | None = None
        self._warned: set[str] = set()
        self._announcer: Any = None
        self._reservations: Any = None
        self._bounds: dict[str, dict[str, int | None]] = {}
        self._configured: Any = None
        self._own: dict[str, Any] = {}
        self._looked_up: set[str] = set()
        self._lock = threading.RLock()
        self.ids: dict[str, str] = {}
        self.gated: frozenset[str] = frozenset()

    @property
    def settings(self) -> Settings:
        """The app's settings, read once.

        Raises:
            InvalidSetting: A setting is wrong.
        """
        if self._settings is None:
            self._settings = Settings.of(self._app)
        return self._settings

    @property
    def announcer(self) -> Any:
        """What tells the semaphore about published tasks; silent where the app knows no Redis."""
        if self._announcer is None:
            self._announcer = self._make_announcer()
        return self._announcer

    def _make_announcer(self) -> Any:
        try:
            settings = self.settings
        except InvalidSetting as exc:
            if exc.setting != "concurrency_url" or exc.value is not None:
                raise
            logger.warning("tasks are published without an announcement, and start when a worker polls: %s", exc)
            return Silent()
        return Announcer(settings.url, settings.namespace, settings.options)

    @property
    def reservations(self) -> Any:
        """What keeps places in queues that are bounded; None where the app knows no Redis."""
        if self._reservations is None and not isinstance(self.announcer, Silent):
            settings = self.settings
            self._reservations = Reservations(settings.url, settings.namespace, settings.options)
        return self._reservations

    def add(self, task: Any) -> None:
        """Take in the options of a gated task that is bound.

        Raises:
            InvalidOption: An option is wrong.
        """
        own = {option: getattr(task, option) for option in TASK_OPTIONS}  # not the task: it holds on to the app
        with self._lock:
            self._add(task)
            self._own[task.name] = SimpleNamespace(**own)
            self._looked_up.discard(task.name)

    def id_of(self, name: str) -> str | None:
        """Return the concurrency id of a task; None if it is not gated.

        Nobody here needs to have the task's code: ``concurrency_tasks`` may gate what is only known by name.

        Raises:
            InvalidSetting: ``concurrency_tasks`` is wrong.
        """
        if name not in self._looked_up:
            with self._lock:
                self._look_up(name)
                self._looked_up.add(name)
        return self.ids.get(name)

    def look_up(self, names: Iterable[str]) -> None:
        """Take in what ``concurrency_tasks`` says of these tasks.

        Raises:
            InvalidSetting: ``concurrency_tasks`` is wrong.
        """
        for name in list(names):
            self.id_of(name)

    def _look_up(self, name: str) -> None:
        entry = self._entry_of(name)
        if entry is None or self._configured[entry] is None:
            return
        own = self._own.get(name, _NOTHING)
        with _refusing(entry):
            self._add(SimpleNamespace(name=name, **{**vars(own), **self._configured[entry]}))

    def _read_configured(self) -> Mapping[str, Any]:
        """Read ``concurrency_tasks``; what is wrong is wrong here, whoever has the code of the task."""
        configured = tasks_of(self._app.conf)
        for entry, options in configured.items():
            said = {**vars(_NOTHING), "concurrency_id": "any", **(options or {})}
            with _refusing(entry):
                self._check(SimpleNamespace(name=entry, **said))
        return configured

    def _entry_of(self, name: str) -> str | None:
        """Return which entry of ``concurrency_tasks`` is about a task: its own, else the first glob in order."""
        if self._configured is None:
            self._configured = self._read_configured()
        if name in self._configured:
            return name
        if name.startswith("celery."):
            return None  # Celery's own tasks are meant by their names, never by a glob
        return next((glob for glob in self._configured if fnmatchcase(name, glob)), None)

    def _check(self, task: Any) -> str:
        """Return the concurrency id of a task whose options are right.

        Raises:
            InvalidOption: An option is wrong.
        """
        id = self._checked_id(task)
        for option, none in (("concurrency_limit", "limit"), ("concurrency_max_waiting", "bound")):
            number = getattr(task, option)
            if number is not UNSET and not check_limit(number):
                expected = f"an int of 1 or more, None for no {none}, or no option at all"
                raise InvalidOption(task.name, option, number, expected)
        return id

    def _add(self, task: Any) -> None:
        id, limit = self._check(task), task.concurrency_limit
        self.remove(task.name)
        self.ids[task.name] = id
        self.gated |= {id}
        if limit is not UNSET:
            self._explicit.setdefault(id, {})[task.name] = limit
            self._warn_of_difference(id)
        if task.concurrency_max_waiting is not UNSET:
            self._bounds.setdefault(id, {})[task.name] = task.concurrency_max_waiting

    def remove(self, name: str) -> None:
        """Forget a task, where it is bound anew with other options."""
        id = self.ids.pop(name, None)
        if id is not None:
            self._explicit.get(id, {}).pop(name, None)
            self._bounds.get(id, {}).pop(name, None)
            self.gated = frozenset(self.ids.values())

    def limit_of(self, id: str) -> int | None:
        """Return the limit of an id: ``concurrency_limits``, else the lowest explicit one, else the default."""
        limits = self.settings.limits
        if id in limits:
            return limits[id]
        for glob, limit in limits.items():
            if fnmatchcase(id, glob):
                return limit
        explicit = self._explicit.get(id)
        if explicit:
            numbers = [limit for limit in explicit.values() if limit is not None]
            return min(numbers) if numbers else None
        return self.settings.default_limit

    def max_waiting_of(self, id: str) -> int | None:
        """Return how many tasks of an id may wait: by its setting, else the lowest explicit one, else the default."""
        bound = self.settings.max_waiting
        if isinstance(bound, Mapping):
            if id in bound:
                return bound[id]
            for glob, number in bound.items():
                if fnmatchcase(id, glob):
                    return number
        explicit = self._bounds.get(id)
        if explicit:
            return min((number for number in explicit.values() if number is not None), default=None)
        return None if isinstance(bound, Mapping) else bound

    def limits(self) -> dict[str, int | None]:
        """Return the limit of every id."""
        self.look_up(self._app.tasks)
        return {id: self.limit_of(id) for id in sorted(self.gated)}

    def check_routes(self) -> None:
        """Refuse an id whose queue an ordinary task is routed to.

        Raises:
            InvalidOption: It names a gated task of that id.
        """
        for name in self._app.tasks:
            if name in self.ids or name.startswith("celery."):
                continue
            queue = self._app.amqp.router.route({}, name).get("queue")
            id = getattr(queue, "name", None)
            if id in self.gated:
                gated = next(task for task, its in self.ids.items() if its == id)
                expected = f"another name: the ordinary task {name!r} is routed to the queue of this name"
                raise InvalidOption(gated, "concurrency_id", id, expected)

    def _checked_id(self, task: Any) -> str:
        id = task.concurrency_id
        if id is None:
            id = task.name
        if not isinstance(id, str) or not id:
            expected = "a name: a str that is not empty"
        elif len(id.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
            expected = f"a name of {MAX_ID_BYTES} bytes at most"
        elif re.search(r"[\s\x00-\x1f\x7f\ud800-\udfff]", id):
            expected = "a name without spaces and control characters"
        elif id.startswith("amq."):
            expected = "a name that RabbitMQ does not reserve (amq.*)"
        elif id == self._app.conf.task_default_queue:
            expected = "another name: this is task_default_queue, which workers consume for ordinary tasks"
        else:
            return id
        raise InvalidOption(task.name, "concurrency_id", id, expected)

    def _warn_of_difference(self, id: str) -> None:
        numbers = {name: limit for name, limit in self._explicit[id].items() if limit is not None}
        if id in self._warned or len(set(numbers.values())) < 2:
            return
        self._warned.add(id)
        (high, high_limit), (low, low_limit) = (
            max(numbers.items(), key=lambda item: item[1]),
            min(numbers.items(), key=lambda item: item[1]),
        )
        logger.warning(
            "concurrency id %r: task %r says concurrency_limit=%d and task %r says %d; the lowest, %d, holds for both",
            id,
            high,
            high_limit,
            low,
            low_limit,
            low_limit,
        )


@contextmanager
def _refusing(entry: str) -> Iterator[None]:
    """Tell of a wrong option as of one that the configuration gives."""
    try:
        yield
    except InvalidOption as exc:
        expected = f"{exc.expected}, as {exc.option} of task {exc.task!r}"
        raise InvalidSetting("concurrency_tasks", {entry: {exc.option: exc.value}}, expected) from None


_policies: WeakKeyDictionary[Any, Policy] = WeakKeyDictionary()
_lock = threading.Lock()


def policy_of(app: Any) -> Policy:
    """Return the policy of an app; the same one every time."""
    policy = _policies.get(app)
    if policy is None:
        with _lock:
            policy = _policies.setdefault(app, Policy(app))
    return policy
