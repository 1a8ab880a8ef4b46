"""-Q and -X choose what a worker serves and consumes, by what Celery itself calls for them."""

from __future__ import annotations

from typing import Any

import pytest
from kombu import Queue


@pytest.fixture
def queues(make_app: Any, gate: Any) -> Any:
    app = make_app(
        task_queues=[Queue("celery"), Queue("slow"), Queue("declared", queue_arguments={"x-max-priority": 3})]
    )
    for id in ("gpu", "cpu", "declared"):
        gate(app, id, concurrency_id=id)
    return app.amqp.queues


def consumed(queues: Any) -> list[str]:
    return sorted(queues.consume_from)


def test_a_worker_without_options_serves_every_id_and_consumes_every_other_queue(queues: Any) -> None:
    assert queues.served() == ["cpu", "declared", "gpu"]
    assert consumed(queues) == ["celery", "slow"]


@pytest.mark.parametrize(
    ("chosen", "served", "consumes"),
    [
        ("gpu", ["gpu"], []),
        ("gpu,celery", ["gpu"], ["celery"]),
        ("slow", [], ["slow"]),
        ("declared,slow", ["declared"], ["slow"]),
        ("new,cpu", ["cpu"], ["new"]),
    ],
)
def test_q_chooses(queues: Any, chosen: str, served: list[str], consumes: list[str]) -> None:
    queues.select(chosen.split(","))
    assert queues.served() == served
    assert consumed(queues) == consumes


@pytest.mark.parametrize(
    ("excluded", "served", "consumes"),
    [
        ("gpu", ["cpu", "declared"], ["celery", "slow"]),
        ("slow", ["cpu", "declared", "gpu"], ["celery"]),
        ("declared,celery", ["cpu", "gpu"], ["slow"]),
        ("gpu,cpu,declared", [], ["celery", "slow"]),
    ],
)
def test_x_excludes(queues: Any, excluded: str, served: list[str], consumes: list[str]) -> None:
    queues.deselect(excluded.split(","))
    assert queues.served() == served
    assert consumed(queues) == consumes


def test_q_and_x_together(queues: Any) -> None:
    queues.select(["gpu", "cpu", "celery", "slow"])
    queues.deselect(["cpu", "slow"])
    assert queues.served() == ["gpu"]
    assert consumed(queues) == ["celery"]


def test_names_may_be_one_string(queues: Any) -> None:
    queues.select("gpu")
    assert queues.served() == ["gpu"]


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_choosing_nothing_is_choosing_all(queues: Any, nothing: Any) -> None:
    queues.select(nothing)
    queues.deselect(nothing)
    assert queues.served() == ["cpu", "declared", "gpu"]
    assert consumed(queues) == ["celery", "slow"]


def test_what_the_worker_calls_for_q_and_x_reaches_the_dedicated_queues(
    make_app: Any, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    gate(app, concurrency_id="gpu")
    gate(app, "other", concurrency_id="cpu")
    monkeypatch.setattr("celery._state._task_join_will_block", False)  # a worker sets it for its whole process
    app.Worker(app=app, queues="gpu,celery", exclude_queues=["cpu"], pool="solo")
    assert app.amqp.queues.served() == ["gpu"]
    assert consumed(app.amqp.queues) == ["celery"]


def test_purge_sees_the_dedicated_queues(queues: Any) -> None:
    assert set(queues.keys()) >= {"gpu", "cpu", "declared", "celery", "slow"}


def test_tasks_that_nobody_has_used_yet_are_served(make_app: Any) -> None:
    from celery_concurrency_id import QueuedTask, install

    app = make_app()
    install(app)

    @app.task(base=QueuedTask, concurrency_id="lazy_queue")
    def lazy() -> None: ...

    assert app.amqp.queues.served() == ["lazy_queue"]
