"""The picture at the end: one row per task, drawn with characters, so that it can be copied into a chat."""

from __future__ import annotations

from demo.journal import Journal, Run, running_at_once

WAITING, BLOCKS = "·", "█▒"  # a block per worker
LABEL = 24


def timeline(journal: Journal, width: int) -> str:
    """Draw the whole run.

    Args:
        journal: What happened.
        width: Columns to use.
    """
    ended = max(run.ended or run.submitted for run in journal.runs)
    scale = Scale(journal.submitted, ended, max(20, min(width, 100) - LABEL - 1))
    workers = sorted({run.worker for run in journal.runs if run.worker})
    key = "  ".join(f"{_block(workers, worker)} on {worker}" for worker in workers)
    lines = [f"{'':{LABEL}} {WAITING} waiting in the broker's queue  {key}"]
    for run in journal.gpu():
        lines.append(f"{run.job.task + ' ' + run.job.what:{LABEL}} {_row(run, scale, workers)}")
    lines.append(f"{'GPU tasks at once':{LABEL}} {_numbers(journal.gpu(), scale)}")
    for run in journal.ordinary():
        lines.append(f"{run.job.task + ' ' + run.job.what:{LABEL}} {_row(run, scale, workers)}")
    seconds = f"{ended - journal.submitted:.1f} s"
    lines.append(f"{'':{LABEL}} 0 s{seconds:>{scale.columns - 3}}")
    return "\n".join(lines)


class Scale:
    """Maps moments to columns."""

    def __init__(self, first: float, last: float, columns: int) -> None:
        self.first, self.columns = first, columns
        self.step = max(last - first, 0.001) / columns

    def column(self, moment: float) -> int:
        return min(self.columns - 1, max(0, int((moment - self.first) / self.step)))


def _block(workers: list[str], worker: str) -> str:
    return BLOCKS[workers.index(worker) % len(BLOCKS)]


def _row(run: Run, scale: Scale, workers: list[str]) -> str:
    if run.started is None or run.ended is None:
        return WAITING * scale.columns
    start, end = scale.column(run.started), scale.column(run.ended)
    return WAITING * start + _block(workers, run.worker) * (end - start + 1)


def _numbers(runs: list[Run], scale: Scale) -> str:
    """The highest number at once within each column's stretch of time."""
    highest = [0] * scale.columns
    before, number = 0, 0
    for moment, now in running_at_once(runs):
        column = scale.column(moment)
        for between in range(before, column + 1):
            highest[between] = max(highest[between], number)
        before, number = column, now
        highest[column] = max(highest[column], now)
    return "".join(str(number) if number else " " for number in highest)
