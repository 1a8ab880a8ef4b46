"""The options of a task: what says nothing, and what is right."""

from __future__ import annotations

import re
from typing import Any

from .exceptions import InvalidOption
from .families import HEADER, Family, is_dynamic, option_of
from .lanes import Plan, plan_of
from .settings import TASK_OPTIONS, check_limit

__all__ = ("MAX_ID_BYTES", "UNSET", "check_id", "check_limit_option", "check_options")

#: Bytes of an id's name: RabbitMQ takes 255 for a queue, kombu adds a priority to it on Redis.
MAX_ID_BYTES = 200


class _Unset:
    """The value of an option that nobody set; ``None`` is a value of its own: no limit."""

    def __repr__(self) -> str:
        return "UNSET"

    def __reduce__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()


def check_options(task: Any, default_queue: str) -> tuple[str, Plan]:
    """Return the concurrency id, or the name of the family of ids, of a task whose options are right, and its plan.

    Args:
        default_queue: ``task_default_queue``.

    Raises:
        InvalidOption: An option is wrong.
    """
    said = {name: option_of(task, name) for name in TASK_OPTIONS}
    limit, bound = said["concurrency_limit"], said["concurrency_max_waiting"]
    plan = plan_of(task.name, said, UNSET)
    option = HEADER if said["concurrency"] is None else "concurrency"
    for other in plan.needs:
        check_id(task.name, other, default_queue, option)
    if is_dynamic(plan.option):
        id = Family(task.name, plan.option, None, plan.family).name
    else:
        id = check_id(task.name, plan.option, default_queue, option)
    for name in ("concurrency_limit", "concurrency_key_limit"):
        if said[name] is not UNSET and not callable(said[name]):
            check_limit_option(task.name, said[name], name)
    if plan.needs and callable(limit):
        raise InvalidOption(task.name, "concurrency_limit", limit, "an int of 1 or more, or None for no limit")
    if bound is not UNSET and not check_limit(bound):
        expected = "an int of 1 or more, None for no bound, or no option at all"
        raise InvalidOption(task.name, "concurrency_max_waiting", bound, expected)
    observe = said["concurrency_observe"]
    if observe is not UNSET and not isinstance(observe, bool):
        raise InvalidOption(task.name, "concurrency_observe", observe, "True, False, or no option at all")
    if observe is not UNSET and plan.needs:
        expected = "no such option on a task that takes slots of other ids; the setting concurrency_observe names ids"
        raise InvalidOption(task.name, "concurrency_observe", observe, expected)
    return id, plan


def check_limit_option(task: str, limit: Any, option: str = "concurrency_limit") -> int | None:
    """Return what shall be a limit.

    Raises:
        InvalidOption: It cannot be one.
    """
    if not check_limit(limit):
        expected = "an int of 1 or more, None for no limit, or a callable"
        raise InvalidOption(task, option, limit, expected)
    return limit  # type: ignore[no-any-return]  # checked


def check_id(task: str, id: Any, default_queue: str, option: str = HEADER) -> str:
    """Return what shall be the concurrency id of a task.

    Args:
        default_queue: ``task_default_queue``.

    Raises:
        InvalidOption: It cannot be one.
    """
    if not isinstance(id, str) or not id:
        expected = "a name: a str that is not empty"
    elif len(id.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        expected = f"a name of {MAX_ID_BYTES} bytes at most"
    elif re.search(r"[\s\x00-\x1f\x7f\ud800-\udfff]", id):
        expected = "a name without spaces and control characters"
    elif id.startswith("amq."):
        expected = "a name that RabbitMQ does not reserve (amq.*)"
    elif id == default_queue:
        expected = "another name: this is task_default_queue, which workers consume for ordinary tasks"
    else:
        return id
    raise InvalidOption(task, option, id, expected)
