"""Tasks that only the configuration gates: their code knows nothing of a limit, and neither need their producers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from celery import chord

from harness import truth
from harness.app import make_app
from harness.fixtures import everywhere, for_each_broker, on_both_brokers
from harness.setup import Setup
from harness.sweep import Sweep
from harness.tasks import CONFIGURED
from harness.waiting import stays, wait


@everywhere
def test_plain_tasks_run_under_the_limit_of_their_glob(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    results = celery_setup.send_many("legacy.render", 8, gate=gate)
    celery_setup.wait_running(2, "legacy_two")

    wait(lambda: celery_setup.waiting("legacy_two") == 6, what="the others wait in the queue of the id")
    if celery_setup.pool != "solo":  # both of its workers are busy
        celery_setup.wait_ended([celery_setup.send("reports.quick"), celery_setup.send("ordinary")])
    stays(lambda: len(celery_setup.running("legacy_two")) == 2, 0.3, "two run")

    gate.open()
    celery_setup.wait_ended(results)
    assert celery_setup.sweep.peak("legacy_two") == 2
    assert celery_setup.waiting("legacy_two") == 0


@on_both_brokers
def test_messages_of_a_producer_that_knows_nothing_are_moved_to_the_queue_of_the_id(celery_setup: Setup) -> None:
    producer = celery_setup.plain_producer()
    results = [producer.send_task("legacy.render", kwargs={"tag": tag, "seconds": 0.05}) for tag in range(10)]

    celery_setup.wait_ended(results)
    assert celery_setup.sweep.peak("legacy_two") == 2
    assert not celery_setup.sweep.twice()
    producer.close()


@on_both_brokers
def test_retries_and_failures_give_their_slots_back_and_wait_for_new_ones(celery_setup: Setup) -> None:
    retrying = [celery_setup.send("legacy.retrying", times=2) for _ in range(4)]
    failing = [celery_setup.send("legacy.render", fail=how) for how in ("raise", "reject", "raise")]

    assert [result.get(timeout=30) for result in retrying] == [2, 2, 2, 2]
    celery_setup.wait_ended(failing)
    assert len(celery_setup.sweep.runs(name="legacy.retrying")) == 12
    assert celery_setup.sweep.peak("legacy_two") <= 2
    celery_setup.assert_slots_are_free("legacy.render", 2)


def test_canvas_steps_are_gated_too(celery_setup: Setup) -> None:
    app = celery_setup.app
    header = [app.signature("legacy.render", kwargs={"tag": tag, "seconds": 0.02}) for tag in range(6)]

    collected = chord(header, app=app)(app.signature("gather", kwargs={"tag": "all"}))

    assert sorted(collected.get(timeout=30)) == list(range(6))
    assert celery_setup.sweep.peak("legacy_two") == 2


@for_each_broker
def test_producers_that_only_know_names_and_settings_as_django_projects_write_them(
    make_setup: Callable[..., Setup], broker: str
) -> None:
    """Nothing but the settings, with their prefix; one entry stands over a decorator, all over ``task_routes``."""
    setup = make_setup(
        broker=broker,
        workers=0,
        django=True,
        task_routes={"legacy.*": {"queue": "elsewhere"}},
        concurrency_tasks={**CONFIGURED, "two": {"concurrency_id": "wider", "concurrency_limit": 3}},
    )
    producer, gate = setup.distant_producer(), setup.gate()
    results = [
        producer.send_task(name, kwargs={"tag": tag, "gate": str(gate)}, queue="celery")
        for name in ("legacy.render", "two")
        for tag in range(6)
    ]
    # No worker has moved anything yet.
    wait(lambda: [setup.waiting(id) for id in ("legacy_two", "wider", "elsewhere", "celery")] == [6, 6, 0, 0])

    setup.start_workers(2, "--queues=celery,elsewhere,legacy_two,wider", concurrency=5)
    setup.wait_running(2, "legacy_two")
    setup.wait_running(3, "two")  # its log still has the id of its code
    wait(lambda: [setup.waiting(id) for id in ("legacy_two", "wider", "elsewhere", "celery")] == [4, 3, 0, 0])

    gate.open()
    setup.wait_ended(results)
    assert (setup.sweep.peak("legacy_two"), setup.sweep.peak("two")) == (2, 3)
    producer.close()


@pytest.mark.parametrize("how", ["apply", "always eager"])
def test_eager_they_run_at_once_without_redis(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(truth.LOG, str(tmp_path / "truth.jsonl"))
    nowhere = "redis://127.0.0.1:1/0"
    conf: dict[str, Any] = {"broker_url": nowhere, "result_backend": nowhere, "concurrency_tasks": CONFIGURED}
    app = make_app({**conf, "task_always_eager": how != "apply"})
    task = app.tasks["legacy.render"]

    result = task.apply(kwargs={"tag": "now"}) if how == "apply" else task.delay(tag="now")

    assert result.get() == "now"
    assert Sweep(tmp_path / "truth.jsonl").tags("legacy_two") == ["now"]
