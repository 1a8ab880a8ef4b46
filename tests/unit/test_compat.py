"""What the worker uses of Celery, kombu and billiard beyond their documented interfaces is still there.

When a new release comes, this says what it lost.
"""

from __future__ import annotations

import ast
import dis
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import celery_concurrency_id

#: Where it is, and what is used of it.
USED = {
    "billiard.pool:ApplyResult": ["_accepted", "_write_to", "_job", "ready"],
    "billiard.process:BaseProcess": ["_is_alive"],
    "billiard.pool:Pool": ["_cache"],
    "celery.concurrency.asynpool:AsynPool": ["_busy_workers"],
    "celery.concurrency.base:BasePool": ["_pool", "num_processes", "is_green", "uses_semaphore", "terminate_job"],
    "celery.concurrency.base": ["apply_target"],
    "celery.concurrency.prefork:TaskPool": ["uses_semaphore"],
    "celery.concurrency.thread:TaskPool": ["executor"],
    "celery.concurrency.gevent:TaskPool": ["_pool"],
    "concurrent.futures:ThreadPoolExecutor": ["_work_queue", "_shutdown"],
    "celery.app.amqp:AMQP": ["_create_task_sender", "queues_cls", "Router", "send_task_message"],
    "celery.app.amqp:Queues": ["select", "deselect", "consume_from", "new_missing", "max_priority"],
    "celery.app.routes:Router": ["route", "routes"],
    "celery.worker.consumer.consumer:Consumer": [
        *("on_task_request", "create_task_handler", "controller", "conninfo", "call_soon"),
        *("hostname", "hub", "pool", "timer", "app", "blueprint", "connection_errors"),
    ],
    "celery.worker.consumer.tasks:Tasks": ["task_consumer"],
    "celery.worker.consumer.connection:Connection": ["connection"],
    "celery.worker.request:Request": [
        *("_apply_result", "_request_dict", "_already_cancelled", "acknowledged", "request_dict"),
        *("execute_using_pool", "on_success", "on_accepted", "on_failure", "on_timeout", "eta", "message"),
    ],
    "celery.worker.request": ["create_request_cls"],
    "celery.worker.state": ["task_ready"],
    "celery.worker.strategy": ["default"],
    "celery.worker.control": ["inspect_command"],
    "celery.worker.components:Hub": [],
    "celery.worker.worker:WorkController": ["pool"],
    "kombu.asynchronous.hub:Hub": ["add_reader", "call_soon", "call_later"],
    "kombu.asynchronous.semaphore:LaxBoundedSemaphore": ["acquire", "release", "value"],
    "kombu.message:Message": ["_state", "accept", "ack_log_error", "reject_log_error", "requeue"],
    "kombu.transport.redis:Channel": [
        *("_q_for_pri", "conn_or_acquire", "_create_client", "priority_steps", "visibility_timeout", "basic_get"),
        *("unacked_key", "unacked_index_key", "global_keyprefix", "Message", "qos"),
    ],
    "kombu.transport.redis:QoS": ["restore_by_tag", "_delivered"],
    "amqp.channel:Channel": ["_on_get_ok", "_callbacks", "send_method", "wait", "channel_id"],
    "amqp.connection:Connection": ["transport", "drain_events"],
    "amqp.transport:TCPTransport": ["write"],
    "amqp.serialization": ["dumps"],
    "amqp.spec:Basic": ["Get", "GetOk", "GetEmpty"],
    "gevent.pool:Pool": ["_semaphore"],
    "gevent.lock:Semaphore": ["linkcount"],
}
#: Only in some releases, or in what is not installed here; the code asks whether they are there.
OPTIONAL = {
    "_eta_timer_entry": "celery.worker.request:Request from 5.7 on",
    "_waiters": "eventlet's semaphore",
    "_expires": "kombu.transport.redis:Channel from 5.7 on",
    "_check": "our own Settings",
}


def has(owner: Any, name: str) -> bool:
    """Say whether an object has an attribute, or a class one that its methods set."""
    if hasattr(owner, name):
        return True
    for each in inspect.getmro(owner) if inspect.isclass(owner) else ():
        for method in vars(each).values():
            code = getattr(inspect.unwrap(method) if callable(method) else method, "__code__", None)
            if code is not None and any(
                step.opname == "STORE_ATTR" and step.argval == name for step in dis.get_instructions(code)
            ):
                return True
    return name in getattr(owner, "__slots__", ())


@pytest.mark.parametrize("place", USED)
def test_what_the_worker_uses_is_there(place: str) -> None:
    module, _, attribute = place.partition(":")
    if module.startswith("gevent"):
        pytest.importorskip("gevent")
    if module == "celery.concurrency.gevent":
        pytest.importorskip("gevent")
    owner = importlib.import_module(module)
    if attribute:
        assert hasattr(owner, attribute), f"{module} has no {attribute} any more"
        owner = getattr(owner, attribute)
    missing = [name for name in USED[place] if not has(owner, name)]
    assert not missing, f"{place} of the installed release has no {', '.join(missing)} any more"


def test_a_missing_name_would_be_noticed() -> None:
    class Example:
        def __init__(self) -> None:
            self._there = 1

    assert has(Example, "_there")
    assert not has(Example, "_gone")


def private_names() -> Iterator[tuple[str, str]]:
    """Find every private name that the package uses of somebody else: ``x._name``, and those asked for by a string."""
    package = Path(celery_concurrency_id.__file__).parent
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = None
            if isinstance(node, ast.Attribute):
                own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                name = None if own else node.attr
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
                name = getattr(node.args[1], "value", None)
            if isinstance(name, str) and name.startswith("_") and not name.startswith("__"):
                yield name, f"{file.relative_to(package)}:{node.lineno}"


def test_every_private_name_that_the_package_uses_is_listed_here() -> None:
    listed = {name for names in USED.values() for name in names} | set(OPTIONAL)
    unlisted = {name: where for name, where in private_names() if name not in listed}
    assert not unlisted, "list them above, with the class they are of"


def test_nothing_is_listed_that_is_not_used() -> None:
    used = {name for name, _ in private_names()} | {"_request_dict", "_create_task_sender"}
    stale = {name for names in (*USED.values(), OPTIONAL) for name in names if name.startswith("_")} - used
    assert not stale
