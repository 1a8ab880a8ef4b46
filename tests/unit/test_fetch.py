"""How messages are fetched from RabbitMQ: when queues are declared, and how a message goes back."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from amqp import spec

from celery_concurrency_id.worker import compat
from celery_concurrency_id.worker import fetch as module
from celery_concurrency_id.worker.fetch import Fetcher
from celery_concurrency_id.worker.loop import BrokerLost


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
    """An AMQP channel, and the messages that its broker has."""

    def __init__(self) -> None:
        self._callbacks: dict[Any, Any] = {}
        self.connection = self.transport = self
        self.channel_id = 3
        self.concurrency_replies: Any = None
        self.messages: list[Any] = []
        self.asked = 0  # and not answered
        self.silent = False

    def wait(self, *args: Any, **kwargs: Any) -> None: ...

    def send_method(self, *args: Any) -> None: ...

    def write(self, frames: bytes) -> None:
        frame = bytes.fromhex("01 0003 0000000b  003c 0046  0000 03") + b"gpu" + bytes.fromhex("00 ce")
        assert frames == frame * frames.count(frame)
        self.asked += frames.count(frame)

    def drain_events(self, timeout: float) -> None:
        if self.silent:
            raise socket.timeout
        assert self.asked, "nothing would ever come"
        self.asked -= 1
        self._callbacks[spec.Basic.GetOk if self.messages else spec.Basic.GetEmpty](())

    def _on_get_ok(self, *reply: Any) -> None: ...

    def message_to_python(self, raw: Any) -> Any:
        return self.messages.pop(0)


class World:
    """A fetcher, its channel and its queue, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> None:
        self.channel, self.queue, self.now = Channel(), Queue(**arguments), 100.0
        self.copied: list[tuple[Any, str]] = []
        self.copying: Exception | None = None
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        connection = SimpleNamespace(connection_errors=(OSError,), channel_errors=(), channel=lambda: self.channel)
        self.fetcher = Fetcher(connection, lambda id: self.queue, {"application/json"}, self.copy)

    def copy(self, message: Any, id: str) -> None:
        if self.copying is not None:
            raise self.copying
        assert not message.became, "the copy comes first"
        self.copied.append((message, id))

    def get(self, message: Any = None) -> Any:
        self.channel.messages = [message] if message else []
        messages = self.fetcher.get("gpu")
        return messages[0] if messages else None


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


def test_several_messages_come_in_the_order_of_the_queue_and_all_replies_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, messages = World(monkeypatch), [Message(), Message(), Message()]
    world.channel.messages = list(messages)

    assert world.fetcher.get("gpu", 2) == messages[:2]
    assert world.fetcher.get("gpu", 5) == messages[2:]
    assert world.fetcher.get("gpu") == []

    assert world.channel.asked == 0, "a reply that is left lying would be taken for that to the next get"


def test_a_broker_that_does_not_answer_counts_as_lost_and_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world, now = World(monkeypatch), [0.0]
    world.channel.silent = True

    def passing() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(compat.time, "monotonic", passing)
    with pytest.raises(BrokerLost):
        world.fetcher.get("gpu", 2)
    asked = world.channel.asked
    with pytest.raises(BrokerLost):
        world.fetcher.get("gpu", 2)
    assert world.channel.asked == asked


def test_a_message_goes_back_to_the_head_of_an_ordinary_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    world, message = World(monkeypatch), Message()

    world.fetcher.put_back("gpu", world.get(message))

    assert message.became == "requeued"
    assert not world.copied


def test_a_message_of_a_quorum_queue_is_copied_and_never_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world, message = World(monkeypatch, **{"x-queue-type": "quorum"}), Message()

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
