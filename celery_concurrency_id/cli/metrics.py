"""``metrics``: how every limit is, for Prometheus; also the dashboard and the alert rules that go with it."""

from __future__ import annotations

import threading
from importlib.resources import files
from typing import Any

import click
from celery.bin.base import CeleryOption
from celery.exceptions import CeleryCommandException
from celery.platforms import EX_FAILURE

from ..policy import policy_of
from .group import as_json, asking, command, json_option

__all__ = ("metrics",)


@command("metrics")
@click.option(
    "-p", "--port", cls=CeleryOption, type=click.IntRange(0, 65535), default=9809, show_default=True,
    help="Where to answer; 0 for any port that is free.",
)  # fmt: skip
@click.option("--host", cls=CeleryOption, help="Address to listen on; unset: the setting concurrency_metrics_host.")
@click.option(
    "--ids", cls=CeleryOption, type=click.IntRange(0),
    help="Ids with series of their own, the others share one; unset: the setting concurrency_metrics_ids.",
)  # fmt: skip
@click.option("--id", "always", cls=CeleryOption, multiple=True, help="An id that always has some; may be repeated.")
@click.option("--once", cls=CeleryOption, is_flag=True, help="Print everything and exit, instead of serving it.")
@click.option("--dashboard", "file", cls=CeleryOption, flag_value="grafana.json", help="Print a Grafana dashboard.")
@click.option("--rules", "file", cls=CeleryOption, flag_value="alerts.yml", help="Print alert rules for Prometheus.")
@json_option
def metrics(
    ctx: Any,
    port: int,
    host: str | None,
    ids: int | None,
    always: tuple[str, ...],
    once: bool,
    file: str | None,
    as_json_: bool,
    **kwargs: Any,
) -> None:
    """Serve how every limit is at /metrics, for Prometheus, until it is stopped.

    With --json, the line that says where is JSON.
    """
    if file:
        click.echo(
            files("celery_concurrency_id").joinpath("dashboards").joinpath(file).read_text(encoding="utf-8"), nl=False
        )
        return
    try:
        from prometheus_client import CollectorRegistry, generate_latest

        from ..metrics import ConcurrencyCollector
        from ..metrics.server import MetricsServer
    except ImportError as exc:
        message = "metrics need prometheus-client: pip install 'celery-concurrency-id[metrics]'"
        raise CeleryCommandException(message=message, exit_code=EX_FAILURE) from exc
    with asking(ctx) as control:  # imports the app's tasks
        settings = policy_of(control.app).settings
        collector: Any = ConcurrencyCollector(control.app, ids, always)
    registry = CollectorRegistry()
    registry.register(collector)
    if once:
        click.echo(generate_latest(registry), nl=False)
        return
    host = host or settings.metrics_host
    try:
        server = MetricsServer(registry, host, port)
    except OSError as exc:
        message = f"port {port} on {host} cannot be had: {exc}"
        raise CeleryCommandException(message=message, exit_code=EX_FAILURE) from exc
    url = f"http://{f'[{host}]' if ':' in host else host}:{server.port}/metrics"
    if as_json_:
        as_json(ctx, {"url": url})
    else:
        ctx.obj.echo(f"metrics at {url}, Ctrl-C ends")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.close()
