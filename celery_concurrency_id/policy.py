"""Which concurrency id a task has, and which limit an id has: options, settings, precedence, validation."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any

from .entries import NOTHING, Entries, refusing
from .exceptions import InvalidOption, InvalidSetting
from .families import HEADER, Family, family_of, is_dynamic, option_of
from .lanes import Plan
from .options import UNSET, check_id, check_limit_option, check_options
from .per_app import one_for_each
from .semaphore.announcer import Announcer, Silent
from .semaphore.needs import pack, unpack
from .semaphore.reservations import Reservations
from .semaphore.semaphore import Known
from .settings import TASK_OPTIONS, Settings

__all__ = ("Policy", "policy_of")

logger = logging.getLogger(__name__)


class Policy:
    """What the gated tasks of one app say.

    Attributes:
        ids: Concurrency id by task name, for every gated task that is known and whose id is always the same.
        gated: Every such id, and those whose slots tasks need beside their own.
        families: The family of ids by task name, for gated tasks whose ids are made from their arguments.
    """

    def __init__(self, app: Any) -> None:
        self._app = weakref.proxy(app)  # the app keeps its policy, not the other way round
        self._explicit: dict[str, dict[str, Any]] = {}
        self._settings: Settings | None = None
        self._warned: set[str] = set()
        self._announcer: Any = None
        self._reservations: Any = None
        self._bounds: dict[str, dict[str, int | None]] = {}
        self._observe: dict[str, dict[str, bool]] = {}
        self._entries: Entries | None = None
        self._own: dict[str, dict[str, Any]] = {}
        self._looked_up: set[str] = set()
        self._lock = threading.RLock()
        self._needs: dict[str, tuple[str, str]] = {}
        self._lanes: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self.gated: frozenset[str] = frozenset()
        self.families: dict[str, Family] = {}

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
        return Announcer(settings.url, settings.namespace, settings.options, settings.id_ttl)

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
        own = {option: option_of(task, option) for option in TASK_OPTIONS}  # not the task: it holds on to the app
        with self._lock:
            self._add(task)
            self._own[task.name] = own
            self._looked_up.discard(task.name)

    def id_of(self, name: str) -> str | None:
        """Return what workers serve when they run a task: its id, or the name of its family; None if it is not gated.

        Nobody here needs to have the task's code: ``concurrency_tasks`` may gate what is only known by name.

        Raises:
            InvalidSetting: ``concurrency_tasks`` is wrong.
        """
        if name not in self._looked_up:
            with self._lock:
                self._look_up(name)
                self._looked_up.add(name)
        return self._id_of(name)

    def _id_of(self, name: str) -> str | None:
        family = self.families.get(name)
        return family.name if family is not None else self.ids.get(name)

    def look_up(self, names: Iterable[str]) -> None:
        """Take in what ``concurrency_tasks`` says of these tasks.

        Raises:
            InvalidSetting: ``concurrency_tasks`` is wrong.
        """
        for name in list(names):
            self.id_of(name)

    def _look_up(self, name: str) -> None:
        if self._entries is None:
            self._entries = Entries(self._app.conf)
        entry = self._entries.about(name)
        if entry is None:
            return
        options = self._entries.options(entry, self._own.get(name, NOTHING))
        if options is not None:
            with refusing(entry):
                self._add(SimpleNamespace(name=name, **options))

    def _add(self, task: Any) -> None:
        id, plan = check_options(task, self._app.conf.task_default_queue)
        family = None
        if is_dynamic(plan.option):
            family = family_of(task, plan.option, lambda name: self._app.tasks.get(name), plan.family)
        self._check_lane(task.name, id, plan)
        self.remove(task.name)
        if family is not None:
            self.families[task.name] = family
        else:
            self.ids[task.name] = id
        self._needs[task.name] = id, pack(plan.needs)
        self._gather()
        limited = plan.limited if plan.needs else id
        for about, option in ((limited, "concurrency_limit"), (id, "concurrency_key_limit")):
            limit = option_of(task, option)
            if limit is not UNSET:
                self._explicit.setdefault(about, {})[task.name] = limit
                self._warn_of_difference(about)
        if task.concurrency_max_waiting is not UNSET:
            self._bounds.setdefault(id, {})[task.name] = task.concurrency_max_waiting
        if task.concurrency_observe is not UNSET:
            self._observe.setdefault(id, {})[task.name] = task.concurrency_observe

    def remove(self, name: str) -> None:
        """Forget a task, where it is bound anew with other options."""
        id = self._id_of(name)
        if id is not None:
            self.ids.pop(name, None)
            self.families.pop(name, None)
            self._needs.pop(name, None)
            for said in (*self._explicit.values(), *self._bounds.values(), *self._observe.values()):
                said.pop(name, None)
            self._gather()

    def _gather(self) -> None:
        self._lanes = dict(self._needs.values())
        others = (limit for needs in self._lanes.values() for limit in unpack(needs))
        self.gated = frozenset((*self.ids.values(), *others))

    def needs_of(self, id: str, family: str = "") -> str:
        """Return what a task of an id needs of other limits, as the semaphore writes it; empty for most.

        Args:
            family: The family of an id that was made for a call.
        """
        return self._lanes.get(family or id, "")

    def _check_lane(self, task: str, id: str, plan: Plan) -> None:
        """Refuse the name of a lane that is the id of other tasks."""
        needs = pack(plan.needs)
        for other, (lane, needed) in self._needs.items():
            if lane == id and needed != needs and other != task:
                expected = f"other names: {other!r} has the id {id!r}, and needs other slots than this task"
                raise InvalidOption(task, HEADER, id, expected)

    def check_needs(self) -> None:
        """Refuse tasks that need more slots than there are, or slots of what nobody else names.

        Raises:
            InvalidOption: It names the task.
        """
        for task, (_, needs) in self._needs.items():
            for limit, slots in unpack(needs).items():
                most = self.limit_of(limit)
                named = limit in self.ids.values() or self.source_of(limit) != "default"
                if len(unpack(needs)) > 1 and not named:
                    expected = f"ids with a limit: nobody names one for {limit!r}; say it in concurrency_limits"
                    raise InvalidOption(task, "concurrency", unpack(needs), expected)
                if most is not None and slots > most:
                    expected = f"no more slots of {limit!r} than its limit, {most}"
                    raise InvalidOption(task, "concurrency", unpack(needs), expected)

    def gates(self, name: str) -> bool:
        """Say whether a task is gated."""
        return self.id_of(name) is not None

    @property
    def family_names(self) -> frozenset[str]:
        """The names of all families of tasks that are known."""
        return frozenset(family.name for family in self.families.values())

    def family_of(self, name: str, id: Any, headers: Any) -> str | None:
        """Return the family of an id that was made for a call, by its task and its message's headers, or None."""
        made = id not in self.gated and isinstance(headers, Mapping) and headers.get(HEADER) == id
        return self.id_of(name) if made else None

    def has_code(self, name: str) -> bool:
        """Say whether the id of a task can be told from any arguments: whether more than its name is known."""
        family = self.families.get(name)
        return family is None or family.has_code

    def id_for(self, name: str, args: Any, kwargs: Any) -> str:
        """Return the concurrency id of a call of a gated task.

        Raises:
            InvalidOption: No id, or none that can be, comes of these arguments.
        """
        family = self.families.get(name)
        return self.ids[name] if family is None else self.check_id(name, family.make(args, kwargs))

    def limit_of(self, id: str, family: str = "") -> int | None:
        """Return the limit of an id: ``concurrency_limits``, else the lowest explicit one, else the default.

        In ``concurrency_limits``, the id itself stands before globs, and these before the name of its family.

        Args:
            family: The family of an id that was made for a call.

        Raises:
            InvalidOption: A callable limit returned something else than a limit.
        """
        limits = self.settings.limits
        if not family and self.needs_of(id):
            return None  # what its tasks need has limits
        limit: int | None = _named(limits, id, family)
        if limit is not UNSET:
            return limit
        explicit = self._explicit.get(family or id)
        if explicit:
            said = [
                check_limit_option(task, limit(id)) if callable(limit) else limit for task, limit in explicit.items()
            ]
            numbers = [limit for limit in said if limit is not None]
            return min(numbers) if numbers else None
        return self.settings.default_limit

    def observes(self, id: str, family: str = "") -> bool:
        """Say whether the limit of an id only watches: by the setting, else if some task says so and none says no.

        Args:
            family: The family of an id that was made for a call.
        """
        setting = self.settings.observe
        if isinstance(setting, bool):
            return setting
        if any(name in (id, family) or fnmatchcase(id, name) for name in setting or ()):
            return True
        said = self._observe.get(family or id, {}).values()
        return bool(said) and all(said)

    def told(self, id: str, family: str = "") -> int:
        """Return what the semaphore is told of an id's limit: the limit, 0 for none, or a negative number for one that
        only watches."""
        limit = self.limit_of(id, family) or 0
        return -limit if limit and self.observes(id, family) else limit

    def known(self, id: str, family: str) -> Known:
        """Return what the semaphore has to know of an id that was made for a call.

        Raises:
            InvalidOption: A callable limit returned something else than a limit.
        """
        return Known(id, family, self.told(id, family), self.needs_of(id, family))

    def max_waiting_of(self, id: str, family: str = "") -> int | None:
        """Return how many tasks of an id may wait: by its setting, else the lowest explicit one, else the default.

        Args:
            family: The family of an id that was made for a call.
        """
        bound = self.settings.max_waiting
        if isinstance(bound, Mapping):
            number: int | None = _named(bound, id, family)
            if number is not UNSET:
                return number
        explicit = self._bounds.get(family or id)
        if explicit:
            return min((number for number in explicit.values() if number is not None), default=None)
        return None if isinstance(bound, Mapping) else bound

    def source_of(self, id: str) -> str:
        """Return where the limit of an id comes from: ``"concurrency_limits"``, ``"task"`` or ``"default"``."""
        limits = self.settings.limits
        if id in limits or any(fnmatchcase(id, glob) for glob in limits):
            return "concurrency_limits"
        return "task" if self._explicit.get(id) else "default"

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
            if self.gates(name) or name.startswith("celery."):
                continue
            queue = self._app.amqp.router.route({}, name).get("queue")
            id = getattr(queue, "name", None)
            if id in self.gated:
                gated = next(task for task, (its, needs) in self._needs.items() if its == id or id in unpack(needs))
                expected = f"another name: the ordinary task {name!r} is routed to the queue of this name"
                raise InvalidOption(gated, "concurrency_id", id, expected)

    def check_id(self, task: str, id: Any) -> str:
        """Return what shall be the concurrency id of a task.

        Raises:
            InvalidOption: It cannot be one.
        """
        return check_id(task, id, self._app.conf.task_default_queue)

    def _warn_of_difference(self, id: str) -> None:
        numbers = {name: limit for name, limit in self._explicit[id].items() if isinstance(limit, int)}
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


def _named(said: Mapping[str, Any], id: str, family: str) -> Any:
    """Return what a setting says of an id: by its name, else by the first glob, else by its family; or ``UNSET``."""
    if id in said:
        return said[id]
    for glob, value in said.items():
        if fnmatchcase(id, glob):
            return value
    return said.get(family, UNSET)


#: Returns the policy of an app; the same one every time.
policy_of = one_for_each(Policy)
