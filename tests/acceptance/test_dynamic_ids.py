"""Ids made from arguments: the limit follows the data, and ids come and go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from typing import Any, Callable

import pytest
from amqp.exceptions import NotFound
from kombu.exceptions import ChannelError

from celery_concurrency_id import InvalidOption
from harness import truth
from harness.fixtures import for_each_broker, on_both_brokers
from harness.servers import Servers
from harness.setup import Setup
from harness.waiting import stays, wait
from harness.worker import TESTS


def a_tenant() -> str:
    """A tenant that no worker has heard of."""
    return uuid.uuid4().hex[:8]


def judge(setup: Setup, results: list[Any], *ids: str, limit: int = 1) -> None:
    setup.wait_ended(results, timeout=60)
    assert {id: setup.sweep.peak(id) for id in ids} == dict.fromkeys(ids, limit)
    assert not setup.sweep.twice()


@on_both_brokers
def test_each_tenant_has_a_limit_of_its_own_and_running_workers_find_new_tenants(celery_setup: Setup) -> None:
    gate, tenants = celery_setup.gate(), [a_tenant() for _ in range(3)]

    results = [celery_setup.send("tenant", tenant=each, tag=tag, gate=gate) for tag in range(4) for each in tenants]
    for each in tenants:
        celery_setup.wait_running(1, f"tenant-{each}")
        wait(lambda each=each: celery_setup.waiting(f"tenant-{each}") == 3, what="the others wait in its queue")

    gate.open()
    judge(celery_setup, results, *(f"tenant-{each}" for each in tenants))
    for each in tenants:
        assert celery_setup.sweep.tags(f"tenant-{each}") == [0, 1, 2, 3]


@on_both_brokers
def test_a_call_may_name_its_id_and_a_callable_makes_id_and_limit(celery_setup: Setup) -> None:
    gate, named, premium = celery_setup.gate(), a_tenant(), f"{a_tenant()}premium"
    tasks, keywords = celery_setup.app.tasks, {"gate": str(gate), "log": named}

    results = [
        tasks["one"].apply_async(kwargs=keywords, concurrency_id=named),
        tasks["one"].s(**keywords).set(concurrency_id=named).apply_async(),
        tasks["tenant"].apply_async(kwargs={"tenant": "else", **keywords}, concurrency_id=named),
        celery_setup.app.send_task("one", kwargs=keywords, concurrency_id=named),
        # The task's own id is another limit.
        celery_setup.send("one", gate=gate, tag="own"),
        *(celery_setup.send("account", tag=premium, log=f"account-{premium}", gate=gate) for _ in range(3)),
    ]
    celery_setup.wait_running(1, named)
    celery_setup.wait_running(1, "one")
    celery_setup.wait_running(2, f"account-{premium}")
    wait(lambda: celery_setup.waiting(named) == 3, what="three of the four wait in the queue that they named")

    gate.open()
    judge(celery_setup, results, named, "one")
    assert celery_setup.sweep.peak(f"account-{premium}") == 2


@on_both_brokers
def test_a_retry_keeps_the_id_even_where_its_arguments_name_another(celery_setup: Setup) -> None:
    tenant = a_tenant()

    result = celery_setup.send("retrying_tenant", tenant=tenant)

    assert result.get(timeout=30) == f"tenant-{tenant}"
    assert len(celery_setup.sweep.runs(f"tenant-{tenant}")) == 2


@on_both_brokers
def test_a_producer_that_does_not_know_the_tasks_leaves_the_id_to_the_workers(celery_setup: Setup) -> None:
    gate, tenant, plain = celery_setup.gate(), a_tenant(), celery_setup.plain_producer()

    results = [plain.send_task("tenant", kwargs={"tenant": tenant, "gate": str(gate)}) for _ in range(4)]
    celery_setup.wait_running(1, f"tenant-{tenant}")
    wait(lambda: celery_setup.waiting(f"tenant-{tenant}") == 3, what="the others were moved to its queue")

    gate.open()
    judge(celery_setup, results, f"tenant-{tenant}")
    plain.close()


@on_both_brokers
def test_a_task_whose_arguments_make_no_id_fails_and_says_why(celery_setup: Setup) -> None:
    plain = celery_setup.plain_producer()

    result = plain.send_task("tenant", kwargs={"tenant": "two words"})

    with pytest.raises(InvalidOption, match="spaces"):
        celery_setup.app.AsyncResult(result.id).get(timeout=30)
    with pytest.raises(InvalidOption, match="spaces"):
        celery_setup.send("tenant", tenant="two words")
    assert not celery_setup.sweep.runs(name="tenant")
    plain.close()


@on_both_brokers
def test_a_tenant_with_many_waiting_tasks_does_not_delay_one_with_one(celery_setup: Setup) -> None:
    busy, quiet = f"{a_tenant()}boundless", a_tenant()
    gate = celery_setup.gate()
    # All places of both workers are taken while the backlog is published, which then takes all places itself.
    blockers = [celery_setup.send("free", gate=gate) for _ in range(10)]
    celery_setup.wait_running(10, "free")
    busy_call = {"tag": busy, "log": busy, "seconds": 0.02}
    many = [celery_setup.send("account", **busy_call) for _ in range(1000)]
    gate.open()
    wait(lambda: len(celery_setup.sweep.runs(busy)) > 20, what="the backlog is under way")

    published = time.monotonic_ns()
    one = celery_setup.send("account", tag=quiet, log=quiet)
    celery_setup.wait_ended([one])

    (run,) = celery_setup.sweep.runs(quiet)
    between = [each for each in celery_setup.sweep.runs(busy) if published < each.start < run.start]
    assert len(between) < 300, "it did not wait for the backlog"
    celery_setup.wait_ended([*blockers, *many], timeout=60)


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_very_short_tasks_of_very_many_tenants_keep_every_limit_and_their_order(
    make_setup: Callable[..., Setup], pool: str
) -> None:
    """Where workers ask for slots before they have places."""
    setup = make_setup(workers=2, pool=pool)
    tenants = [a_tenant() for _ in range(200)]
    results = [setup.send("tenant", tenant=each, tag=tag) for tag in range(4) for each in tenants]
    judge(setup, results, *(f"tenant-{each}" for each in tenants))
    assert {tuple(setup.sweep.tags(f"tenant-{each}")) for each in tenants} == {(0, 1, 2, 3)}


def test_globs_in_the_settings_stand_over_the_tasks_limit(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(concurrency_limits={"tenant-big*": 3, "tenant-{tenant}": 2})
    gate = setup.gate()

    results = [setup.send("tenant", tenant=tenant, gate=gate) for tenant in ("big-one", "small") for _ in range(5)]
    setup.wait_running(5)
    gate.open()

    judge(setup, results, "tenant-big-one", limit=3)
    assert setup.sweep.peak("tenant-small") == 2


def exists(setup: Setup, queue: str) -> bool:
    """Whether the broker has a queue of that name."""
    with setup.app.connection_for_write() as connection, connection.channel() as channel:
        try:
            channel.queue_declare(queue, passive=True)
        except (ChannelError, NotFound):
            return False
        return True


@pytest.mark.slow
@for_each_broker
def test_ids_that_fall_silent_leave_nothing_behind_and_may_come_back(
    make_setup: Callable[..., Setup], broker: str
) -> None:
    setup = make_setup(
        broker=broker,
        concurrency_id_ttl=4,
        broker_transport_options={"visibility_timeout": 2} if broker == "redis" else {},
    )
    redis = setup.backend.container.client
    stays_id, tenants = f"tenant-{a_tenant()}", [a_tenant() for _ in range(3)]
    gate, first = setup.gate(), setup.gate()
    running = setup.send("tenant", tenant=stays_id[7:], gate=gate)
    waits = setup.send("tenant", tenant=stays_id[7:], tag="waits")
    once = [setup.send("tenant", tenant=each, gate=first) for each in tenants]
    setup.wait_running(4)
    ids = [f"tenant-{each}" for each in tenants]
    places = [setup.broker.container.client, redis] if broker == "redis" else [redis]

    def left(id: str) -> list[str]:
        keys = [key for place in places for key in place.scan_iter(f"*{id}*")]
        shared = [
            key
            for place in places
            for key in place.scan_iter("*")
            if (place.type(key) == "zset" and place.zscore(key, id) is not None)
            or (place.type(key) == "set" and any(id in member for member in place.smembers(key)))
        ]
        return keys + shared + ([id] if exists(setup, id) else [])

    assert all(left(id) for id in ids), "this looks where something is"
    first.open()
    setup.wait_ended(once)
    wait(lambda: not any(left(id) for id in ids), 60, lambda: f"left: {[left(id) for id in ids]}; {setup.state()}")
    assert left(stays_id), "an id with a waiting task is no silent one"

    gate.open()
    again = [setup.send("tenant", tenant=each, tag="again") for each in tenants]
    judge(setup, [running, waits, *again], stays_id, *ids)


@pytest.mark.faults
@pytest.mark.slow
def test_waiting_tasks_of_dynamic_ids_are_found_again_after_redis_lost_its_data(
    make_setup: Callable[..., Setup],
) -> None:
    setup = make_setup(broker="rabbitmq", workers=2)
    gate, tenants = setup.gate(), [a_tenant() for _ in range(3)]
    running = [setup.send("tenant", tenant=each, gate=gate) for each in tenants]
    setup.wait_running(3)
    waiting = [setup.send("tenant", tenant=each, tag=tag) for tag in range(3) for each in tenants]

    setup.backend.container.restart()

    stays(lambda: len(setup.sweep.runs()) == 3, 3, "those that ran still hold their slots")
    gate.open()
    judge(setup, running + waiting, *(f"tenant-{each}" for each in tenants))


@pytest.mark.faults
@pytest.mark.slow
def test_workers_that_die_leave_their_tenants_to_those_that_live_or_come_later(
    make_setup: Callable[..., Setup],
) -> None:
    setup = make_setup(broker="rabbitmq", workers=1)
    gate, tenants = setup.gate(), [a_tenant() for _ in range(3)]
    running = [setup.send("late_tenant", tenant=each, gate=gate) for each in tenants]
    setup.wait_running(3)
    waiting = [setup.send("tenant", tenant=each, tag=tag) for tag in range(3) for each in tenants]

    setup.worker.container.kill()
    setup.start_workers(1)

    setup.wait_running(4)  # one of the runs of the dead worker at least began anew
    gate.open()
    setup.wait_ended([*running, *waiting], timeout=60)
    for each in tenants:
        assert setup.sweep.peak(f"tenant-{each}", killed={result.id for result in running}) == 1
        assert len(setup.sweep.ended(f"tenant-{each}")) == 4


@pytest.mark.faults
@pytest.mark.slow
def test_slots_beyond_the_places_of_a_worker_that_dies_go_to_others(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup(broker="rabbitmq", workers=2)
    tenants = [a_tenant() for _ in range(200)]
    results = [setup.send("late_tenant", tenant=each, tag=tag) for tag in range(3) for each in tenants]
    wait(lambda: len(setup.sweep.runs()) > 150, what=lambda: setup.state())

    setup.worker.container.kill()

    setup.wait_ended(results, timeout=60)
    killed = {run.task for run in setup.sweep.runs() if run.end is None}
    assert {setup.sweep.peak(f"tenant-{each}", killed=killed) for each in tenants} == {1}
    assert len(setup.sweep.ended()) >= len(results)


_PRODUCER = """
import json, os, sys
from harness.app import make_app
from celery_concurrency_id.semaphore.announcer import Announcer

app = make_app(json.loads(os.environ["CONCURRENCY_TEST_CONF"]))
if "dies" in sys.argv:
    Announcer.announce = lambda *args, **kwargs: os._exit(9)
for tenant in sys.argv[1].split(","):
    print(app.tasks["tenant"].delay(tenant=tenant).id, flush=True)
if "waits" in sys.argv:
    sys.stdin.readline()
"""


def start_producer(setup: Setup, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "CONCURRENCY_TEST_CONF": json.dumps(setup.conf), truth.LOG: str(setup.truth_file)}
    return subprocess.Popen(
        [sys.executable, "-c", _PRODUCER, *words],
        cwd=TESTS,
        env={**environment, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.faults
@for_each_broker
def test_a_task_runs_whose_producer_died_before_it_announced_the_first_of_an_id(
    make_setup: Callable[..., Setup], broker: str
) -> None:
    setup = make_setup(broker=broker)
    tenant = a_tenant()

    producer = start_producer(setup, tenant, "dies")
    assert producer.wait(30) == 9

    wait(lambda: setup.sweep.ended(f"tenant-{tenant}"), 30, lambda: f"it runs; {setup.state()}")


@pytest.mark.faults
@pytest.mark.slow
def test_what_a_producer_could_not_say_while_redis_was_away_it_says_when_it_ends(
    make_setup: Callable[..., Setup], servers: Servers
) -> None:
    semaphore = servers.redis()
    try:
        setup = make_setup(broker="rabbitmq", concurrency_url=semaphore.celeryconfig["host_url"])
        tenants = [a_tenant() for _ in range(3)]
        semaphore.stop()
        producer = start_producer(setup, ",".join(tenants), "waits")
        for _ in tenants:
            assert producer.stdout is not None and producer.stdout.readline(), "publishing goes on"
        semaphore.start()
        semaphore.ready()

        stays(lambda: not setup.sweep.runs(), 3, "nobody knows of these ids")
        producer.communicate("\n", timeout=30)

        for each in tenants:
            wait(lambda each=each: setup.sweep.ended(f"tenant-{each}"), 30, lambda: f"each runs; {setup.state()}")
    finally:
        semaphore.teardown()


def test_a_worker_may_serve_some_families_only(make_setup: Callable[..., Setup]) -> None:
    setup = make_setup("-Q", "celery,account")
    tenant, account = a_tenant(), a_tenant()

    refused = setup.send("tenant", tenant=tenant)
    setup.wait_ended([setup.send("account", tag=account, log=f"account-{account}")])
    stays(lambda: not setup.sweep.runs(f"tenant-{tenant}"), 2, "no worker serves the tenants")
    setup.start_workers(1, "-Q", "tenant-{tenant}")

    judge(setup, [refused], f"tenant-{tenant}")
