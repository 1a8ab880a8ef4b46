"""A worker that RabbitMQ hears, but that does not hear RabbitMQ: no wait of ours may be endless."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

import pytest

from celery_concurrency_id.worker.compat import GET_TIMEOUT
from faults.proxy import Proxy
from harness.servers import Servers
from harness.setup import Setup
from harness.waiting import stays, wait
from harness.worker import WorkerNode

pytestmark = [pytest.mark.faults, pytest.mark.slow]

RETRY = {"broker_connection_retry": True, "broker_connection_max_retries": None}


class Line:
    """A setup on RabbitMQ, one worker of which is connected by a line that can be cut one way."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        config = setup.broker.config()
        self.proxy = Proxy(config["port"])
        self.url = f"amqp://guest:guest@127.0.0.1:{self.proxy.port}/{config['vhost']}"

    def start_worker(self) -> WorkerNode:
        [worker] = self.setup.start_workers(1, broker_url=self.url)
        return worker


@pytest.fixture
def line(make_setup: Callable[..., Setup], servers: Servers) -> Iterator[Line]:
    line = Line(make_setup(broker=servers.rabbitmq_broker(), workers=0, **RETRY))
    yield line
    line.proxy.close()


def gives_up(worker: WorkerNode, lines_before: int) -> None:
    """The worker says that it lost the broker; without a bound of ours it would wait for heartbeats, for minutes."""
    wait(
        lambda: "Connection to broker lost" in "\n".join(worker.logs().splitlines()[lines_before:]),
        GET_TIMEOUT + 25,
        lambda: f"the connection is given up; {worker.logs()[-3000:]}",
    )


def test_a_get_that_is_never_answered_costs_the_connection_and_nothing_else(line: Line) -> None:
    setup = line.setup
    deaf = line.start_worker()
    gate = setup.gate()
    running = setup.send_many("two", 2, gate=gate)
    setup.wait_running(2, "two")
    waiting = setup.send_many("two", 12, seconds=0.3)
    # Its loop has gone round since: the acknowledgements of the two are with the broker.
    assert len(setup.app.control.ping(timeout=5, limit=1)) == 1
    setup.start_workers(1)
    before = len(deaf.logs().splitlines())

    line.proxy.deafen()
    gate.open()
    gives_up(deaf, before)
    # The other worker goes on, with slots that nobody had to wait for longer than that.
    setup.wait_ended(waiting, timeout=30)
    line.proxy.heal()
    later = setup.send_many("two", 6, seconds=0.3)

    setup.wait_ended(running + waiting + later, timeout=30)
    assert setup.sweep.peak("two") == 2
    assert not setup.sweep.twice(), "what it never heard of it did not run"
    wait(lambda: "Connected to" in deaf.logs()[-6000:], 30, "it is back")
    setup.assert_slots_are_free("two", 2, timeout=30)


def test_an_idle_worker_that_looks_for_tasks_gives_up_too(line: Line) -> None:
    setup = line.setup
    deaf = line.start_worker()
    setup.wait_ended([setup.send("two")])
    before = len(deaf.logs().splitlines())

    line.proxy.deafen()  # the next look at the queues' lengths is never answered
    gives_up(deaf, before)
    line.proxy.heal()

    setup.wait_ended(setup.send_many("two", 4), timeout=30)


def test_what_was_fetched_ahead_goes_back_also_after_the_connection_was_lost(line: Line) -> None:
    setup = line.setup
    deaf = line.start_worker()
    # While short tasks run, others of their id are fetched ahead, and a timer watches over those.
    setup.wait_ended(setup.send_many("two", 60, seconds=0.01))
    before = len(deaf.logs().splitlines())
    many = setup.send_many("two", 200, seconds=0.01)
    setup.wait_running(1, "two")
    line.proxy.deafen()
    gives_up(deaf, before)
    line.proxy.heal()
    setup.wait_ended(many, timeout=60)

    # The worker knows these tasks as short: with one it fetches the next, which then waits for a long one.
    setup.wait_ended(setup.send_many("two", 30, seconds=0.01), timeout=30)
    gate = setup.gate()
    results = [setup.send("two", tag="long", gate=gate) for _ in range(2)]
    results += setup.send_many("two", 5)
    setup.wait_running(2, "two")

    wait(lambda: setup.waiting("two") == 5, 15, lambda: f"{setup.waiting('two')} of 5 wait in the broker")
    stays(lambda: setup.waiting("two") >= 4, 1)
    gate.open()
    setup.wait_ended(results, timeout=30)
    assert setup.sweep.peak("two") == 2
