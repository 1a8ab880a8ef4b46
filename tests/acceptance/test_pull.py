"""Messages leave a Redis queue, and are noted as delivered, in one step: as kombu would have noted them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kombu import Connection, Queue

from celery_concurrency_id.worker.pull import pull
from harness.servers import Servers


class Broker:
    """A Redis, kombu's channel to it, and a queue."""

    def __init__(self, url: str, admin: redis.Redis, **options: Any) -> None:
        self.admin = admin
        self.prefix = options.get("global_keyprefix", "")
        self.connection = Connection(url, transport_options=options)
        self.channel: Any = self.connection.default_channel
        self.queue = Queue("gpu", routing_key="gpu", channel=self.channel)
        self.queue.declare()

    def publish(self, *numbers: int, priority: int = 0) -> None:
        with self.connection.Producer() as producer:
            for number in numbers:
                producer.publish(
                    {"number": number, "said": 'a "quoted" / word \u20ac'},
                    routing_key="gpu",
                    headers={"deep": {"list": [1, None, {}, []], "large": 2**60}},
                    priority=priority,
                )

    def pull(self, most: int) -> list[Any]:
        return pull(self.channel, "gpu", most)

    def noted(self) -> dict[str, Any]:
        """What kombu would put back, by delivery tag."""
        notes: Any = self.admin.hgetall(f"{self.prefix}unacked")
        index: Any = self.admin.zrange(f"{self.prefix}unacked_index", 0, -1)
        assert set(notes) == set(index)
        return {tag: json.loads(note) for tag, note in notes.items()}

    def close(self) -> None:
        self.connection.close()


@pytest.fixture(scope="module")
def server_url(servers: Servers) -> Iterator[str]:
    server = servers.redis()
    yield str(server.celeryconfig["host_url"])
    server.teardown()


@pytest.fixture
def admin(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url, decode_responses=True, socket_timeout=5) as client:
        client.flushall()
        yield client


@pytest.fixture(params=["", "ours:"], ids=["plain", "global_keyprefix"])
def broker(request: pytest.FixtureRequest, server_url: str, admin: redis.Redis) -> Iterator[Broker]:
    options = {"global_keyprefix": request.param} if request.param else {}
    broker = Broker(server_url, admin, **options)
    yield broker
    broker.close()


def numbers(messages: list[Any]) -> list[int]:
    return [message.payload["number"] for message in messages]


def test_a_broker_that_forgot_its_scripts_gives_messages_all_the_same(broker: Broker, admin: redis.Redis) -> None:
    broker.publish(1, 2, 3)
    assert [message.payload["number"] for message in broker.pull(1)] == [1]
    admin.script_flush()
    assert [message.payload["number"] for message in broker.pull(5)] == [2, 3]
    assert len(broker.noted()) == 3


def test_what_is_noted_is_what_kombu_itself_would_have_noted(broker: Broker) -> None:
    broker.publish(1, 2)
    kombus = broker.channel.basic_get("gpu")
    (ours,) = broker.pull(1)

    assert ours.payload == {**kombus.payload, "number": 2}
    assert (ours.headers, ours.content_type) == (kombus.headers, kombus.content_type)
    assert ours.delivery_info == kombus.delivery_info
    notes = broker.noted()
    (theirs, their_exchange, their_key), (message, exchange, key) = notes[kombus.delivery_tag], notes[ours.delivery_tag]
    assert (exchange, key) == (their_exchange, their_key)
    assert message == ours._raw and theirs == kombus._raw
    assert set(message) == set(theirs)
    scores = [score for _, score in broker.admin.zrange(f"{broker.prefix}unacked_index", 0, -1, withscores=True)]
    assert 0 <= scores[1] - scores[0] < 60, "both by the worker's clock, in seconds"


def test_several_come_in_order_and_by_priority_and_no_more_than_there_are(broker: Broker) -> None:
    broker.publish(3, 4, priority=6)
    broker.publish(0, 1, 2)

    assert numbers(broker.pull(2)) == [0, 1]
    assert numbers(broker.pull(2)) == [2, 3]
    assert numbers(broker.pull(9)) == [4]
    assert broker.pull(1) == []


def test_an_acknowledged_message_is_gone_and_another_goes_back(broker: Broker) -> None:
    broker.publish(1, 2)
    first, second = broker.pull(2)
    first.ack()
    assert set(broker.noted()) == {second.delivery_tag}

    second.reject(requeue=True)

    assert not broker.noted()
    assert numbers(broker.pull(9)) == [2]


def test_kombu_puts_back_what_was_not_acknowledged(broker: Broker) -> None:
    """By its tag, as it does for a dead worker, and all of it, when a worker ends."""
    broker.publish(1, 2)
    first, second = broker.pull(2)
    first.ack()
    broker.channel.qos.restore_by_tag(second.delivery_tag)
    assert numbers(broker.pull(9)) == [2]

    broker.channel.qos.restore_unacked()

    assert numbers(broker.pull(9)) == [2]


@pytest.mark.parametrize(
    "rubbish",
    [
        *("", "no message", "7", "{}", "[" * 2000, '{"properties": {"delivery_info": 3, "delivery_tag": "tag"}}'),
        '{"properties": {"delivery_info": {"exchange": "", "routing_key": "gpu"}, "delivery_tag": 3}}',
        '{"properties": {"delivery_info": {}, "delivery_tag": "tag"}}',
        '{"properties": {"delivery_info": {"exchange": "", "routing_key": "gpu"}, "delivery_tag": "tag",'
        ' "body_encoding": "base64"}, "body": "a"}',
    ],
)
def test_what_is_no_message_is_dropped_and_holds_nothing_up(
    broker: Broker, rubbish: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker.admin.lpush(f"{broker.prefix}gpu", rubbish)
    broker.publish(1)

    (message,) = broker.pull(9)

    assert message.payload["number"] == 1
    assert "is no message, and is dropped" in caplog.text
    assert set(broker.noted()) == {message.delivery_tag}, "it must not come back"


def test_who_may_run_no_scripts_gets_messages_all_the_same(
    server_url: str, admin: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    admin.execute_command("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-@scripting")
    broker = Broker(server_url.replace("redis://", "redis://limited:secret@"), admin)
    try:
        broker.publish(1, 2, 3)

        assert numbers(broker.pull(2)) == [1, 2]
        assert numbers(broker.pull(2)) == [3]

        assert len(broker.noted()) == 3
        assert caplog.text.count("refuses scripts") == 1, "once is enough"
    finally:
        broker.close()
        admin.execute_command("ACL", "DELUSER", "limited")


def test_each_get_puts_off_the_end_of_a_queue_that_expires(server_url: str, admin: redis.Redis) -> None:
    broker = Broker(server_url, admin)
    try:
        broker.queue.queue_arguments = {"x-expires": 600_000}
        broker.queue.declare()
        broker.publish(1, 2)
        admin.pexpire("gpu", 300_000)
        before = admin.pttl("gpu")

        assert numbers(broker.pull(1)) == [1]

        after = admin.pttl("gpu")
        assert after > before or not hasattr(broker.channel, "_expires"), "kombu before 5.7 knows no such queue"
    finally:
        broker.close()
