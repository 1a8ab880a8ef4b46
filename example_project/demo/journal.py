"""What happened, as the tasks themselves wrote it down."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from producer import Job


class Run:
    """One submitted task and what is known of it; times are seconds on one clock for all processes."""

    def __init__(self, job: Job, submitted: float) -> None:
        self.job = job
        self.submitted = submitted
        self.worker = ""
        self.started: float | None = None
        self.ended: float | None = None
        self.done = 0.0  # 0 to 1
        self.starts = 0

    @property
    def state(self) -> str:
        return "waiting" if self.started is None else "running" if self.ended is None else "done"


class Journal:
    """Reads the log of the tasks as it grows."""

    def __init__(self, path: Path, jobs: list[Job], submitted: float) -> None:
        self.submitted = submitted
        self.runs = [Run(job, submitted) for job in jobs]
        self._by_id = {run.job.id: run for run in self.runs}
        self._log = path.open("rb")
        self._rest = b""

    def close(self) -> None:
        self._log.close()

    def read(self) -> list[tuple[str, Run]]:
        """Take in what is new; return the starts and ends among it, in order."""
        *lines, self._rest = (self._rest + self._log.read()).split(b"\n")
        news = []
        for line in lines:
            event = json.loads(line)
            run = self._by_id.get(event["id"])
            # On a broker of the user's, tasks of an earlier, interrupted demo may still come: not of this run.
            if run is None:
                continue
            run.worker = event["worker"].split("@")[0]
            if event["event"] == "start":
                run.started, run.starts = event["time"], run.starts + 1
                news.append(("start", run))
            elif event["event"] == "end":
                run.ended = event["time"]
                news.append(("end", run))
            else:
                run.done = event["done"]
        return news

    def gpu(self, state: str | None = None) -> list[Run]:
        """Return the runs of the tasks that share the limit, all or those in one state."""
        return [run for run in self.runs if run.job.on_gpu and state in (None, run.state)]

    def ordinary(self) -> list[Run]:
        return [run for run in self.runs if not run.job.on_gpu]

    def all_done(self) -> bool:
        return all(run.state == "done" for run in self.runs)


def running_at_once(runs: Iterable[Run]) -> list[tuple[float, int]]:
    """Return each moment at which the number of running tasks changed, with the number from then on."""
    changes = []
    for run in runs:
        if run.started is not None:
            changes.append((run.started, +1))
        if run.ended is not None:
            changes.append((run.ended, -1))
    steps, number = [], 0
    for moment, change in sorted(changes):  # at the same moment an end (-1) sorts before a start
        number += change
        steps.append((moment, number))
    return steps


def highest_at_once(runs: Iterable[Run]) -> int:
    return max((number for _, number in running_at_once(runs)), default=0)
