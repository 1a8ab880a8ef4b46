"""Quorum queues count deliveries, and drop a message that was put back too often: so nothing is put back."""

from __future__ import annotations

from typing import Callable

from harness.setup import Setup
from harness.waiting import stays

#: What was delivered and comes back is dropped at once.
ONCE = {"x-queue-type": "quorum", "x-delivery-limit": 0}


def test_a_delivery_limit_costs_no_task(make_setup: Callable[..., Setup]) -> None:
    """After short tasks a long one: what is fetched ahead while that runs would have to go back."""
    setup = make_setup(broker="rabbitmq", workers=2, task_queues={"celery": {}, "one": ONCE, "other": ONCE})
    gate = setup.gate()
    results, long = [], []
    for name in ("one", "other"):
        results += [setup.send(name, tag=tag, seconds=0.02) for tag in range(30)]
        long += [setup.send(name, tag=30, gate=gate)]
        results += [setup.send(name, tag=tag, seconds=0.02) for tag in range(31, 60)]
    setup.wait_running(1, "one", timeout=30)
    setup.wait_ended([*results[:30], *results[59:89]], timeout=60)
    setup.wait_running(2, timeout=30)
    stays(lambda: len(setup.running()) == 2, 1.5, "both of the long ones run")

    gate.open()

    setup.wait_ended(results + long, timeout=60)
    for id in ("one", "other"):
        assert setup.sweep.peak(id) == 1
        assert setup.sweep.tags(id) == list(range(60)), "none was put back, and so none lost its place"
    assert not setup.sweep.twice()
    broker = setup.broker
    if hasattr(broker, "server"):  # a container of pytest-celery has no management plugin
        declared = broker.server.manage("GET", f"queues/{broker.vhost}/one")["arguments"]
        assert {name: declared.get(name) for name in ONCE} == ONCE
