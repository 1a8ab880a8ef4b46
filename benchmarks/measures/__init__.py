"""One file for each measure: `run(bench)` returns the rows of its table."""

from __future__ import annotations

from typing import Callable

from benchmarks.bench import Bench
from benchmarks.measures import (
    commands,
    compare,
    dynamic,
    gap,
    idle,
    ids,
    latency,
    order,
    position,
    publish,
    throughput,
    wake,
)
from benchmarks.report import Row

MEASURES: dict[str, tuple[Callable[[Bench], list[Row]], str]] = {
    module.__name__.rpartition(".")[2]: (module.run, (module.__doc__ or "").partition("\n")[0])
    for module in (throughput, publish, gap, order, wake, latency, commands, ids, dynamic, position, idle, compare)
}
