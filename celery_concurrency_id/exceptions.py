"""Every error of the package, under one root."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = (
    "CannotYield",
    "ConcurrencyError",
    "DeadlockError",
    "InvalidControl",
    "InvalidOption",
    "InvalidSetting",
    "QueueFullError",
    "SemaphoreUnavailable",
    "UnsupportedBroker",
)


class ConcurrencyError(Exception):
    """Root of all errors raised by celery-concurrency-id."""


class InvalidOption(ConcurrencyError, ValueError):
    """A task option is wrong; raised when the task is bound, or, for what a call names, when it is called.

    Attributes:
        task: Name of the task.
        option: Name of the option.
        value: What was given.
        expected: What would be right.
    """

    def __init__(self, task: str, option: str, value: Any, expected: str) -> None:
        self.task, self.option, self.value, self.expected = task, option, value, expected
        super().__init__(task, option, value, expected)  # from these, result backends make it anew

    def __str__(self) -> str:
        return f"task {self.task!r}: {self.option}={self.value!r} is refused: expected {self.expected}"


class InvalidSetting(ConcurrencyError, ValueError):
    """A setting is wrong; raised when the settings are first read.

    Attributes:
        setting: Name of the setting.
        value: What was given.
        expected: What would be right.
    """

    def __init__(self, setting: str, value: Any, expected: str) -> None:
        self.setting, self.value, self.expected = setting, value, expected
        super().__init__(f"setting {setting}={value!r} is refused: expected {expected}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.setting, self.value, self.expected)


class QueueFullError(ConcurrencyError):
    """As many tasks of an id wait as may wait; raised by the publish, which sends nothing.

    Attributes:
        id: The concurrency id.
        size: How many tasks wait.
        limit: How many may: its ``concurrency_max_waiting``.
    """

    def __init__(self, id: str, size: int, limit: int) -> None:
        self.id, self.size, self.limit = id, size, limit
        # By these, a result backend that writes JSON makes the error anew.
        super().__init__(id, size, limit)

    def __str__(self) -> str:
        return f"the queue of {self.id!r} is full: {self.size} tasks wait, and concurrency_max_waiting is {self.limit}"


class DeadlockError(ConcurrencyError):
    """A task waits for one that can only run once it ends itself; raised by the ``get`` or ``join`` of a result.

    Attributes:
        id: The concurrency id.
        holders: How many slots of it are held, all by tasks that wait like this one.
        task: Id of the task that waits for its slot.
    """

    def __init__(self, id: str, holders: int, task: str) -> None:
        self.id, self.holders, self.task = id, holders, task
        super().__init__(id, holders, task)  # from these, result backends make it anew

    def __str__(self) -> str:
        held, verb = ("the only slot", "is") if self.holders == 1 else (f"all {self.holders} slots", "are")
        return (
            f"this task would wait for ever: {self.task} waits for a slot of {self.id!r}, and {held} of it {verb} held "
            "by tasks that wait for such a task, as this one does. Give the slot back while you wait (with "
            "self.yield_slot(): result.get(...)), or give the task that you wait for another concurrency_id"
        )


class CannotYield(ConcurrencyError):
    """A task that takes slots of several limits wants to give them back for a while; raised by ``with yield_slot():``
    before anything was changed.

    Attributes:
        task: Name of the task.
        slots: The slots that it holds, by concurrency id.
    """

    def __init__(self, task: str, slots: Mapping[str, int]) -> None:
        self.task, self.slots = task, dict(slots)
        super().__init__(task, self.slots)  # from these, result backends make it anew

    def __str__(self) -> str:
        return (
            f"task {self.task!r}: yield_slot is refused, and the task keeps its slots: it takes {self.slots!r}, all of "
            "them or none, and only a task with one slot of one concurrency id can give it back for a while. Let what "
            "comes after the wait be a task of its own (a chain, a chord), or wait in a task without these limits"
        )


class InvalidControl(ConcurrencyError, ValueError):
    """An operator asked for something that cannot be; raised before anything was changed.

    Attributes:
        command: What was asked for, as ``"set"``.
        argument: Name of the wrong argument.
        value: What was given.
        expected: What would be right.
    """

    def __init__(self, command: str, argument: str, value: Any, expected: str) -> None:
        self.command, self.argument, self.value, self.expected = command, argument, value, expected
        super().__init__(f"{command}: {argument} {value!r} is refused: expected {expected}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.command, self.argument, self.value, self.expected)


class SemaphoreUnavailable(ConcurrencyError):
    """Redis, which holds the slots, cannot be reached or answers with an error."""


class UnsupportedBroker(ConcurrencyError, ValueError):
    """The broker's transport cannot serve gated queues; raised at worker start.

    Attributes:
        transport: Name of the transport.
    """

    def __init__(self, transport: str, expected: str) -> None:
        self.transport, self.expected = transport, expected
        super().__init__(f"broker transport {transport!r} cannot serve tasks with a concurrency limit: {expected}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.transport, self.expected)
