"""Tasks whose slot was lost: what is remembered of one that no process has begun."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest

from celery_concurrency_id.worker import lost
from celery_concurrency_id.worker.lost import LostSlots
from celery_concurrency_id.worker.slot import Slot


class Request:
    """As much of one as is looked at."""

    id, name, task = "id", "one", None


@pytest.fixture
def lost_slots(monkeypatch: pytest.MonkeyPatch) -> LostSlots:
    monkeypatch.setattr(lost, "Mover", lambda app: None)
    monkeypatch.setattr(lost, "can_kill", lambda pool: True)
    monkeypatch.setattr(lost, "logger", SimpleNamespace(error=lambda *args: None))  # pytest keeps what is logged
    return LostSlots(SimpleNamespace(app=None, pool=None, event_dispatcher=None), terminate=True)


def lose(lost_slots: LostSlots) -> Slot:
    slot = Slot("one", "7")
    slot.request = Request()
    lost_slots(slot)
    return slot


def test_a_task_that_a_process_begins_after_its_slot_was_lost_starts_over_once(
    lost_slots: LostSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    over: list[Any] = []
    monkeypatch.setattr(lost_slots, "_start_over", lambda request, pid: over.append((request, pid)))
    slot = lose(lost_slots)

    slot.pid = 5
    for _ in range(2):
        lost_slots.accepted(slot)

    assert over == [(slot.request, 5)]


def test_nothing_is_kept_of_a_task_that_no_process_ever_begins(lost_slots: LostSlots) -> None:
    """Revoked in the pool's queue, say, or its process died before it could say anything."""
    for _ in range(3):
        lose(lost_slots)

    gc.collect()

    assert lost_slots.count == 3
    assert not [each for each in gc.get_objects() if isinstance(each, Request)]
