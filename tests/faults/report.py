"""The campaign's figures as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Callable

from faults.campaign import Figures

#: Takes what was measured: its name, seconds, and the goal where there is one.
Measure = Callable[..., None]


@dataclass
class Measurement:
    """How soon something was back, each time, and how soon it should be."""

    name: str
    seconds: list[float]
    goal: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


COLUMNS = (
    ("fault", 64),
    ("where", 34),
    ("tasks", 6),
    ("limit", 5),
    ("peak", 5),
    ("lost", 10),
    ("twice", 10),
    ("leaked", 6),
    ("idle (s)", 20),
    ("probe (s)", 9),
)


def table(figures: Iterable[Figures]) -> Iterator[str]:
    """One row per fault; in brackets: what Celery's own guarantees explain."""
    yield "  ".join(name.ljust(width) for name, width in COLUMNS)
    for row in figures:
        cells = (
            row.fault,
            row.scene,
            row.tasks,
            row.limit,
            row.peak,
            f"{row.lost} (+{row.lost_excused})",
            f"{row.twice} (+{row.twice_excused})",
            row.leaked,
            " ".join(f"{seconds:.2f}" for seconds in row.recovered),
            "-" if row.probe is None else row.probe,
        )
        line = "  ".join(str(cell).ljust(width) for cell, (_, width) in zip(cells, COLUMNS))
        if row.ended_by_themselves:
            line += f"  {row.ended_by_themselves} workers ended by themselves"
        yield line.rstrip()
    yield "peak: highest number at once among workers with a lease; lost, twice: unexplained (+ explained by Celery's"
    yield "own guarantees); idle: from a fault's end until full use of the limit, the time in which a slot stood idle"


def recovery(measurements: Iterable[Measurement]) -> Iterator[str]:
    """One line per goal."""
    for row in measurements:
        seconds = " ".join(f"{each:.3f}" for each in row.seconds)
        yield f"{row.name}: {seconds} s" + (f" (goal {row.goal:g} s)" if row.goal else "")
