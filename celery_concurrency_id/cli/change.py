"""``set``, ``reset``, ``pause``, ``resume``, ``drain``, ``purge`` and ``release``."""

from __future__ import annotations

from typing import Any

import click
from celery.bin.base import CeleryOption
from celery.platforms import EX_FAILURE

from ..control.views import IdStatus
from ..worker.commands import limit_of
from .group import as_json, asking, command, force_option, id_argument, json_option, note_option
from .text import line_of, printable

__all__ = ("drain", "pause", "purge", "release", "reset", "resume", "set_")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic for type checkers of newer releases
    """Seconds, or a number with a unit: ``90``, ``15m``, ``2h``, ``1d``."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        text = str(value)
        unit = _UNITS.get(text[-1:])
        try:
            return float(text[:-1]) * unit if unit else float(text)
        except ValueError:
            self.fail(f"{value!r} is no duration: expected seconds, or a number with s, m, h or d", param, ctx)


DURATION = Duration()


def _say(ctx: Any, status: IdStatus, as_json_: bool) -> None:
    if as_json_:
        as_json(ctx, status)
    else:
        ctx.obj.echo(line_of(status))


def _confirm(ctx: Any, force: bool, question: str) -> None:
    if not force:
        # To stderr: what is printed may be read by a program.
        warning = ctx.obj.style("WARNING", fg="red")
        click.confirm(
            f"{warning}: {printable(question)}\n(to skip this prompt use the -f option)\nGo on?", None, True, err=True
        )


@command("set")
@id_argument
@click.argument("limit")
@click.option(
    "-e",
    "--expires",
    cls=CeleryOption,
    type=DURATION,
    help="Go back to the code's limit after so long: 90, 15m, 2h, 1d.",
)
@note_option
@json_option
def set_(ctx: Any, id: str, limit: str, expires: float | None, note: str, as_json_: bool, **kwargs: Any) -> None:
    """Set the limit of ID to LIMIT, over the configuration and the code.

    LIMIT is a number from 1, or "none" for no limit. Running tasks go on. To let nothing run, use pause.
    """
    with asking(ctx) as control:
        _say(ctx, control.set(id, limit_of(limit), expires, note), as_json_)


@command("reset")
@id_argument
@json_option
def reset(ctx: Any, id: str, as_json_: bool, **kwargs: Any) -> None:
    """Go back to the limit of ID in the configuration or the code."""
    with asking(ctx) as control:
        _say(ctx, control.reset(id), as_json_)


@command("pause")
@id_argument
@note_option
@json_option
def pause(ctx: Any, id: str, note: str, as_json_: bool, **kwargs: Any) -> None:
    """Start no task of ID until it is resumed; running tasks go on."""
    with asking(ctx) as control:
        _say(ctx, control.pause(id, note), as_json_)


@command("resume")
@id_argument
@json_option
def resume(ctx: Any, id: str, as_json_: bool, **kwargs: Any) -> None:
    """Let the tasks of a paused ID start again."""
    with asking(ctx) as control:
        _say(ctx, control.resume(id), as_json_)


@command("drain")
@id_argument
@click.option(
    "-t", "--timeout", cls=CeleryOption, type=DURATION, help="How long to wait: 90, 15m, 2h; unset: for ever."
)
@note_option
@force_option
@json_option
def drain(ctx: Any, id: str, timeout: float | None, note: str, force: bool, as_json_: bool, **kwargs: Any) -> None:
    """Pause ID and wait until none of its tasks runs.

    Waiting tasks stay in the queue; ID stays paused. Exits with 1 if tasks still run after the timeout.
    """
    _confirm(ctx, force, f"No task of {id!r} will start until you resume it.")
    with asking(ctx) as control:
        drained = control.drain(id, timeout, note)
    if as_json_:
        as_json(ctx, drained)
    else:
        said = "nothing runs" if drained.done else f"{drained.running} still running"
        ctx.obj.echo(printable(f"{id}: {said}, {drained.waiting} waiting; it stays paused"))
    if not drained.done:
        ctx.exit(EX_FAILURE)


@command("purge")
@id_argument
@force_option
@json_option
def purge(ctx: Any, id: str, force: bool, as_json_: bool, **kwargs: Any) -> None:
    """Delete every task that waits in the queue of ID. There is no undo."""
    _confirm(ctx, force, f"This will delete all waiting tasks of {id!r}. There is no undo.")
    with asking(ctx) as control:
        count = control.purge(id)
    if as_json_:
        as_json(ctx, {"id": id, "purged": count})
    else:
        ctx.obj.echo(printable(f"{id}: {count} messages deleted"))


@command("release")
@id_argument
@click.argument("token")
@force_option
@json_option
def release(ctx: Any, id: str, token: str, force: bool, as_json_: bool, **kwargs: Any) -> None:
    """Free the slot TOKEN of ID by hand, as show tells it.

    For a slot that is stuck: a task that runs in it goes on, beside the limit.
    """
    _confirm(ctx, force, f"A task that runs in slot {token} of {id!r} goes on, and the limit may be exceeded.")
    with asking(ctx) as control:
        holder = control.release(id, token)
    if as_json_:
        as_json(ctx, holder)
    else:
        ctx.obj.echo(
            printable(
                f"{id}: slot {token} is free; it was held by {holder.task or 'no task'} on {holder.worker or 'nobody'}"
            )
        )
