"""Results, failures and retries are Celery's own, and each gives the slot back."""

from __future__ import annotations

import pytest

from harness.fixtures import everywhere, on_both_brokers
from harness.setup import Setup
from harness.waiting import stays, wait


@pytest.mark.smoke
@everywhere
def test_results_arrive(celery_setup: Setup) -> None:
    results = celery_setup.send_many("two", 8)

    assert [result.get(timeout=20) for result in results] == list(range(8))
    assert {result.state for result in results} == {"SUCCESS"}


@everywhere
def test_a_task_that_raises_fails_and_gives_its_slot_back(celery_setup: Setup) -> None:
    failing = celery_setup.send("one", fail="raise")

    with pytest.raises(ValueError, match="told to fail"):
        failing.get(timeout=20)
    assert failing.state == "FAILURE"
    celery_setup.assert_slots_are_free("one", 1)


@on_both_brokers
@pytest.mark.parametrize("name", ["one", "late"])
def test_a_task_that_rejects_its_message_gives_its_slot_back(celery_setup: Setup, name: str) -> None:
    celery_setup.wait_ended([celery_setup.send(name, fail="reject")])

    celery_setup.assert_slots_are_free(name, 1)


@on_both_brokers
def test_a_task_whose_result_is_ignored_runs_and_gives_its_slot_back(celery_setup: Setup) -> None:
    result = celery_setup.send("one", tag="ignored", options={"ignore_result": True})

    celery_setup.wait_ended([result])

    assert result.state == "PENDING"
    celery_setup.assert_slots_are_free("one", 1)


@everywhere
def test_a_task_that_retries_runs_again_and_keeps_to_the_limit(celery_setup: Setup) -> None:
    results = [celery_setup.send("retrying", tag=tag, times=2) for tag in range(10)]

    assert [result.get(timeout=30) for result in results] == [2] * 10
    assert len(celery_setup.sweep.runs("retrying")) == 30
    assert celery_setup.sweep.peak("retrying") == 1
    assert not celery_setup.sweep.twice()


@on_both_brokers
def test_autoretry_runs_again_and_keeps_to_the_limit(celery_setup: Setup) -> None:
    results = [celery_setup.send("autoretrying", tag=tag, times=2) for tag in range(10)]

    assert [result.get(timeout=30) for result in results] == [2] * 10
    assert celery_setup.sweep.peak("autoretrying") == 1
    assert len(celery_setup.sweep.runs("autoretrying")) == 30


@on_both_brokers
def test_a_retry_that_waits_for_its_time_leaves_the_slot_to_others(celery_setup: Setup) -> None:
    first = celery_setup.send("retrying", tag="first", countdown=2)
    wait(lambda: celery_setup.sweep.ended("retrying"), what="it ran and asked for a retry")

    second = celery_setup.send("retrying", tag="second", times=0)

    assert second.get(timeout=20) == 0
    assert first.get(timeout=20) == 1
    assert celery_setup.sweep.tags("retrying") == ["first", "second", "first"]


@on_both_brokers
def test_a_revoked_waiting_retry_is_not_run(celery_setup: Setup) -> None:
    result = celery_setup.send("retrying", tag="first", countdown=1)
    wait(lambda: celery_setup.sweep.ended("retrying"), what="it ran and asked for a retry")

    celery_setup.app.control.revoke(result.id, reply=True, timeout=2)

    stays(lambda: len(celery_setup.sweep.runs("retrying")) == 1, 2, "the retry did not run")
    celery_setup.wait_ended([celery_setup.send("retrying", times=0)])
