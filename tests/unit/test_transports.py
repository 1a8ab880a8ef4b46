"""Which brokers a worker accepts, by what their transports call themselves: not all can be installed everywhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celery_concurrency_id import UnsupportedBroker
from celery_concurrency_id.worker.bootstep import Concurrency


def consumer(app: Any, transport: str) -> Any:
    return SimpleNamespace(app=app, conninfo=SimpleNamespace(transport=SimpleNamespace(driver_type=transport)))


@pytest.mark.parametrize("transport", ["sqs", "memory", "filesystem", "gcpubsub", "kafka", "mongodb", "sql"])
def test_other_transports_are_refused_by_name_with_what_would_be_right(app: Any, gate: Any, transport: str) -> None:
    gate(app, concurrency_id="gpu")

    with pytest.raises(UnsupportedBroker) as refused:
        Concurrency(consumer(app, transport))

    assert refused.value.transport == transport
    for part in (repr(transport), "Redis", "RabbitMQ"):
        assert part in str(refused.value)


def test_an_app_without_gated_tasks_may_have_any_transport(app: Any) -> None:
    from celery_concurrency_id import install

    install(app)

    assert Concurrency(consumer(app, "sqs")).ids == []
