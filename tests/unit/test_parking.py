"""Tasks with an ETA: a copy is published only while the original is this worker's to acknowledge."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery

from celery_concurrency_id.worker import parking as module
from celery_concurrency_id.worker.parking import Parking


class Stage:
    """Stands for Celery's consumer, for the loop, and for the mover."""

    def __init__(self, app: Celery) -> None:
        self.app, self.qos, self.timer = app, self, None
        self.delayed: list[tuple[Any, ...]] = []
        self.moved: list[Any] = []
        self.fails = False

    def decrement_eventually(self) -> None: ...

    def increment_eventually(self) -> None: ...

    def call_later(self, delay: float, call: Any, *args: Any) -> None:
        self.delayed.append((call, *args))

    def move(self, message: Any, name: str, id: str) -> None:
        if self.fails:
            raise ConnectionError
        assert id == "the id of its queue"
        self.moved.append(message)


class Request:
    message, type, id = "the message", "resize", "1"
    acknowledged = False
    concurrency_home = "the id of its queue"

    def __init__(self) -> None:
        self.request_dict = {"eta": (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()}

    def acknowledge(self) -> None:
        self.acknowledged = True


@pytest.fixture
def stage(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage(app)
    monkeypatch.setattr(module, "Mover", lambda app: stage)
    monkeypatch.setattr(module.state, "task_ready", lambda request: None)
    return stage


@pytest.fixture
def parking(stage: Stage) -> Parking:
    return Parking(stage, stage, None)


def test_a_copy_takes_the_place_of_a_message_that_has_been_parked_for_long(parking: Parking, stage: Stage) -> None:
    request = Request()
    parking.park(request)

    [(renew, *args)] = stage.delayed
    renew(*args)

    assert stage.moved == ["the message"]
    assert request.acknowledged


def test_no_copy_is_published_of_what_a_lost_broker_delivers_anew(parking: Parking, stage: Stage) -> None:
    request = Request()
    parking.park(request)

    parking.forget()

    [(renew, *args)] = stage.delayed
    renew(*args)
    assert stage.moved == []


def test_a_copy_that_could_not_be_published_is_not_tried_again_after_the_broker_was_lost(
    parking: Parking, stage: Stage
) -> None:
    stage.fails = True
    assert not parking.give_up(Request())
    stage.fails = False

    parking.forget()

    [(again, *args)] = stage.delayed
    again(*args)
    assert stage.moved == []
