"""install(): once is enough, late is early enough, more does no harm."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from celery import Celery
from celery.app.amqp import AMQP

from celery_concurrency_id import QueuedTask, install
from celery_concurrency_id.plugin import ConcurrencyAMQP


def routed_to(app: Any) -> str:
    return str(app.amqp.router.route({}, "resize", (), {})["queue"].name)


def test_a_decorator_is_all_it_takes(app: Any, gate: Any) -> None:
    gate(app, concurrency_id="gpu")
    assert isinstance(app.amqp, ConcurrencyAMQP)
    assert len(app.steps["consumer"]) == 1


def test_it_is_idempotent(app: Any, gate: Any) -> None:
    install(app)
    amqp = app.amqp
    install(app)
    gate(app, concurrency_id="gpu")
    assert app.amqp is amqp
    assert type(amqp).__mro__.count(ConcurrencyAMQP) == 1
    assert len(app.steps["consumer"]) == 1
    assert routed_to(app) == "gpu"


def test_it_is_never_too_late(app: Any, gate: Any, ordinary: Any) -> None:
    amqp = app.amqp
    ordinary(app, "resize")
    before = (amqp.router, amqp.queues, amqp.send_task_message)
    assert routed_to(app) == "celery"
    del app.tasks["resize"]
    gate(app, concurrency_id="gpu")
    assert app.amqp is amqp, "whoever holds on to it must not miss anything"
    assert routed_to(app) == "gpu"
    assert all(old is not new for old, new in zip(before, (amqp.router, amqp.queues, amqp.send_task_message)))


def test_an_amqp_class_of_the_users_own_stays(make_app: Any, gate: Any) -> None:
    class Own(AMQP):
        greeting = "hello"

    class OwnApp(Celery):
        amqp_cls = Own

    app = OwnApp("own", set_as_current=False)
    gate(app, concurrency_id="gpu")
    assert isinstance(app.amqp, Own)
    assert app.amqp.greeting == "hello"
    assert routed_to(app) == "gpu"
    app.close()


def test_another_app_is_not_touched(make_app: Any, gate: Any) -> None:
    gated, plain = make_app(), make_app()
    gate(gated, concurrency_id="gpu")
    assert type(plain.amqp) is AMQP
    assert not plain.steps["consumer"]


def test_importing_it_imports_nothing_of_the_worker_and_warns_of_nothing() -> None:
    code = (
        "import sys, celery_concurrency_id;"
        "bad = [name for name in sys.modules if name.startswith(('celery.worker', 'celery_concurrency_id.worker'))];"
        "assert not bad, bad"
    )
    # Celery and its dependencies are imported first: their warnings are theirs.
    code = f"import warnings, celery, celery.app.amqp, kombu, redis.sentinel; warnings.simplefilter('error'); {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("eager", [True, False])
def test_eager_tasks_and_apply_run_at_once_without_redis(make_app: Any, eager: bool) -> None:
    app = make_app(task_always_eager=eager, task_eager_propagates=True)

    @app.task(base=QueuedTask, concurrency_id="gpu", bind=True)
    def double(self: Any, number: int) -> int:
        return 2 * number

    result = double.delay(4) if eager else double.apply((4,))
    assert result.get() == 8
    assert double(4) == 8


def test_eager_tasks_need_no_url_at_all(make_app: Any, gate: Any) -> None:
    app = make_app(broker_url="memory://", task_always_eager=True)
    assert gate(app, concurrency_id="gpu").delay().get() is None
