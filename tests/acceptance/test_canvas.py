"""Groups, chains, chords and callbacks of gated tasks."""

from __future__ import annotations

import pytest
from celery import chain, chord, group

from harness.fixtures import everywhere, on_both_brokers
from harness.setup import Setup
from harness.waiting import wait


@pytest.mark.smoke
@everywhere
def test_a_group_of_gated_tasks_keeps_to_the_limit_and_returns_its_results(celery_setup: Setup) -> None:
    two = celery_setup.app.tasks["two"]

    result = group(two.s(tag=tag, seconds=0.02) for tag in range(8)).apply_async()

    assert result.get(timeout=30) == list(range(8))
    assert celery_setup.sweep.peak("two") <= 2


@on_both_brokers
def test_a_chain_of_gated_tasks_passes_its_results_on(celery_setup: Setup) -> None:
    tasks = celery_setup.app.tasks

    results = [chain(tasks["one"].s(tag=tag), tasks["body"].s(tag=tag), tasks["gather"].s())() for tag in range(4)]

    assert [result.get(timeout=30) for result in results] == [0, 1, 2, 3]
    assert celery_setup.sweep.peak("one") == celery_setup.sweep.peak("body") == 1


@on_both_brokers
def test_a_chain_of_tasks_of_one_id_does_not_wait_for_itself(celery_setup: Setup) -> None:
    one = celery_setup.app.tasks["one"]

    result = chain(one.si(tag="a"), one.si(tag="b"), one.si(tag="c")).apply_async()

    assert result.get(timeout=30) == "c"
    assert celery_setup.sweep.tags("one") == ["a", "b", "c"]


@pytest.mark.smoke
@everywhere
def test_a_chord_with_gated_header_and_body_calls_its_body_once_with_all_results(celery_setup: Setup) -> None:
    tasks = celery_setup.app.tasks
    header = [tasks["two"].s(tag=tag, seconds=0.02) for tag in range(6)]

    results = [chord(header)(tasks["body"].s(tag=number)) for number in range(2)]

    assert [result.get(timeout=30) for result in results] == [list(range(6))] * 2
    assert celery_setup.sweep.peak("two") <= 2
    assert len(celery_setup.sweep.runs("body")) == 2


@on_both_brokers
def test_a_link_is_called_with_the_result(celery_setup: Setup) -> None:
    tasks = celery_setup.app.tasks
    links = [tasks["gather"].s(tag="ordinary link"), tasks["body"].s(tag="gated link")]

    result = celery_setup.send("one", tag="value", options={"link": links})

    celery_setup.wait_ended([result])
    wait(
        lambda: {"ordinary link", "gated link"} <= {run.tag for run in celery_setup.sweep.ended()},
        what=lambda: f"both links ran; {celery_setup.state()}",
    )


@on_both_brokers
def test_a_link_error_is_called_when_the_task_fails(celery_setup: Setup) -> None:
    tasks = celery_setup.app.tasks
    errbacks = [tasks["gather"].s(tag="ordinary errback"), tasks["body"].s(tag="gated errback")]

    celery_setup.send("one", fail="raise", options={"link_error": errbacks})

    wait(
        lambda: {"ordinary errback", "gated errback"} <= {run.tag for run in celery_setup.sweep.ended()},
        what=lambda: f"both errbacks ran; {celery_setup.state()}",
    )
    celery_setup.assert_slots_are_free("one", 1)
