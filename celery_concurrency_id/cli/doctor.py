"""``doctor``: what is wrong, and what to change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from celery.platforms import EX_FAILURE

from ..control.broker import broker_problem
from ..control.concurrency import Concurrency
from ..control.views import IdDetails, IdStatus
from ..exceptions import ConcurrencyError, InvalidSetting, SemaphoreUnavailable
from ..policy import policy_of
from ..semaphore.connect import redacted
from ..worker.checks import check_broker, check_redis
from .group import as_json, command, control_of, json_option
from .text import printable

__all__ = ("Finding", "doctor", "examine")

#: Seconds without a heartbeat after which a holder is suspicious; a beat comes every second or so.
_SILENT = 5.0


@dataclass(frozen=True)
class Finding:
    """What one check found; ``problem`` says what to change, and is empty where all is well."""

    check: str
    problem: str


@command("doctor")
@json_option
def doctor(ctx: Any, as_json_: bool, **kwargs: Any) -> None:
    """Check settings, Redis, broker, queues, workers and leases, and say what to change.

    Exits with 1 if something is wrong.
    """
    findings = list(examine(ctx.obj.app, control_of(ctx)))
    problems = [finding for finding in findings if finding.problem]
    if as_json_:
        as_json(ctx, {"ok": not problems, "checks": findings})
    else:
        for finding in findings:
            word = ctx.obj.ERROR if finding.problem else ctx.obj.OK
            ctx.obj.echo(f"{word} {finding.check}" + (f": {printable(finding.problem)}" if finding.problem else ""))
    if problems:
        ctx.exit(EX_FAILURE)


def examine(app: Any, control: Concurrency) -> Iterator[Finding]:
    """Run every check; yields at least one finding each, in an order in which the first causes the next."""
    policy = policy_of(app)
    try:
        where = redacted(policy.settings.url)
        policy.limits()  # looks every task up, which the routes need
        policy.check_routes()
    except ConcurrencyError as exc:
        yield Finding("settings", str(exc))
        if isinstance(exc, InvalidSetting):
            return
    else:
        yield Finding("settings", "")
    trouble = broker_problem(app)
    yield Finding("broker", trouble or "")
    if not trouble:
        yield from _found("time limits", check_broker(policy, app, _visibility_timeout(app)))
    try:
        statuses = control.list()
    except SemaphoreUnavailable as exc:
        yield Finding("Redis", f"{where} cannot be reached ({exc}): is it running, and concurrency_url right?")
        return
    yield from _found("Redis", check_redis(policy))
    yield from _found("workers", _unserved(statuses))
    yield from _found("limits", _disagreements(statuses, policy.gated))
    yield from _found("pauses", _paused(statuses))
    yield from _found("leases", _leases(control, statuses))


def _found(check: str, problems: list[str]) -> Iterator[Finding]:
    if not problems:
        yield Finding(check, "")
    for problem in problems:
        yield Finding(check, problem)


def _visibility_timeout(app: Any) -> float | None:
    connection = app.connection_for_read()
    if connection.transport.driver_type != "redis":
        return None
    return float((app.conf.broker_transport_options or {}).get("visibility_timeout", 3600))


def _unserved(statuses: tuple[IdStatus, ...]) -> list[str]:
    return [
        f"{each.waiting} tasks wait in {each.id!r}, but no worker that is alive serves it: start one without -Q, or "
        f"with -Q {each.id}"
        for each in statuses
        if each.waiting and not each.workers
    ]


def _disagreements(statuses: tuple[IdStatus, ...], gated: frozenset[str]) -> list[str]:
    return [
        f"workers say that the limit of {each.id!r} is {each.code_limit}, the code here says otherwise: deploy the "
        "same code everywhere, and start the workers anew"
        for each in statuses
        if each.id in gated and each.source == "workers"
    ] + [
        f"{each.running} slots of {each.id!r} are taken, its limit is {each.limit}: it was lowered, or tasks outlived "
        "their leases; nothing new starts until fewer run"
        for each in statuses
        if each.limit is not None and each.running > each.limit
    ]


def _paused(statuses: tuple[IdStatus, ...]) -> list[str]:
    return [
        f"{each.id!r} is paused by {each.pause.by}, and {each.waiting} tasks wait: celery concurrency resume {each.id}"
        for each in statuses
        if each.pause and each.waiting
    ]


def _leases(control: Concurrency, statuses: tuple[IdStatus, ...]) -> list[str]:
    problems = []
    for status in statuses:
        details: IdDetails | None = control.show(status.id, 0) if status.running else None
        for holder in details.holders if details else ():
            if holder.lease_age is None or holder.lease_age > _SILENT:
                heard = "is gone" if holder.lease_age is None else f"was not heard for {holder.lease_age:.0f} s"
                problems.append(
                    f"slot {holder.token} of {status.id!r} is held by {holder.worker or 'a worker'}, which {heard}: it "
                    "is freed when its lease ends, by any worker that is alive"
                )
    return problems
