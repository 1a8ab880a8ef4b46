"""Write the figures of campaign runs into the page that shows them.

    python -m faults.figures ../docs/what-happens-when.md RUN.json [RUN.json ...]      (in tests/)

``RUN.json`` is what ``--faults-json`` wrote. Of several runs the worst counts. Rows of faults that no run struck, and
everything else on the page, stay as they are.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def fault_cells(rows: list[dict[str, Any]]) -> list[str]:
    """Most at once of the limit, tasks lost, tasks run twice, slots leaked, seconds idle."""
    worst = max(rows, key=lambda row: (row["peak"] - row["limit"], row["limit"]))
    idle = [seconds for row in rows for seconds in row["recovered"]]
    return [
        f"{worst['peak']} of {worst['limit']}",
        _counted(rows, "lost"),
        _counted(rows, "twice"),
        str(max(row["leaked"] for row in rows)),
        f"{max(idle):.2f} s" if idle else "–",
    ]


def _counted(rows: list[dict[str, Any]], name: str) -> str:
    unexplained, excused = (sum(row[key] for row in rows) for key in (name, f"{name}_excused"))
    return f"{unexplained} (+{excused})" if excused else str(unexplained)


def recovery_cells(rows: list[dict[str, Any]]) -> list[str]:
    """The goal, and the best and the worst that was measured."""
    seconds = [each for row in rows for each in row["seconds"]]
    goal = rows[0]["goal"]
    digits = 3 if max(seconds) < 1 else 1
    best, worst = (f"{each:.{digits}f}" for each in (min(seconds), max(seconds)))
    return [f"{goal:g} s" if goal else "", f"{best} s" if best == worst else f"{best} to {worst} s"]


def filled(lines: Iterable[str], runs: list[dict[str, Any]]) -> Iterator[str]:
    """The lines of a page, with the figures of the rows that have some."""
    faults, goals = defaultdict(list), defaultdict(list)
    for run in runs:
        for row in run["faults"]:
            if row["probe"] is not None:  # one that failed has no figures worth showing
                faults[row["fault"]].append(row)
        for row in run["recovery"]:
            goals[row["name"]].append(row)
    inside = False
    for line in lines:
        inside = (inside and line != "<!-- end of figures -->") or line == "<!-- figures -->"
        cells = [cell.strip() for cell in line.strip("|").split("|")] if inside and line.startswith("|") else []
        name = re.fullmatch(r"`([^`]+)`", cells[0]) if cells else None
        if name and name[1] in faults:
            cells[2:7] = fault_cells(faults[name[1]])
        elif cells and cells[0] in goals:
            cells[1:3] = recovery_cells(goals[cells[0]])
        yield f"| {' | '.join(cells)} |" if name or (cells and cells[0] in goals) else line


def main(page: str, *runs: str) -> None:
    path = Path(page)
    lines = path.read_text(encoding="utf-8").splitlines()
    told = [json.loads(Path(run).read_text(encoding="utf-8")) for run in runs]
    path.write_text("\n".join(filled(lines, told)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
