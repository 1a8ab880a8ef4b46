"""Without OpenTelemetry, a pool process does nothing for it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from celery.signals import task_postrun, task_prerun

from celery_concurrency_id.worker.tracing import trace_waiting


def receivers() -> tuple[int, int]:
    return len(task_prerun.receivers or ()), len(task_postrun.receivers or ())


@pytest.mark.parametrize("there", [True, False])
def test_who_has_no_instrumentation_by_the_first_task_pays_for_none(monkeypatch: Any, there: bool) -> None:
    name = "opentelemetry.instrumentation.celery"
    monkeypatch.delitem(sys.modules, name, raising=False)
    trace_waiting()
    task_prerun.send(sender=None, task=None)  # ends what other tests began
    before = receivers()
    if there:
        monkeypatch.setitem(sys.modules, name, object())
    trace_waiting()
    trace_waiting()
    assert receivers() == (before[0] + 1, before[1] + 1)
    task_prerun.send(sender=None, task=None)
    assert receivers() == ((before[0] + 1, before[1] + 1) if there else before)
    monkeypatch.delitem(sys.modules, name, raising=False)
    task_postrun.send(sender=None, task=None)
    assert receivers() == before
