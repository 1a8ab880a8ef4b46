"""How messages are fetched from RabbitMQ: when queues are declared, and how a message goes back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from amqp import spec

from celery_concurrency_id.worker import fetch as module
from celery_concurrency_id.worker.fetch import Fetcher


class Queue:
    """A queue of kombu's that writes down how often it is declared."""

    def __init__(self, **arguments: Any) -> None:
        self.name, self.queue_arguments = "gpu", arguments
        self.declared = 0

    def __call__(self, channel: Any) -> Queue:
        return self

    def declare(self) -> None:
        self.declared += 1

    def queue_declare(self, nowait: bool) -> None:
        self.declared += 1


class Message:
    """A message, and what became of it."""

    def __init__(self, **headers: Any) -> None:
        self.headers = headers
        self.channel = SimpleNamespace()
        self.became = ""

    def ack(self) -> None:
        self.became += "acknowledged"

    def requeue(self) -> None:
        self.became += "requeued"


class Channel:
    """An AMQP channel whose broker has one message, or none."""

    def __init__(self) -> None:
        self._callbacks: dict[Any, Any] = {}
        self.connection = self
        self.concurrency_replies: Any = None
        self.message: Any = None

    def wait(self, *args: Any, **kwargs: Any) -> None: ...

    def send_method(self, *args: Any) -> None: ...

    def drain_events(self, timeout: float) -> None:
        self._callbacks[spec.Basic.GetOk if self.message else spec.Basic.GetEmpty](())

    def _on_get_ok(self, *reply: Any) -> None: ...

    def message_to_python(self, raw: Any) -> Any:
        return self.message


class World:
    """A fetcher, its channel and its queue, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> None:
        self.channel, self.queue, self.now = Channel(), Queue(**arguments), 100.0
        self.copied: list[tuple[Any, str]] = []
        self.copying: Exception | None = None
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        connection = SimpleNamespace(connection_errors=(OSError,), channel_errors=(), channel=lambda: self.channel)
        self.fetcher = Fetcher(connection, lambda id: self.queue, {"application/json"}, True, self.copy)

    def copy(self, message: Any, id: str) -> None:
        if self.copying is not None:
            raise self.copying
        assert not message.became, "the copy comes first"
        self.copied.append((message, id))

    def get(self, message: Any = None) -> Any:
        self.channel.message = message
        return self.fetcher.get("gpu")


def test_a_queue_is_not_declared_for_every_get(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.get(Message())
    before = world.queue.declared
    for _ in range(10):
        world.get(Message())
    assert world.queue.declared == before

    world.now += 5
    world.get(Message())
    assert world.queue.declared == before + 1, "somebody may have deleted it"

    world.get(None)
    world.get(Message())
    assert world.queue.declared == before + 2, "it was empty: maybe somebody deleted it"


def test_a_message_goes_back_to_the_head_of_an_ordinary_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    world, message = World(monkeypatch), Message()
    assert not world.fetcher.waits("gpu")

    world.fetcher.put_back("gpu", world.get(message))

    assert message.became == "requeued"
    assert not world.copied


def test_a_message_of_a_quorum_queue_is_copied_and_never_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world, message = World(monkeypatch, **{"x-queue-type": "quorum"}), Message()
    assert world.fetcher.waits("gpu")

    world.fetcher.put_back("gpu", world.get(message))

    assert message.became == "acknowledged"
    assert world.copied == [(message, "gpu")]


def test_a_copy_that_fails_costs_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    world, message = World(monkeypatch, **{"x-queue-type": "quorum"}), Message()
    world.copying = RuntimeError("no such exchange")

    world.fetcher.put_back("gpu", world.get(message))

    assert message.became == "requeued"


def test_a_quorum_queue_that_nobody_declared_as_one_gives_itself_away(monkeypatch: pytest.MonkeyPatch) -> None:
    world, message = World(monkeypatch), Message(**{"x-delivery-count": 1})

    world.fetcher.put_back("gpu", world.get(message))

    assert message.became == "acknowledged"
    assert world.fetcher.counts_deliveries("gpu")
