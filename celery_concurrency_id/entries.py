"""``concurrency_tasks``: options by task name or glob, for tasks whose code says nothing of limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any

from .exceptions import InvalidOption, InvalidSetting
from .families import HEADER
from .options import UNSET, check_options
from .settings import tasks_of

__all__ = ("NOTHING", "Entries", "refusing")

#: What a task says that has no options of its own.
NOTHING: Mapping[str, Any] = {
    "concurrency_id": None,
    "concurrency_limit": UNSET,
    "concurrency_max_waiting": UNSET,
    "concurrency_observe": UNSET,
    "concurrency": None,
    "concurrency_slots": 1,
    "concurrency_key": None,
    "concurrency_key_limit": UNSET,
}


class Entries:
    """The entries of an app's ``concurrency_tasks``; what is wrong is wrong here, whoever has the code of the task.

    Raises:
        InvalidSetting: ``concurrency_tasks`` is wrong.
    """

    def __init__(self, conf: Any) -> None:
        self._entries: Mapping[str, Any] = tasks_of(conf)
        for entry, options in self._entries.items():
            said = {**NOTHING, **(options or {})}
            if said["concurrency"] is None and said[HEADER] is None:
                said[HEADER] = "any"
            with refusing(entry):
                check_options(SimpleNamespace(name=entry, **said), conf.task_default_queue)

    def about(self, name: str) -> str | None:
        """Return which entry is about a task: its own, else the first glob in order."""
        if name in self._entries:
            return name
        if name.startswith("celery."):
            return None  # Celery's own tasks are meant by their names, never by a glob
        return next((glob for glob in self._entries if fnmatchcase(name, glob)), None)

    def options(self, entry: str, own: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return all options of a task, or None where its entry says that it has no limit.

        Args:
            own: What its code says.
        """
        said = self._entries[entry]
        if said is None:
            return None
        if "concurrency" in said or (HEADER in said and own["concurrency"] is not None):
            # It stands in place of all that the code says of ids and slots.
            own = {**NOTHING, "concurrency_max_waiting": own["concurrency_max_waiting"]}
        return {**own, **said}


@contextmanager
def refusing(entry: str) -> Iterator[None]:
    """Tell of a wrong option as of one that the configuration gives."""
    try:
        yield
    except InvalidOption as exc:
        expected = f"{exc.expected}, as {exc.option} of task {exc.task!r}"
        raise InvalidSetting("concurrency_tasks", {entry: {exc.option: exc.value}}, expected) from None
