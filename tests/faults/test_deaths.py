"""Deaths between two steps that belong together, and a broker that is silent between them: nothing is lost."""

from __future__ import annotations

import time
import uuid
from typing import Any, Callable

import pytest
from kombu import Connection

from celery_concurrency_id.worker import compat, move
from celery_concurrency_id.worker.move import Mover
from faults.proxy import Proxy
from harness.app import make_app
from harness.servers import Servers
from harness.setup import Setup
from harness.waiting import PATIENCE, wait

pytestmark = [pytest.mark.faults, pytest.mark.slow]


@pytest.mark.parametrize("moment", ["before the copy", "between copy and acknowledgement"])
def test_a_task_is_not_lost_with_a_worker_that_dies_while_it_moves_it(
    make_setup: Callable[..., Setup], servers: Servers, moment: str
) -> None:
    """A producer without the extension published it; at-least-once: it may run twice, in its turn."""
    setup = make_setup(broker=servers.rabbitmq_broker(), workers=0, pool="threads", task_ignore_result=True)
    [mortal] = setup.start_workers(1, imports=["faults.dying"], dies=moment)
    results = [setup.plain_producer().send_task("one", kwargs={"tag": tag}) for tag in range(3)]
    assert mortal.container.wait_exit(30) != 0
    assert not setup.sweep.runs(), "it was on its way"

    setup.start_workers(1)

    setup.wait_ended(results)
    assert setup.sweep.peak("one") == 1
    twice = setup.sweep.twice()
    assert sum(twice.values()) <= 2, f"more than the one was published again: {twice}"
    setup.assert_slots_are_free("one", 1)


def test_a_task_is_not_lost_that_comes_after_a_worker_died_while_it_retired_its_queue(
    make_setup: Callable[..., Setup], servers: Servers
) -> None:
    """The queue is gone, and Redis knows the id still: the next who publishes makes the queue anew."""
    setup = make_setup(broker=servers.rabbitmq_broker(), workers=0, concurrency_id_ttl=4, task_ignore_result=True)
    [mortal] = setup.start_workers(1, pool="threads", imports=["faults.dying"], dies="once the queue is deleted")
    first = setup.send("tenant", tenant="mortal")
    setup.wait_ended([first])
    assert mortal.container.wait_exit(60) != 0

    later = [setup.send("tenant", tenant="mortal", tag=tag) for tag in range(3)]
    setup.start_workers(1)

    setup.wait_ended(later)
    assert setup.sweep.peak("tenant-mortal") == 1
    assert not setup.sweep.twice()


class Message:
    """What a producer without the extension published, as it comes to a worker."""

    content_type, content_encoding, properties = "application/json", "utf-8", {"correlation_id": "x"}

    def __init__(self) -> None:
        self.headers = {"id": str(uuid.uuid4()), "task": "one", "retries": 0, "lang": "py"}
        self.body, self.payload = b"[[], {}, {}]", [[], {}, {}]


@pytest.mark.parametrize("trouble", ["deafen", "reset"])
def test_a_broker_that_does_not_answer_does_not_hold_up_a_move_for_long(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    for module in (compat, move):
        monkeypatch.setattr(module, "GET_TIMEOUT", 1.0)
    redis, broker = servers.redis(), servers.rabbitmq_broker()
    config = broker.config()
    proxy = Proxy(config["port"])
    app = make_app(
        {
            "broker_url": f"amqp://guest:guest@127.0.0.1:{proxy.port}/{config['vhost']}",
            "broker_transport_options": {"confirm_publish": True},
            "broker_connection_timeout": 1,
            "concurrency_url": redis.celeryconfig["host_url"],
        }
    )
    try:
        mover = Mover(app)
        mover.move(Message(), "one", "one")

        getattr(proxy, trouble)()
        begun = time.monotonic()
        with pytest.raises(Exception):  # noqa: B017 - whichever the transport has for it
            mover.move(Message(), "one", "one")
        # It waits a second for an answer, connects anew, and waits again; without a bound, for minutes.
        assert time.monotonic() - begun < 20 * PATIENCE

        proxy.heal()
        mover.move(Message(), "one", "one")
        with Connection(config["host_url"]) as connection:
            wait(lambda: length(connection) >= 2, 15, "both have come")
    finally:
        app.close()
        proxy.close()
        broker.teardown()
        redis.teardown()


def length(connection: Any) -> int:
    with connection.channel() as channel:
        return int(channel.queue_declare("one", passive=True).message_count)
