"""What one side of a comparison runs with, handed to its workers and its publisher through one environment variable."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "BENCHMARK_SIDE"

#: The limited tasks are named after their limit. "unbounded" has a limit no benchmark can reach: it pays for
#: the semaphore and never waits for it. "ordinary" is never gated.
LIMITS = {"limit1": 1, "limit2": 2, "limit8": 8, "unbounded": 100_000}


def id_names(count: int) -> list[str]:
    """Names of the tasks that stand for many ids, each with a limit of 1."""
    return [f"id{index:04}" for index in range(count)]


@dataclass(frozen=True)
class SideConfig:
    """The same application, with or without `QueuedTask`."""

    gated: bool
    broker: str
    backend: str
    semaphore: str
    namespace: str
    log: str
    ids: int = 0
    dedicated: bool = False  # plain Celery with one queue for each limited task
    results: bool = True
    recipe: str = ""  # plain Celery, or dramatiq, with another way to a limit

    def to_environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> SideConfig:
        return cls(**json.loads(os.environ[VARIABLE]))
