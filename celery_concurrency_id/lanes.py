"""Tasks that need more than one slot: what their options say, and the name of the queue in which they wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .exceptions import InvalidOption
from .families import HEADER, is_dynamic

__all__ = ("MOST_SLOTS", "Plan", "lane_of", "plan_of")

#: Slots of one limit that a task may need: each is an entry of its own in Redis.
MOST_SLOTS = 1000

_BESIDE = ("concurrency_id", "concurrency_limit", "concurrency_slots", "concurrency_key", "concurrency_key_limit")


@dataclass(frozen=True)
class Plan:
    """What a task's options come to.

    Attributes:
        option: The concurrency id of its queue; or the template or callable that makes one for each call.
        limited: The id whose limit its ``concurrency_limit`` is.
        needs: Slots that one task needs of other ids, by these; empty where it needs one of its own id only.
        family: The name of the family of ids that the option makes, where that is not as usual.
    """

    option: Any
    limited: Any
    needs: Mapping[str, int] = field(default_factory=dict)
    family: str = ""


def lane_of(needs: Mapping[str, int]) -> str:
    """Return the name of the queue in which all tasks wait that need just these slots."""
    return "+".join(str(id) if slots == 1 else f"{id}:{slots}" for id, slots in needs.items())


def plan_of(task: str, said: Mapping[str, Any], unset: Any) -> Plan:
    """Return what the options of a task come to.

    Args:
        said: What each option says.
        unset: What an option says that nobody set.

    Raises:
        InvalidOption: They do not go together, or one of those that name slots or keys is wrong.
    """
    id = task if said[HEADER] is None else said[HEADER]
    if said["concurrency"] is not None:
        return _several(task, said, unset)
    slots, key = said["concurrency_slots"], said["concurrency_key"]
    if type(slots) is not int or not 1 <= slots <= MOST_SLOTS:
        raise InvalidOption(task, "concurrency_slots", slots, f"an int from 1 to {MOST_SLOTS}")
    if key is None and said["concurrency_key_limit"] is not unset:
        expected = "a concurrency_key beside it, such as '{user_id}'"
        raise InvalidOption(task, "concurrency_key_limit", said["concurrency_key_limit"], expected)
    if slots == 1 and key is None:
        return Plan(id, id)
    option = "concurrency_key" if key is not None else "concurrency_slots"
    if is_dynamic(id):
        raise InvalidOption(task, HEADER, id, f"a name that is always the same, beside {option}")
    if key is None:
        return _wide(task, id, slots, said["concurrency_limit"])
    if slots != 1:
        raise InvalidOption(task, "concurrency_slots", slots, "no such option beside concurrency_key")
    return _keyed(task, id, key)


def _wide(task: str, id: Any, slots: int, limit: Any) -> Plan:
    if type(limit) is int and 0 < limit < slots:
        raise InvalidOption(task, "concurrency_slots", slots, f"no more than its concurrency_limit, {limit}")
    return Plan(lane_of({id: slots}), id, {id: slots})


def _several(task: str, said: Mapping[str, Any], unset: Any) -> Plan:
    needs = said["concurrency"]
    for other in _BESIDE:
        if said[other] not in (None, unset) and (other, said[other]) != ("concurrency_slots", 1):
            expected = "none beside concurrency, which names ids and slots; limits stand in concurrency_limits or on "
            expected += "the tasks that have one of these ids alone"
            raise InvalidOption(task, other, said[other], expected)
    if not isinstance(needs, Mapping) or not needs:
        raise InvalidOption(task, "concurrency", needs, "a dict of slots by concurrency id, as {'gpu': 1, 'api': 2}")
    for id, slots in needs.items():
        if type(slots) is not int or not 1 <= slots <= MOST_SLOTS:
            raise InvalidOption(task, "concurrency", {id: slots}, f"an int from 1 to {MOST_SLOTS} for each id")
        if is_dynamic(id):
            raise InvalidOption(task, "concurrency", {id: slots}, "names that are always the same")
    if list(needs.values()) == [1]:
        return Plan(*needs, *needs)
    ordered = dict(sorted(needs.items(), key=lambda need: str(need[0])))
    return Plan(lane_of(ordered), "", ordered)


def _keyed(task: str, id: Any, key: Any) -> Plan:
    if not is_dynamic(key):
        expected = "a template that names an argument of the task, such as '{user_id}', or a callable"
        raise InvalidOption(task, "concurrency_key", key, expected)
    if isinstance(key, str):
        return Plan(f"{id}/{key}", id, {id: 1})
    return Plan(_prefixed(id, key), id, {id: 1}, f"{id}/{task}")


def _prefixed(id: str, key: Callable[..., Any]) -> Callable[..., str]:
    def made(*args: Any, **kwargs: Any) -> str:
        return f"{id}/{key(*args, **kwargs)}"

    return made
