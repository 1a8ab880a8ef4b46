"""The group, and what its commands share: options, errors with exit codes, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Any, Callable

import click
from celery.bin.base import CeleryCommand, CeleryOption, handle_preload_options
from celery.exceptions import CeleryCommandException
from celery.platforms import EX_FAILURE, EX_UNAVAILABLE
from click_didyoumean import DYMGroup
from kombu.exceptions import OperationalError

from ..control import Concurrency
from ..exceptions import InvalidControl, InvalidSetting, SemaphoreUnavailable
from ..policy import policy_of
from ..semaphore.connect import redacted

__all__ = (
    "as_json",
    "asking",
    "command",
    "concurrency",
    "control_of",
    "force_option",
    "id_argument",
    "json_option",
    "note_option",
)


@click.group(name="concurrency", cls=DYMGroup)
def concurrency(**kwargs: Any) -> None:  # options of the app that Celery adds to every command
    """Look at concurrency limits, and change them while everything runs."""


def command(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Make a command of the group."""

    def make(run: Callable[..., Any]) -> Any:
        return click.command(name=name, cls=CeleryCommand)(click.pass_context(handle_preload_options(run)))

    return make


def json_option(run: Any) -> Any:
    """Add the option for a program that reads what is printed."""
    help = "Use json as output format."
    return click.option("-j", "--json", "as_json_", cls=CeleryOption, is_flag=True, help=help)(run)


def id_argument(run: Any) -> Any:
    """Add the argument ID."""
    return click.argument("id")(run)


def note_option(run: Any) -> Any:
    """Add the option for a note."""
    return click.option("-n", "--note", cls=CeleryOption, default="", help="Why, for those who look later.")(run)


def force_option(run: Any) -> Any:
    """Add the option that asks nothing."""
    return click.option("-f", "--force", cls=CeleryOption, is_flag=True, help="Don't prompt for verification.")(run)


def control_of(ctx: Any) -> Concurrency:
    """Return the control of the command's app, with its tasks imported: they name the ids."""
    app = ctx.obj.app
    app.loader.import_default_modules()
    app.finalize(auto=True)
    return Concurrency(app)


@contextmanager
def asking(ctx: Any) -> Iterator[Concurrency]:
    """Talk to Redis and the broker; turn errors into messages and exit codes."""
    try:
        yield control_of(ctx)
    except InvalidControl as exc:
        raise click.UsageError(str(exc), ctx) from exc
    except InvalidSetting as exc:
        raise CeleryCommandException(message=str(exc), exit_code=EX_FAILURE) from exc
    except SemaphoreUnavailable as exc:
        where = redacted(policy_of(ctx.obj.app).settings.url)
        message = f"Redis at {where}, which holds the slots, cannot be reached: {exc}"
        raise CeleryCommandException(message=message, exit_code=EX_UNAVAILABLE) from exc
    except OperationalError as exc:
        where = ctx.obj.app.connection_for_write().as_uri()
        message = f"the broker at {where} cannot be reached: {exc}"
        raise CeleryCommandException(message=message, exit_code=EX_UNAVAILABLE) from exc


def as_json(ctx: Any, told: Any) -> None:
    """Print what was told as JSON, on one line."""
    ctx.obj.echo(json.dumps(told, default=_plain, ensure_ascii=False))


def _plain(told: Any) -> Any:
    if is_dataclass(told) and not isinstance(told, type):
        return asdict(told)
    raise TypeError(f"{type(told).__name__} has no JSON")
