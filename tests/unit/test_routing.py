"""A gated task goes to the queue of its id, whatever else names a queue; all other options stay."""

from __future__ import annotations

from typing import Any

import pytest
from celery.app.defaults import DEFAULTS
from kombu import Exchange, Queue


def route(app: Any, name: str = "resize", **options: Any) -> dict[str, Any]:
    return dict(app.amqp.router.route(options, name, (), {}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"queue": "elsewhere"},
        {"queue": Queue("elsewhere")},
        {"routing_key": "elsewhere"},
        {"exchange": "elsewhere", "routing_key": "elsewhere", "exchange_type": "topic"},
    ],
)
def test_nothing_else_names_the_queue_of_a_gated_task(app: Any, gate: Any, options: dict[str, Any]) -> None:
    gate(app, concurrency_id="gpu")
    routed = route(app, **options)
    assert routed.pop("queue").name == "gpu"
    assert routed == {}


@pytest.mark.parametrize(
    "routes", [{"resize": "elsewhere"}, {"res*": {"queue": "elsewhere"}}, [{"resize": "elsewhere"}]]
)
def test_task_routes_do_not_name_it_either(make_app: Any, gate: Any, ordinary: Any, routes: Any) -> None:
    app = make_app(task_routes=routes)
    gate(app, concurrency_id="gpu")
    ordinary(app, "mail")
    assert route(app)["queue"].name == "gpu"


def test_other_options_of_task_routes_hold(make_app: Any, gate: Any) -> None:
    app = make_app(task_routes={"resize": {"queue": "elsewhere", "priority": 7, "expires": 60}})
    gate(app, concurrency_id="gpu")
    routed = route(app, countdown=5)
    assert (routed["queue"].name, routed["priority"], routed["expires"], routed["countdown"]) == ("gpu", 7, 60, 5)


def test_an_ordinary_task_is_routed_as_ever(make_app: Any, gate: Any) -> None:
    app = make_app(task_routes={"mail": {"queue": "slow"}})
    gate(app, concurrency_id="gpu")
    assert route(app, "mail")["queue"].name == "slow"
    assert route(app, "other")["queue"].name == "celery"
    assert route(app, "other", queue="fast")["queue"].name == "fast"


def test_a_task_that_is_only_known_by_name_is_routed_too(app: Any, gate: Any) -> None:
    gate(app, "proj.resize", concurrency_id="gpu")
    assert route(app, "proj.resize", queue="celery")["queue"].name == "gpu"


def test_a_queue_that_the_user_declared_keeps_its_arguments(make_app: Any, gate: Any) -> None:
    declared = Queue("gpu", Exchange("gpus", "topic"), "gpu.#", queue_arguments={"x-max-priority": 9})
    app = make_app(task_queues=[Queue("celery"), declared])
    gate(app, concurrency_id="gpu")
    queue = route(app)["queue"]
    assert queue.queue_arguments == {"x-max-priority": 9}
    assert (queue.exchange.name, queue.routing_key) == ("gpus", "gpu.#")


def test_it_is_durable_and_made_as_celery_makes_missing_queues(app: Any, gate: Any) -> None:
    gate(app, concurrency_id="gpu")
    ours, celerys = route(app)["queue"], app.amqp.queues.new_missing("gpu")
    assert ours.durable
    assert ours == celerys
    assert (ours.exchange, ours.routing_key) == (celerys.exchange, celerys.routing_key)


def test_the_type_of_missing_queues_is_also_its_type(make_app: Any, gate: Any) -> None:
    app = make_app(task_create_missing_queue_type="quorum")
    if "task_create_missing_queue_type" not in DEFAULTS:
        pytest.skip("this Celery has no task_create_missing_queue_type (5.6 and newer have)")
    gate(app, concurrency_id="gpu")
    assert route(app)["queue"].queue_arguments == {"x-queue-type": "quorum"}


def test_the_highest_priority_of_all_queues_is_also_its_own(make_app: Any, gate: Any) -> None:
    app = make_app(task_queue_max_priority=5)
    gate(app, concurrency_id="gpu")
    assert route(app)["queue"].queue_arguments["x-max-priority"] == 5


def test_routing_registers_no_queue_that_a_worker_would_consume(app: Any, gate: Any) -> None:
    gate(app, concurrency_id="gpu")
    route(app)
    assert not dict.__contains__(app.amqp.queues, "gpu")
    assert "gpu" not in app.amqp.queues.consume_from
