"""``page``: every limit, live, in a browser."""

from __future__ import annotations

import os
import signal
from typing import Any

import click
from celery.bin.base import CeleryOption
from celery.exceptions import CeleryCommandException
from celery.platforms import EX_UNAVAILABLE

from ..exceptions import InvalidControl
from ..page import ConcurrencyPage
from ..page.server import LOCAL, server_at, url_of
from ..policy import policy_of
from .group import asking, command

__all__ = ("page",)

PASSWORD = "CONCURRENCY_PAGE_PASSWORD"


@command("page")
@click.option(
    "-p",
    "--port",
    cls=CeleryOption,
    type=click.IntRange(0, 65535),
    default=5580,
    show_default=True,
    help="Where to listen; 0 for any free port.",
)
@click.option(
    "--bind",
    cls=CeleryOption,
    default="127.0.0.1",
    show_default=True,
    help="The address to listen at. Any but this machine's own needs --user.",
)
@click.option(
    "--user",
    cls=CeleryOption,
    default=None,
    help=f"Let only this user in, with the password in the environment variable {PASSWORD}.",
)
@click.option("--control", cls=CeleryOption, is_flag=True, help="Let that user set limits and pause ids.")
@click.option(
    "--origin",
    "origins",
    cls=CeleryOption,
    multiple=True,
    help="Where a proxy serves the page, as https://ops.example.com; may be repeated.",
)
@click.option(
    "--interval",
    cls=CeleryOption,
    type=click.FloatRange(0.5, 60),
    default=2.0,
    show_default=True,
    help="Seconds between two looks while somebody watches.",
)
def page(
    ctx: Any,
    port: int,
    bind: str,
    user: str | None,
    control: bool,
    origins: tuple[str, ...],
    interval: float,
    **kwargs: Any,
) -> None:
    """Show every limit in a browser, live: who runs, who waits, the last minutes.

    Ctrl-C ends it. To mount the page in a web application instead, see ConcurrencyPage.
    """
    password = os.environ.get(PASSWORD, "")
    if user and not password:
        raise click.UsageError(f"--user needs a password in the environment variable {PASSWORD}", ctx)
    if bind not in LOCAL and not user:
        raise click.UsageError(f"--bind {bind} lets others look: it needs --user, and a password in {PASSWORD}", ctx)
    # Without a password, a foreign page could ask by a name of its own that leads here.
    hosts = None if user else LOCAL
    try:
        application = ConcurrencyPage(
            ctx.obj.app,
            users={user: password} if user else None,
            control=control,
            hosts=hosts,
            origins=origins,
            interval=interval,
        )
    except InvalidControl as exc:
        if control and not user:
            raise click.UsageError("--control needs --user: nobody changes limits unnamed", ctx) from exc
        raise click.UsageError(str(exc), ctx) from exc
    with asking(ctx):
        policy_of(ctx.obj.app).settings  # noqa: B018 - a setting that cannot be is said now, not to browsers
    try:
        server = server_at(bind, port, application)
    except OSError as exc:
        message = f"cannot listen at {bind}, port {port}: {exc.strerror or exc}"
        raise CeleryCommandException(message=message, exit_code=EX_UNAVAILABLE) from exc
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with server:
        ctx.obj.echo(f"Limits are shown at {url_of(server)} (Ctrl-C ends)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
