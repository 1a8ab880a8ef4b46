"""``list``, ``show``, ``observed`` and ``why``."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import click
from celery.bin.base import CeleryOption
from celery.platforms import EX_UNAVAILABLE

from .group import as_json, asking, command, id_argument, json_option
from .rates import Rates
from .text import details_text, observed_text, printable, status_table

__all__ = ("list_", "observed", "show", "why")


@command("list")
@click.option(
    "-r",
    "--rate",
    cls=CeleryOption,
    type=click.FloatRange(0.1),
    help="Look twice, so many seconds apart, and show the tasks per second that left each queue.",
)
@json_option
def list_(ctx: Any, rate: float | None, as_json_: bool, **kwargs: Any) -> None:
    """List every concurrency id: limit, where it comes from, running and waiting tasks."""
    rates = Rates()
    with asking(ctx) as control:
        statuses = control.list()
        speeds = rates.since_last(statuses)
        if rate:
            time.sleep(rate)  # a rate is of a stretch of time
            statuses = control.list()
            speeds = rates.since_last(statuses)
    if as_json_:
        as_json(ctx, [{**asdict(each), "rate": speeds.get(each.id)} for each in statuses])
    elif statuses:
        ctx.obj.echo(status_table(statuses, speeds if rate else None))
    else:
        ctx.obj.echo("No concurrency ids: no task of this app has a limit, and no worker serves one.")


@command("show")
@id_argument
@click.option(
    "--head", cls=CeleryOption, type=click.IntRange(0), default=10, show_default=True, help="Waiting tasks to show."
)
@json_option
def show(ctx: Any, id: str, head: int, as_json_: bool, **kwargs: Any) -> None:
    """Show who holds the slots of ID, who has given one back for a while, and what waits first."""
    with asking(ctx) as control:
        details = control.show(id, head)
    if as_json_:
        as_json(ctx, details)
    else:
        ctx.obj.echo(details_text(details))


@command("observed")
@id_argument
@click.option("--anew", cls=CeleryOption, is_flag=True, help="Begin anew after that.")
@json_option
def observed(ctx: Any, id: str, anew: bool, as_json_: bool, **kwargs: Any) -> None:
    """Show what the limit of ID, which only watches, would have done."""
    with asking(ctx) as control:
        figures = control.observed(id, anew)
    if as_json_:
        as_json(ctx, figures)
    else:
        ctx.obj.echo(observed_text(figures))


@command("why")
@click.argument("task_id")
@json_option
def why(ctx: Any, task_id: str, as_json_: bool, **kwargs: Any) -> None:
    """Say where the task TASK_ID is, and why it does not run."""
    with asking(ctx) as control:
        answer = control.why(task_id)
    if as_json_:
        as_json(ctx, answer)
    else:
        rank = answer.position.rank if answer.position else None
        if rank is None and answer.place:
            rank = answer.place.rank
        place = f" in {answer.id!r}, rank {rank}" if answer.place else ""
        place = f" in a slot of {answer.id!r}" if answer.holder else place
        place = f" from a slot of {answer.id!r}" if answer.away else place
        ctx.obj.echo(printable(f"{answer.task}: {answer.state}{place}"))
        for reason in answer.reasons:
            ctx.obj.echo(printable(f"- {reason}"))
    if answer.state == "unavailable":
        ctx.exit(EX_UNAVAILABLE)
