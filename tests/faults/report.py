"""The campaign's figures as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from faults.campaign import Figures

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
