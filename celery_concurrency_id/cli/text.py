"""Tables and words for a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from ..control.views import Away, Holder, IdDetails, IdStatus, Observed, Override
from ..control.why import seconds

__all__ = ("details_text", "limit_text", "line_of", "observed_text", "printable", "status_table", "table")


def printable(text: str) -> str:
    """Return text without what could steer a terminal: ids, notes and task ids come from others."""
    return "".join(each if each.isprintable() else "?" for each in text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return columns, the first on the left, as wide as they must be."""
    lines = [list(head), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def limit_text(limit: int | None) -> str:
    """Return a limit as it is written."""
    return "none" if limit is None else str(limit)


def line_of(status: IdStatus) -> str:
    """Return how an id is, on one line."""
    source = f"override, else {limit_text(status.code_limit)}" if status.override else status.source
    source += f", observes {status.observes}" if status.observes else ""
    return printable(
        f"{status.id}: limit {limit_text(status.limit)} ({source}), {status.running} running, "
        f"{status.waiting} waiting" + (", paused" if status.pause else "")
    )


def status_table(statuses: Iterable[IdStatus], rates: dict[str, float] | None = None) -> str:
    """Return a table of ids; ``rates`` are tasks per second that left the queue, by id."""
    head = ["ID", "LIMIT", "SOURCE", "RUNNING", "WAITING", "OLDEST", "WORKERS"]
    rows = []
    for each in statuses:
        oldest = "-" if each.oldest_wait is None else seconds(each.oldest_wait)
        row = [each.id, limit_text(each.limit), _source(each), str(each.running), str(each.waiting), oldest]
        row.append(str(each.workers))
        if rates is not None:
            row.append(f"{rates[each.id]:.1f}/s" if each.id in rates else "-")
        rows.append([*row, _paused(each)])
    return table([*head, *(["RATE"] if rates is not None else []), "PAUSED"], rows)


def _source(status: IdStatus) -> str:
    override = status.override
    if override is None:
        return f"{status.source}, observes {status.observes}" if status.observes else status.source
    return f"override by {override.by}{_left(override)}, else {limit_text(status.code_limit)}"


def _left(override: Override) -> str:
    return f", {seconds(max(0.0, override.until - time.time()))} left" if override.until else ""


def _paused(status: IdStatus) -> str:
    if status.pause is None:
        return "-"
    return f"by {status.pause.by}" + (f": {status.pause.note}" if status.pause.note else "")


def details_text(details: IdDetails) -> str:
    """Return an id with its holders, those who have given a slot back, and the head of its queue."""
    status = details.status
    parts = [line_of(status)]
    if status.override:
        note = f": {status.override.note}" if status.override.note else ""
        parts.append(printable(f"limit set by {status.override.by}{_left(status.override)}{note}"))
    if status.pause:
        parts.append(printable(f"paused {_paused(status)}"))
    if not status.workers:
        parts.append("no worker that is alive serves it")
    if details.holders:
        rows = [
            [
                each.token,
                each.task or "(being fetched)",
                each.name or "-",
                each.worker or "(gone)",
                seconds(each.age),
                _lease(each),
            ]
            for each in details.holders
        ]
        parts += ["", table(["TOKEN", "TASK", "NAME", "WORKER", "SINCE", "LEASE AGE"], rows)]
    if details.away:
        rows = [
            [
                each.token,
                each.task or "-",
                each.name or "-",
                each.worker or "(gone)",
                seconds(each.age),
                "-" if each.waits is None else seconds(each.waits),
                "-" if each.ahead is None else str(each.ahead),
                _lease(each),
            ]
            for each in details.away
        ]
        parts += ["", table(["TOKEN", "TASK", "NAME", "WORKER", "GIVEN BACK", "WANTS IT", "AHEAD", "LEASE AGE"], rows)]
    if details.head:
        rows = [
            [str(each.rank), each.task, each.name or "-", seconds(each.age), str(each.retries)] for each in details.head
        ]
        parts += ["", table(["RANK", "TASK", "NAME", "WAITS", "RETRIES"], rows)]
        more = status.waiting - len(details.head)
        if more > 0:
            parts.append(f"and {more} more")
    return "\n".join(parts)


def _lease(slot: Holder | Away) -> str:
    return "over" if slot.lease_age is None else seconds(slot.lease_age)


def observed_text(observed: Observed) -> str:
    """Return what a limit that only watches would have done."""
    lines = [
        f"{observed.id}: a limit of {observed.limit}, watching for {seconds(observed.seconds)}",
        f"{observed.tasks} tasks started, {observed.running} run now, {observed.peak} at once at the most",
        f"{observed.waited} would have waited{_percent(observed)}, {observed.line} at once at the most, "
        f"{observed.waiting} would wait now",
    ]
    waits = (observed.wait_mean, observed.wait_median, observed.wait_95, observed.wait_longest)
    if None not in waits:
        mean, median, most, longest = (seconds(wait or 0.0) for wait in waits)
        lines.append(
            f"for {mean} on average; half of them up to {median}, 95 of 100 up to {most}, the longest {longest}"
        )
    if observed.beyond:
        lines.append(f"{observed.beyond} more came when 1000 would have waited already: this limit is far too low")
    return "\n".join(map(printable, lines))


def _percent(observed: Observed) -> str:
    counted = observed.tasks - observed.beyond
    return f" ({100 * observed.waited / counted:.0f} %)" if counted else ""
