"""Places of a thread pool that takes no more work."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency.thread import TaskPool

from celery_concurrency_id.worker.loop import ThreadLoop
from celery_concurrency_id.worker.places import ThreadPlaces


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    pool = TaskPool(1)
    pool.start()
    yield pool
    pool.executor.shutdown()


def test_after_the_pool_has_ended_a_place_is_asked_for_in_vain(pool: TaskPool) -> None:
    # A cold shutdown ends the pool in the signal's handler, while the gate's thread goes on.
    places, came = ThreadPlaces(SimpleNamespace(pool=pool), ThreadLoop()), []
    pool.executor.shutdown()

    places.request(lambda: came.append(1))

    places.forget()
    assert not came


def test_a_thread_that_cannot_be_started_is_no_end_of_the_pool(pool: TaskPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool.executor, "submit", refuse)

    with pytest.raises(RuntimeError, match="start new thread"):
        ThreadPlaces(SimpleNamespace(pool=pool), ThreadLoop()).request(lambda: None)
