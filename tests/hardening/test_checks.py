"""Bad configuration is found when the worker starts, by a line that says what to change."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from harness.process import free_port
from harness.servers import Servers
from harness.setup import Setup
from harness.waiting import wait

pytestmark = pytest.mark.slow

#: Settings with which no worker starts, and what it says.
FATAL: list[tuple[dict[str, Any], str]] = [
    ({"concurrency_url": "http://127.0.0.1/0"}, "setting concurrency_url='http://127.0.0.1/0' is refused: expected a"),
    ({"concurrency_url": "redis://127.0.0.1:port/0"}, "setting concurrency_url='redis://127.0.0.1:port/0' is refused"),
    (
        {"broker_url": "amqp://127.0.0.1:1//", "result_backend": "rpc://"},
        "setting concurrency_url=None is refused: expected the URL of a Redis to hold the slots",
    ),
    ({"concurrency_lease_ttl": 1}, "setting concurrency_lease_ttl=1 is refused: expected 3 seconds or more"),
    ({"concurrency_on_lease_lost": "kill"}, "setting concurrency_on_lease_lost='kill' is refused: expected"),
]


def found(setup: Setup, number: int = 0) -> list[str]:
    lines = setup.workers[number].logs().splitlines()
    return [line.split("found at start: ", 1)[1] for line in lines if "found at start: " in line]


def test_a_worker_with_settings_that_cannot_work_ends_and_says_what_would(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(workers=0)
    for conf, _ in FATAL:
        setup.start_workers(1, concurrency=1, wait_ready=False, **conf)

    for node, (_, said) in zip(setup.workers, FATAL):
        assert node.container.wait_exit(60) != 0
        assert said in node.logs(), node.logs()


def test_what_is_wrong_with_redis_and_time_limits_is_said_at_the_start(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(workers=1, concurrency=1)
    setup.wait_ended([setup.send("one")])
    assert found(setup) == [], "nothing is wrong"

    setup.broker.container.client.config_set("maxmemory-policy", "allkeys-lru")
    setup.start_workers(1, concurrency=1, task_time_limit=100, broker_transport_options={"visibility_timeout": 50})

    wait(lambda: len(found(setup, 1)) == 3, 20, lambda: f"all are found; {setup.state()}")
    eviction, visibility, another = found(setup, 1)
    assert "maxmemory-policy allkeys-lru" in eviction and "set maxmemory-policy to noeviction" in eviction
    assert visibility.startswith("task 'late' may run for 100 s, but the broker delivers")
    assert another.startswith("task 'late_tenant' may run for 100 s, but the broker delivers")
    assert "raise broker_transport_options['visibility_timeout'] above the time limit" in visibility
    setup.assert_slots_are_free("one", 1)


def test_a_redis_that_is_not_there_or_refuses_is_said_at_the_start(
    make_setup: Callable[..., Setup], servers: Servers
) -> None:
    locked = servers.redis()
    try:
        port = locked.celeryconfig["port"]
        locked.client.config_set("requirepass", "sesame")
        urls = [f"redis://127.0.0.1:{free_port()}/0", f"redis://:wrong@127.0.0.1:{port}/0"]
        setup = make_setup(workers=0)
        for url in urls:
            setup.start_workers(1, concurrency=1, wait_ready=False, concurrency_url=url)

        for number, url in enumerate(urls):
            wait(lambda: found(setup, number), 60, setup.state)  # noqa: B023
            [said] = found(setup, number)
            assert said.startswith(f"Redis at {url.replace('wrong', '**')} cannot be used (")
            assert said.endswith("or correct concurrency_url, its password or concurrency_transport_options")
        setup.wait_ended([setup.send("ordinary") for _ in range(4)])
    finally:
        locked.teardown()
