"""A job that goes on after Celery flushed its pool: its end must be noticed, and its process must be known as busy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celery_concurrency_id.worker.compat import pool_job_alive


def process(alive: bool) -> Any:
    return SimpleNamespace(_is_alive=lambda: alive, inqW_fd=7)


def job(accepted: bool, written_to: Any, ready: bool = False) -> Any:
    return SimpleNamespace(_job=1, _accepted=accepted, _write_to=written_to, ready=lambda: ready)


@pytest.fixture
def pool() -> Any:
    """What Celery 5.5 leaves behind: no job, and no process that is known as busy."""
    return SimpleNamespace(_pool=SimpleNamespace(_cache={}, _busy_workers=set()))


@pytest.mark.parametrize("accepted", [True, False])
def test_a_job_that_a_living_process_has_goes_on_and_is_known_to_the_pool_again(pool: Any, accepted: bool) -> None:
    result = job(accepted, process(alive=True))

    assert pool_job_alive(pool, result)

    assert pool._pool._cache == {1: result}
    assert pool._pool._busy_workers == {7}


def test_a_job_that_ran_in_a_process_that_is_dead_is_reported_by_the_pool_and_leaves_nobody_busy(pool: Any) -> None:
    result = job(True, process(alive=False))

    assert pool_job_alive(pool, result)

    assert pool._pool._cache == {1: result}
    assert not pool._pool._busy_workers


@pytest.mark.parametrize("written_to", [None, process(alive=False)])
def test_a_job_that_no_process_will_ever_run_is_dropped(pool: Any, written_to: Any) -> None:
    assert not pool_job_alive(pool, job(False, written_to))
    assert not pool._pool._cache


def test_a_job_that_has_ended_is_dropped(pool: Any) -> None:
    assert not pool_job_alive(pool, None)
    assert not pool_job_alive(pool, job(True, process(alive=True), ready=True))
    assert not pool._pool._cache
