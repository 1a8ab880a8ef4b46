"""``watch``: the list, again and again."""

from __future__ import annotations

import time
from typing import Any

import click
from celery.bin.base import CeleryOption

from .group import as_json, asking, command, json_option
from .rates import Rates
from .text import status_table

__all__ = ("watch",)


@command("watch")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option(
    "-i",
    "--interval",
    cls=CeleryOption,
    type=click.FloatRange(0.1),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("-c", "--count", cls=CeleryOption, type=click.IntRange(1), help="How many looks; unset: until Ctrl-C.")
@json_option
def watch(ctx: Any, ids: tuple[str, ...], interval: float, count: int | None, as_json_: bool, **kwargs: Any) -> None:
    """Watch every concurrency id, or those named, with the tasks per second that leave each queue.

    With --json, one line for each look.
    """
    rates, looks = Rates(), 0
    try:
        while count is None or looks < count:
            if looks:
                time.sleep(interval)  # between two looks
            with asking(ctx) as control:
                statuses = [status for status in control.list() if not ids or status.id in ids]
            speeds, looks = rates.since_last(statuses), looks + 1
            if as_json_:
                as_json(ctx, {"time": time.time(), "ids": statuses, "rates": speeds})
            else:
                click.clear()
                ctx.obj.echo(f"{time.strftime('%H:%M:%S')}  every {interval:g} s, Ctrl-C ends\n")
                ctx.obj.echo(status_table(statuses, speeds))
    except KeyboardInterrupt:
        pass
