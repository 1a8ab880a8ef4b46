"""The line to the semaphore: what a heartbeat says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celery_concurrency_id.semaphore.semaphore import Report
from celery_concurrency_id.worker.link import Link


class Semaphore:
    """Takes a heartbeat, and says that all is well."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def beat(self, idle: bool, tokens: list[str], lengths: Any) -> Any:
        self.told = tokens
        return SimpleNamespace(status="ok", expired=[], mended=[], resync=False, invited=False, cursor=-1)


@pytest.mark.parametrize("kind", ["release", "drop"])
def test_a_heartbeat_counts_a_slot_whose_release_has_not_been_told_yet(kind: str) -> None:
    semaphore: Any = Semaphore()
    owner = SimpleNamespace(at_rest=lambda: False)
    link = Link(semaphore, "host", "fleet", {}, 15, lambda timeout: True, owner)
    link._held.update({"1": ("id", ""), "2": ("id", "")})

    # The pool's thread says so while the link's thread is busy with another call.
    link.report(Report(kind, "id", "1"))
    link._beat()

    assert sorted(semaphore.told) == ["1", "2"], "the semaphore would take it for a disagreement"
