"""What messages say is data: whatever it is, a task runs or is refused as in plain Celery, and its slot comes back."""

from __future__ import annotations

import json
import uuid
from typing import Any, Callable

import pytest

from hardening import odd_ids
from harness import truth
from harness.fixtures import for_each_broker
from harness.setup import Setup
from harness.waiting import wait

pytestmark = pytest.mark.slow

#: Headers that no Celery sends, put over those that it does. What JSON cannot hold, no broker here carries.
FORGED: dict[str, dict[str, Any]] = {
    "nothing wrong": {},
    "a huge id": {"id": "x" * 100_000},
    "an id like a script": {"id": "'] redis.call('FLUSHALL') --\n%s {x} *?[a]|r|1|"},
    "an id with a zero": {"id": "zero\x00\r\n"},
    "a number as id": {"id": 7},
    "no id": {"id": None},
    "negative retries": {"retries": -5},
    "huge retries": {"retries": 2**62},
    "boolean retries": {"retries": True},
    "retries in words": {"retries": "many"},
    "no retries": {"retries": None},
    "a list of retries": {"retries": [1]},
    "an id of its own choice": {"concurrency_id": "other", "concurrency_token": 9_999_999_999_999_999},
    "a token that is none": {"concurrency_id": {"a": 1}, "concurrency_token": "'] redis.call('FLUSHALL') --"},
    "an eta that is none": {"eta": "soon"},
    "an eta that is a number": {"eta": 7},
    "an expiry that is none": {"expires": "never"},
    "another task": {"task": "unheard-of"},
    "no task": {"task": None},
    "binary": {"id": "\udcff\udcfe", "shadow": "\ud800"},
}
#: With some of these plain Celery's worker ends; here they are refused.
FATAL: dict[str, dict[str, Any]] = {
    "a list as id": {"id": ["x", {"y": 1}]},
    "limits in words": {"timelimit": "short"},
    "limits that are no numbers": {"timelimit": ["a", "b"]},
    "one limit": {"timelimit": [1]},
    "boolean limits": {"timelimit": [True, True]},
}
#: On AMQP an id cannot be a lone surrogate; bytes that are no text take its place.
BINARY = {"id": b"\xff\xfe\x00", "shadow": b"\xff"}


def forge(setup: Setup, queue: str, task: str, tag: str, headers: dict[str, Any], broker: str) -> None:
    """Publish to a queue directly, as somebody who knows the broker but not Celery's rules."""
    if broker == "rabbitmq" and "shadow" in headers:
        headers = BINARY
    known = {"lang": "py", "task": task, "id": str(uuid.uuid4()), "retries": 0, "argsrepr": "()", "kwargsrepr": "{}"}
    with setup.app.connection_for_write() as connection, connection.Producer() as producer:
        producer.publish(
            json.dumps([[], {"tag": tag}, {}]),
            exchange="",
            routing_key=queue,
            content_type="application/json",
            content_encoding="utf-8",
            headers={**known, **headers},
            correlation_id=str(uuid.uuid4()),
        )


@for_each_broker
def test_a_forged_message_runs_or_is_refused_as_in_plain_celery_and_gives_its_slot_back(
    make_setup: Callable[..., Setup], broker: str
) -> None:
    setup = make_setup(broker=broker, workers=1, concurrency=2, harness_signals=True)
    setup.wait_ended([setup.send("one"), setup.send("ordinary")])  # the queues are there

    for what, headers in FORGED.items():
        forge(setup, "one", "one", what, headers, broker)
        forge(setup, "celery", "ordinary", what, headers, broker)
    for what, headers in FATAL.items():
        forge(setup, "one", "one", what, headers, broker)
    wait(lambda: not setup.waiting("one") and not setup.waiting("celery"), 60, lambda: f"all fetched; {setup.state()}")
    setup.wait_ended([setup.send("one"), setup.send("ordinary")], timeout=60)

    gated = {run.tag: run.outcome for run in setup.sweep.runs(name="one") if run.tag}
    plain = {run.tag: run.outcome for run in setup.sweep.runs(name="ordinary") if run.tag}
    assert gated == plain, "what runs, and how it ends"
    assert len(gated) >= 6 and gated["nothing wrong"] == "ok"
    tags = [run.tag for run in setup.sweep.runs(name="one") if run.tag]
    assert len(tags) == len(gated), "none twice"
    assert setup.sweep.peak("one") == 1
    assert setup.worker.container.status == "running"
    assert "this is a bug" not in setup.worker.logs(), setup.state()
    for began in truth.read(setup.truth_file, "begins"):
        if began["name"] == "one":
            assert began["concurrency_id"] == "one"
            assert type(began["token"]) is int and began["token"] != 9_999_999_999_999_999
    setup.assert_slots_are_free("one", 1)


@for_each_broker
def test_forged_messages_leave_nothing_behind_in_redis(make_setup: Callable[..., Setup], broker: str) -> None:
    """What is remembered of a task whose announcement never came is small, and forgotten after 30 s."""
    setup = make_setup(broker=broker, workers=1, concurrency=2, task_ignore_result=True)
    semaphore = (setup.broker if broker == "redis" else setup.backend).container.client
    setup.wait_ended(setup.send_many("two", 10))

    def state() -> dict[str, int]:
        return {key: semaphore.memory_usage(key) for key in semaphore.scan_iter("concurrency:*")}

    before = state()
    for number in range(200):
        headers = {"id": f"{number}" + "x" * 20_000, "retries": -number, "concurrency_id": f"id-{number}"}
        forge(setup, "two", "two", f"forged-{number}", headers, broker)
    wait(lambda: len(setup.sweep.ended("two")) == 210, 60, lambda: f"all ran; {setup.state()}")

    known = "concurrency:{celery}:early"
    wait(lambda: not [key for key in state() if ":slots:" in key], 20, lambda: f"no slot is left: {state()}")
    after = state()
    assert after.keys() - before.keys() <= {known}, "no key of a message's making"
    grown = sum(after.values()) - sum(before.values())
    assert grown < 200 * 300, f"{grown} bytes of 4,000,000 that the ids had"
    setup.assert_slots_are_free("two", 2)


@for_each_broker
def test_ids_that_mean_something_elsewhere_are_only_names(make_setup: Callable[..., Setup], broker: str) -> None:
    setup = make_setup(broker=broker, workers=1, concurrency=4, imports=["hardening.odd_ids"])
    odd_ids.define(setup.app)
    gate = setup.gate()
    first, *others = odd_ids.IDS
    held = [setup.send(odd_ids.name_of(first), gate=gate) for _ in range(3)]
    setup.wait_running(2, first)

    results = [setup.send(odd_ids.name_of(id), tag=tag) for id in others for tag in range(4)]
    setup.wait_ended(results, timeout=60)

    assert len(setup.running(first)) == 2, "none of them is taken for another"
    gate.open()
    setup.wait_ended(held)
    for id in odd_ids.IDS:
        assert setup.sweep.peak(id) <= 2
    assert setup.sweep.peak(first) == 2
