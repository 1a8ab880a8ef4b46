"""What cannot work is refused when the worker starts, in words that say what to change."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from harness.setup import Setup

REFUSED = {
    "memory": ({"broker_url": "memory://"}, ["UnsupportedBroker", "'memory'", "Redis (also by Sentinel) or RabbitMQ"]),
    "filesystem": ({"broker_url": "filesystem://"}, ["UnsupportedBroker", "'filesystem'"]),
    "an ordinary task's queue": (
        {"task_routes": {"ordinary": {"queue": "one"}}},
        ["InvalidOption", "task 'one'", "concurrency_id='one'", "expected another name", "'ordinary'"],
    ),
    "the default queue": (
        {"task_default_queue": "two"},
        ["InvalidOption", "task 'two'", "concurrency_id='two'", "expected another name", "task_default_queue"],
    ),
    "no Redis for the slots": (
        {"broker_url": "amqp://127.0.0.1:1//", "result_backend": "cache+memory://"},
        ["InvalidSetting", "concurrency_url=None", "neither broker_url nor result_backend is a Redis"],
    ),
    "a wrong limit in the configuration": (
        {"concurrency_limits": {"one": 0}},
        ["InvalidSetting", "concurrency_limits={'one': 0}", "an int of 1 or more, or None"],
    ),
}


@pytest.mark.parametrize("conf, said", REFUSED.values(), ids=REFUSED)
def test_a_worker_that_could_not_keep_its_limits_does_not_start_and_says_why(
    make_setup: Callable[..., Setup], conf: dict[str, Any], said: list[str]
) -> None:
    setup = make_setup(workers=0)

    worker = setup.start_celery("refused", "worker", "--pool=solo", "--loglevel=INFO", **conf)

    assert worker.wait_exit() != 0
    for part in said:
        assert part in worker.logs(), f"{part!r} is in {worker.logs()}"
    assert " ready." not in worker.logs()
