"""Ids made from arguments: a family of ids shares a template, or a callable, and the limit that its tasks name."""

from __future__ import annotations

import inspect
import string
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from .exceptions import InvalidOption

__all__ = ("HEADER", "Family", "family_of", "is_dynamic", "option_of")

#: The message header, and the option of ``apply_async``, that names a task's concurrency id.
HEADER = "concurrency_id"


def option_of(task: Any, name: str) -> Any:
    """Return a task's option as it was written: a function on a class is no method of it."""
    value = inspect.getattr_static(task, name)
    return value.__func__ if isinstance(value, staticmethod) else value


def is_dynamic(option: Any) -> bool:
    """Say whether a ``concurrency_id`` makes an id for each call."""
    return callable(option) or (isinstance(option, str) and "{" in option)


class Family:
    """The ids that one template or callable makes.

    Args:
        task: Name of the task.
        option: Its ``concurrency_id``: a template, or a callable that takes the task's arguments.
        run: What the task runs, without ``self``; None where only its name is known.
        name: Its name, where that is not as usual.

    Attributes:
        name: The template itself, or the task's name where there is a callable.
        has_code: Whether it can be told which argument is which.

    Raises:
        InvalidOption: The template is wrong, or names what is no argument of the task.
    """

    def __init__(self, task: str, option: Any, run: inspect.Signature | None = None, name: str = "") -> None:
        self._task, self._option, self._signature = task, option, run
        self.has_code = run is not None or callable(option)
        self.name: str = name or (task if callable(option) else option)
        if not callable(option):
            self._check_fields()

    def make(self, args: Any, kwargs: Mapping[str, Any] | None) -> Any:
        """Make the id of a call; what comes out is still to be checked.

        Raises:
            InvalidOption: The template cannot be filled from these arguments.
        """
        args, kwargs = tuple(args or ()), dict(kwargs or {})
        if callable(self._option):
            return self._option(*args, **kwargs)
        try:
            return self._option.format_map(self._bound(args, kwargs))
        except (TypeError, LookupError, AttributeError, ValueError) as exc:
            expected = f"arguments that it can be made from ({type(exc).__name__}: {exc})"
            raise InvalidOption(self._task, HEADER, self._option, expected) from exc

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
        if self._signature is None:
            return kwargs
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found = dict(bound.arguments)
        for name, parameter in self._signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                found = {**found[name], **found}
        return found

    def _check_fields(self) -> None:
        try:
            fields = list(_fields(self._option))
        except ValueError as exc:
            raise self._refused(f"a format string ({exc})") from None
        if not fields:
            raise self._refused("a template that names an argument of the task, such as 'tenant-{tenant_id}'")
        parameters = self._signature.parameters if self._signature is not None else None
        for field in fields:
            if not field.isidentifier():
                raise self._refused(f"arguments by their names, not {'{' + field + '}'!r}")
            if parameters is None or field in parameters:
                continue
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
                raise self._refused(f"names of the task's arguments ({', '.join(parameters) or 'it has none'})")

    def _refused(self, expected: str) -> InvalidOption:
        return InvalidOption(self._task, HEADER, self._option, expected)


def _fields(template: str) -> Iterator[str]:
    """Return the arguments that a template names, also those inside format specifications."""
    for _, field, spec, _ in string.Formatter().parse(template):
        if field is not None:
            yield field.partition(".")[0].partition("[")[0]
            if spec:
                yield from _fields(spec)


def family_of(task: Any, option: Any, known: Callable[[str], Any], name: str = "") -> Family:
    """Return the family of a task whose ``concurrency_id`` is a template or a callable.

    Args:
        known: Returns the task of a name, or None: for options that are not on the task itself.
        name: The name of the family, where that is not as usual.
    """
    if not hasattr(task, "run"):
        task = known(task.name) or task
    return Family(task.name, option, _signature(task), name)


def _signature(task: Any) -> inspect.Signature | None:
    """Return the signature of what a task runs, without ``self``."""
    run = getattr(task, "run", None)
    if run is None:
        return None
    raw = inspect.getattr_static(task, "run")
    if isinstance(raw, staticmethod) or not isinstance(task, type):
        return inspect.signature(run)
    signature = inspect.signature(raw)
    return signature.replace(parameters=list(signature.parameters.values())[1:])
