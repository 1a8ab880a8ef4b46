"""Rows of the table: a figure of ours, the reference of the same run, and the goal beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Goal:
    """A bound for the ratio, or for our own figure."""

    bound: float
    at_least: bool = False
    of_ratio: bool = True

    def met(self, ours: float, ratio: float | None) -> bool:
        value = ratio if self.of_ratio else ours
        if value is None:
            return False
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'ratio ' if self.of_ratio else ''}{'>=' if self.at_least else '<='} {self.bound:g}"


@dataclass(frozen=True)
class Row:
    figure: str
    unit: str
    ours: float
    reference: float | None = None
    ratio: float | None = None
    goal: Goal | None = None
    #: The figures of the single rounds, ours and the reference's, for whoever wants to see the spread.
    rounds: tuple[tuple[float, float], ...] = ()

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "met" if self.goal.met(self.ours, self.ratio) else "MISSED"


def compared(figure: str, unit: str, ours: float, reference: float, goal: Goal | None = None) -> Row:
    """A row of two figures that are already medians or percentiles of all rounds."""
    return Row(figure, unit, ours, reference, ours / reference if reference else None, goal)


def medians(figure: str, unit: str, pairs: Sequence[tuple[float, float]], goal: Goal | None = None) -> Row:
    """A row of the rounds' medians; its ratio is the median of the ratios within each round."""
    ratio = median(ours / reference for ours, reference in pairs)
    ours, reference = (median(side) for side in zip(*pairs))
    return Row(figure, unit, ours, reference, ratio, goal, tuple(pairs))


def table(title: str, rows: Sequence[Row]) -> str:
    lines = [title, f"  {'':58}{'ours':>10}{'reference':>11}{'ratio':>8}  goal"]
    for row in rows:
        reference = "" if row.reference is None else _short(row.reference)
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        goal = f"{row.goal} {row.verdict}" if row.goal else ""
        figure = f"{row.figure}, {row.unit}"
        lines.append(f"  {figure:58}{_short(row.ours):>10}{reference:>11}{ratio:>8}  {goal}".rstrip())
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.4g}"
