"""``celery control concurrency_...`` and ``celery inspect concurrency``: the same as ``Concurrency``, through a worker.

Every worker that gets a command carries it out; more than once does no harm.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Callable

from celery.worker.control import control_command, inspect_command
from kombu.exceptions import OperationalError

from ..control import Concurrency
from ..exceptions import ConcurrencyError

__all__ = (
    "concurrency",
    "concurrency_pause",
    "concurrency_purge",
    "concurrency_release",
    "concurrency_reset",
    "concurrency_resume",
    "concurrency_set",
    "limit_of",
)


def limit_of(text: Any) -> Any:
    """Return a limit that was written as a word; anything wrong stays as it is, for ``Concurrency`` to refuse."""
    if not isinstance(text, str):
        return text
    if text.lower() == "none":
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text


def _done(state: Any, call: Callable[[Concurrency], Any]) -> dict[str, Any]:
    try:
        return {"ok": asdict(call(Concurrency(state.app, by="celery control")))}
    except ConcurrencyError as exc:
        return {"error": str(exc)}


@inspect_command(args=[("id", str)], signature="[id]")
def concurrency(state: Any, id: str | None = None, **kwargs: Any) -> Any:
    """Limits, running and waiting tasks of every concurrency id, or of one with its holders."""
    control = Concurrency(state.app)
    try:
        return asdict(control.show(id)) if id else [asdict(status) for status in control.list()]
    except ConcurrencyError as exc:
        return {"error": str(exc)}


@control_command(
    args=[("id", str), ("limit", limit_of), ("expires", float), ("note", str)],
    signature="<id> <limit|none> [seconds] [note]",
)
def concurrency_set(
    state: Any, id: Any = None, limit: Any = "", expires: Any = None, note: Any = None, **kwargs: Any
) -> Any:
    """Set the limit of a concurrency id, over the configuration and the code."""
    return _done(state, lambda control: control.set(id, limit_of(limit), expires, note))


@control_command(args=[("id", str)], signature="<id>")
def concurrency_reset(state: Any, id: Any = None, **kwargs: Any) -> Any:
    """Go back to the limit of the configuration or the code."""
    return _done(state, lambda control: control.reset(id))


@control_command(args=[("id", str), ("note", str)], signature="<id> [note]")
def concurrency_pause(state: Any, id: Any = None, note: Any = None, **kwargs: Any) -> Any:
    """Start no task of a concurrency id until it is resumed."""
    return _done(state, lambda control: control.pause(id, note))


@control_command(args=[("id", str)], signature="<id>")
def concurrency_resume(state: Any, id: Any = None, **kwargs: Any) -> Any:
    """Let the tasks of a paused concurrency id start again."""
    return _done(state, lambda control: control.resume(id))


@control_command(args=[("id", str)], signature="<id>")
def concurrency_purge(state: Any, id: Any = None, **kwargs: Any) -> Any:
    """Delete what waits in the queue of a concurrency id."""
    try:
        return {"ok": {"purged": Concurrency(state.app).purge(id)}}
    except (ConcurrencyError, OperationalError) as exc:
        return {"error": str(exc)}


@control_command(args=[("id", str), ("token", str)], signature="<id> <token>")
def concurrency_release(state: Any, id: Any = None, token: Any = None, **kwargs: Any) -> Any:
    """Free a slot by hand."""
    return _done(state, lambda control: control.release(id, token))
