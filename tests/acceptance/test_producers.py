"""However a message of a gated task was published, it ends in the dedicated queue and under the limit."""

from __future__ import annotations

import uuid
from typing import Any, Callable

import pytest

from harness.fixtures import for_each_broker, on_both_brokers
from harness.setup import Setup
from harness.waiting import wait


def judge(setup: Setup, results: list[Any]) -> None:
    setup.wait_ended(results)
    assert setup.sweep.peak("one") == 1
    assert not setup.sweep.twice()


@on_both_brokers
def test_send_task_by_name_goes_to_the_dedicated_queue(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    send = celery_setup.app.send_task
    results = [send("one", kwargs={"tag": tag, "gate": str(gate)}) for tag in range(5)]
    celery_setup.wait_running(1, "one")

    wait(lambda: celery_setup.waiting("one") == 4, what="the others wait in the dedicated queue")

    gate.open()
    judge(celery_setup, results)
    assert celery_setup.sweep.tags("one") == list(range(5))


@on_both_brokers
def test_messages_from_a_producer_without_the_extension_are_moved_to_the_dedicated_queue(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    plain = celery_setup.plain_producer()
    results = [plain.send_task("one", kwargs={"tag": tag, "gate": str(gate)}) for tag in range(10)]
    celery_setup.wait_running(1, "one")

    wait(
        lambda: celery_setup.waiting("one") == 9 and celery_setup.waiting("celery") == 0,
        what=lambda: f"9 wait in the dedicated queue, not {celery_setup.waiting('one')}; {celery_setup.state()}",
    )
    ordinary = celery_setup.send("ordinary")
    celery_setup.wait_ended([ordinary], timeout=5)

    gate.open()
    judge(celery_setup, results)
    plain.close()


@on_both_brokers
def test_messages_put_into_the_dedicated_queue_by_others_are_found(celery_setup: Setup) -> None:
    """Nobody announced them: the safety poll finds them, within some seconds."""
    plain = celery_setup.plain_producer()
    results = [plain.send_task("one", kwargs={"tag": tag}, queue="one") for tag in range(3)]

    judge(celery_setup, results)
    assert celery_setup.sweep.tags("one") == [0, 1, 2]
    plain.close()


@on_both_brokers
def test_an_explicit_queue_on_a_gated_task_is_led_to_the_dedicated_queue(celery_setup: Setup) -> None:
    results = [celery_setup.send("one", tag=tag, seconds=0.02, options={"queue": "celery"}) for tag in range(10)]

    judge(celery_setup, results)


@for_each_broker
def test_task_routes_on_a_gated_task_lead_to_the_dedicated_queue(make_setup: Callable[..., Setup], broker: str) -> None:
    setup = make_setup(
        "--queues=celery,elsewhere,one", broker=broker, workers=2, task_routes={"one": {"queue": "elsewhere"}}
    )
    results = setup.send_many("one", 10, seconds=0.02)

    judge(setup, results)
    assert setup.waiting("elsewhere") == 0


@for_each_broker
def test_messages_that_waited_before_the_extension_was_installed_run_under_the_limit(
    make_setup: Callable[..., Setup], broker: str
) -> None:
    setup = make_setup(broker=broker, workers=0)
    plain = setup.plain_producer()
    results = [plain.send_task("one", kwargs={"tag": tag, "seconds": 0.01}) for tag in range(30)]
    results.append(plain.send_task("ordinary"))

    setup.start_workers(2)

    judge(setup, results)
    plain.close()


def put(setup: Setup, body: bytes, queue: str = "one", **properties: Any) -> None:
    """Put a message as it is into a queue."""
    with setup.app.connection_for_write() as connection:
        producer = connection.Producer()
        producer.publish(body, exchange="", routing_key=queue, **properties)


@on_both_brokers
def test_a_message_of_an_unknown_task_gives_its_slot_back(celery_setup: Setup) -> None:
    celery_setup.wait_ended([celery_setup.send("one")])

    for _ in range(3):
        celery_setup.app.send_task("nobody.knows.this", queue="one")

    celery_setup.assert_slots_are_free("one", 1)
    assert celery_setup.waiting("one") == 0
    assert any("nobody.knows.this" in node.logs() for node in celery_setup.workers)


GOOD_HEADERS = {"task": "one", "lang": "py", "root_id": None, "parent_id": None, "retries": 0}


@on_both_brokers
@pytest.mark.parametrize(
    "body, content_type, headers",
    [
        (b"{not json", "application/json", GOOD_HEADERS),
        (b"\x80\x04N.", "application/x-python-serialize", GOOD_HEADERS),
        (b"abc", "application/unheard-of", GOOD_HEADERS),
        (b'["not a task"]', "application/json", {}),
        (b'{"no": "task"}', "application/json", {}),
        (b'"no arguments"', "application/json", GOOD_HEADERS),
    ],
    ids=["broken", "refused", "unheard-of", "no-headers", "old-protocol", "wrong-shape"],
)
def test_a_message_that_cannot_be_decoded_gives_its_slot_back(
    celery_setup: Setup, body: bytes, content_type: str, headers: dict[str, Any]
) -> None:
    celery_setup.wait_ended([celery_setup.send("one")])
    id = str(uuid.uuid4())
    headers = {**headers, "id": id, "root_id": id} if headers else {}

    put(celery_setup, body, content_type=content_type, content_encoding="utf-8", headers=headers, correlation_id=id)

    celery_setup.assert_slots_are_free("one", 1)
    assert celery_setup.waiting("one") == 0
    assert celery_setup.healthy()
