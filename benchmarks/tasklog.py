"""Reads what the tasks wrote: the only truth about what ran when."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One execution of a task, in nanoseconds of CLOCK_MONOTONIC."""

    task: str
    batch: str
    number: int
    start: int
    end: int


class TaskLog:
    """A growing log, read piece by piece."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open()
        self._rest = ""
        self.ready = 0
        self.ended: dict[str, int] = defaultdict(int)
        self.started: dict[str, int] = defaultdict(int)
        self.sent: dict[tuple[str, int], int] = {}
        self._open: dict[tuple[str, str, int, str], int] = {}
        self._runs: dict[str, list[Run]] = defaultdict(list)

    def read(self) -> None:
        """Take in the lines written since the last call."""
        lines = (self._rest + self._file.read()).split("\n")
        self._rest = lines.pop()
        for line in lines:
            event, task, batch, number_text, moment_text, pid = line.split(" ")
            number, moment = int(number_text), int(moment_text)
            if event == "ready":
                self.ready += 1
            elif event == "sent":
                self.sent[batch, number] = moment
            elif event == "start":
                self.started[batch] += 1
                self._open[task, batch, number, pid] = moment
            elif event == "end":
                self.ended[batch] += 1
                start = self._open.pop((task, batch, number, pid))
                self._runs[batch].append(Run(task, batch, number, start, moment))

    def runs(self, batch: str) -> list[Run]:
        """The finished runs of a batch in the order of their starts."""
        return sorted(self._runs[batch], key=lambda run: run.start)

    def all_runs(self) -> list[Run]:
        return [run for runs in self._runs.values() for run in runs]

    def running_starts(self) -> list[tuple[str, int]]:
        """Task and start of everything that has started and not ended."""
        return [(key[0], start) for key, start in self._open.items()]

    def close(self) -> None:
        self._file.close()
