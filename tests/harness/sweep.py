"""Reads the truth and answers what a test asks: how many at once, in which order, lost, run twice, idle between."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOREVER = 1 << 62


@dataclass
class Run:
    """One execution. Times are nanoseconds of CLOCK_MONOTONIC."""

    task: str
    name: str
    id: str | None
    tag: Any
    pid: int
    retries: int
    start: int
    last_alive: int
    end: int | None = None
    outcome: str | None = None


class Sweep:
    """What happened from some moment on.

    A run whose process died has no end. It counts as running for ever, and so breaks the limit, unless the test
    says that it killed it: then it lasted until its last sign of life.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path, self.offset = path, offset
        self._runs: dict[str, Run] = {}

    def mark(self) -> Sweep:
        """A sweep of what comes from now on."""
        return Sweep(self.path, self.path.stat().st_size if self.path.exists() else 0)

    def runs(self, id: str | None = None, name: str | None = None) -> list[Run]:
        """All executions in the order of their starts."""
        runs = self._read().values()
        chosen = (run for run in runs if (id is None or run.id == id) and (name is None or run.name == name))
        return sorted(chosen, key=lambda run: run.start)

    def tags(self, id: str | None = None) -> list[Any]:
        """Tags in the order of the starts."""
        return [run.tag for run in self.runs(id)]

    def running(self, id: str | None = None) -> list[Run]:
        return [run for run in self.runs(id) if run.end is None]

    def ended(self, id: str | None = None) -> list[Run]:
        return [run for run in self.runs(id) if run.end is not None]

    def peak(self, id: str | None = None, killed: Iterable[str] = ()) -> int:
        """The highest number that ran at once.

        Args:
            id: The concurrency id; all tasks together without it.
            killed: Ids of tasks whose processes the test killed.
        """
        return self._highest([(run, 1) for run in self.runs(id)], set(killed))

    def peak_slots(self, slots: dict[str, int], killed: Iterable[str] = ()) -> int:
        """The highest number of slots of a limit that were taken at once.

        Args:
            slots: How many each task takes, by what the truth calls its id; a name that ends with ``/`` is that of all
                that begin so.
        """
        taken = []
        for run in self.runs():
            name = str(run.id)
            count = slots.get(name, slots.get(name.partition("/")[0] + "/", 0))
            taken.append((run, count))
        return self._highest(taken, set(killed))

    @staticmethod
    def _highest(taken: list[tuple[Run, int]], killed: set[str]) -> int:
        changes = []
        for run, count in taken:
            end = run.end
            if end is None:
                end = run.last_alive if run.task in killed else FOREVER
            changes += [(run.start, count), (end, -count)]
        now = highest = 0
        for _, change in sorted(changes):  # at equal times the end comes first
            now += change
            highest = max(highest, now)
        return highest

    def twice(self) -> dict[str, int]:
        """Executions, neither a retry nor the first, by task id."""
        seen = Counter((run.task, run.retries) for run in self.runs())
        return {task: count for (task, _), count in seen.items() if count > 1}

    def lost(self, tasks: Iterable[str]) -> set[str]:
        """Those of the given task ids that never ended."""
        return set(tasks) - {run.task for run in self.ended()}

    def gaps(self, id: str) -> list[float]:
        """Seconds between each end and the next start, at limit 1."""
        runs = self.runs(id)
        return [(then.start - run.end) / 1e9 for run, then in zip(runs, runs[1:]) if run.end is not None]

    def _read(self) -> dict[str, Run]:
        """Read what was written since the last call."""
        if self.path.exists():
            with self.path.open("rb") as log:
                log.seek(self.offset)
                for raw in log:
                    if not raw.endswith(b"\n"):
                        break
                    self.offset += len(raw)
                    self._add(self._runs, json.loads(raw))
        return self._runs

    @staticmethod
    def _add(runs: dict[str, Run], line: dict[str, Any]) -> None:
        key, at = line.get("run", ""), line["at"]  # without one: a signal, no run
        if line["event"] == "start":
            known = {name: line[name] for name in ("task", "name", "id", "tag", "pid", "retries")}
            runs[key] = Run(start=at, last_alive=at, **known)
        elif key in runs:  # else it started before this sweep
            runs[key].last_alive = at
            if line["event"] == "end":
                runs[key].end, runs[key].outcome = at, line["outcome"]
