"""The tasks under test. All of them write to the truth; none of them knows that it is gated."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject

from harness import truth

UNSET: Any = object()

#: What the configuration may say of tasks whose code says nothing.
CONFIGURED = {
    "reports.quick": None,
    "reports.*": {},
    "legacy.*": {"concurrency_id": "legacy_two", "concurrency_limit": 2},
}


def work(
    self: Task,
    *received: Any,
    tag: Any = None,
    seconds: float = 0,
    gate: str | None = None,
    fail: str = "",
    log: str | None = None,
) -> Any:
    """Run for a time or until a gate opens, then return the tag, or end as ``fail`` says; ``log``: what the truth calls
    the id."""
    with truth.Run(self, tag, log) as run:
        run.hold(seconds, gate)
        if fail == "raise":
            raise ValueError(f"{self.name} was told to fail")
        if fail == "reject":
            raise Reject("told to", requeue=False)
        if fail in ("exit", "kill"):
            run.alive()
            os._exit(1) if fail == "exit" else os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # until the signal has ended this process
    return tag


def retrying(self: Task, tag: Any = None, times: int = 1, countdown: float = 0, gate: str | None = None) -> Any:
    """Fail so many times before succeeding, through ``retry``."""
    with truth.Run(self, tag) as run:
        run.hold(gate=gate)
        if self.request.retries < times:
            raise self.retry(countdown=countdown, max_retries=times)
    return self.request.retries


def autoretrying(self: Task, tag: Any = None, times: int = 1) -> Any:
    """Fail so many times before succeeding, through ``autoretry_for``."""
    with truth.Run(self, tag):
        if self.request.retries < times:
            raise ValueError("again")
    return self.request.retries


def for_tenant(self: Task, tenant: str = "nobody", log: str | None = None, **options: Any) -> Any:
    """Work for a tenant, whose limit it is."""
    return work(self, log=log or f"tenant-{tenant}", **options)


def for_user(self: Task, user: str, **options: Any) -> Any:
    """Work for a user, who may have so much done at once."""
    return work(self, log=f"{self.name}/{user}", **options)


def retrying_for_tenant(self: Task, tenant: str, tag: Any = None, log: str | None = None) -> Any:
    """Fail once, then go on for another tenant: the id is that of the first."""
    with truth.Run(self, tag, log or f"tenant-{tenant}"):
        if not self.request.retries:
            raise self.retry(kwargs={"tenant": "other", "tag": tag, "log": f"tenant-{tenant}"}, countdown=0)
    return self.request.concurrency_id


def collect(self: Task, received: Any, tag: Any = None) -> Any:
    """Return what the tasks before this one returned."""
    with truth.Run(self, tag):
        return received


def yielding(
    self: Task,
    tag: Any = None,
    away: str | None = None,
    last: str | None = None,
    log: str | None = None,
    fail: str = "",
) -> list[int]:
    """Work for a moment, give the slot back until a gate opens, and work on until another one does.

    The truth calls what it does without its slot ``ID-away``. Returns its fencing tokens.
    """
    from celery_concurrency_id import yield_slot

    id, tokens = log or self.log_id, [self.request.concurrency_token]
    with truth.Run(self, tag, id):
        pass
    with yield_slot() as given:
        assert given
        with truth.Run(self, tag, f"{id}-away") as run:
            with self.yield_slot() as again:  # inside another one, it is nothing
                assert not again
                run.hold(gate=away)
            if fail:
                raise ValueError(f"{self.name} was told to fail")
    tokens.append(self.request.concurrency_token)
    with truth.Run(self, tag, id) as run:
        run.hold(gate=last)
    return tokens


def parent(self: Task, child: str, how: str = "get", count: int = 1, **options: Any) -> Any:
    """Wait for children, as Celery would rather not."""
    from celery import group
    from celery.result import allow_join_result

    task = self.app.tasks[child]
    timeout = 3 if how == "timeout" else None
    with truth.Run(self, "parent"):
        if how == "join":
            with allow_join_result():
                return group(task.s(tag=tag, **options) for tag in range(count)).apply_async().join()
        result = task.apply_async(kwargs={"tag": "child", **options})
        return result.get(timeout=timeout, disable_sync_subtasks=False)


def yielding_parent(self: Task, child: str, tag: Any = None) -> Any:
    """Wait for a child, with the slot given back meanwhile."""
    with truth.Run(self, tag):
        result = self.app.tasks[child].delay(tag=f"{tag}'s child")
    with self.yield_slot():
        received = result.get(disable_sync_subtasks=False)
    with truth.Run(self, tag):
        return received


def account_of(*received: Any, tag: Any = None, **options: Any) -> str:
    """Return the concurrency id of a call of ``account``."""
    return f"account-{tag}"


def limit_of_account(id: str) -> int | None:
    """Return how many calls of ``account`` with this id may run at once."""
    return None if id.endswith("boundless") else 2 if id.endswith("premium") else 1


def define(app: Celery, base: type[Task] | None, many: int = 0) -> None:
    """Define the tasks; without a base they are ordinary tasks of the same names."""

    # Not shared: Celery would give the tasks of each app to all others in the process, ungated ones for gated ones.
    add = partial(app.task, bind=True, shared=False)

    def gated(function: Any, name: str, id: Any = UNSET, limit: Any = UNSET, **options: Any) -> None:
        if base is not None:
            options["base"] = base
            if id is not UNSET:
                options["concurrency_id"] = id
            if limit is not UNSET:
                options["concurrency_limit"] = limit
        # What the truth calls the id: set here, not read from the code under test.
        options.setdefault("log_id", name if id is UNSET else id)
        add(function, name=name, **options)

    gated(work, "one", "one", 1)
    gated(work, "other", "other", 1)
    gated(work, "two", "two", 2)
    gated(work, "eight", "eight", 8)
    gated(work, "free", "free", None)
    gated(work, "late", "late", 1, acks_late=True)
    gated(work, "ranked", "ranked", 1)
    gated(work, "nameless")
    # The documented example: one of three names the limit, and two run at once.
    gated(work, "gpu_render", "gpu_queue", 2)
    gated(work, "gpu_train", "gpu_queue")
    gated(work, "gpu_sample", "gpu_queue")
    gated(work, "alone", "alone")
    # Nobody who shares this id names a limit.
    gated(work, "shy", "shy_pair")
    gated(work, "coy", "shy_pair")
    # Two limits for one id, and one that is None.
    gated(work, "wide", "uneven", 3)
    gated(work, "narrow", "uneven", 2)
    gated(work, "boundless", "uneven", None)
    gated(retrying, "retrying", "retrying", 1)
    gated(autoretrying, "autoretrying", "autoretrying", 1, autoretry_for=(ValueError,), default_retry_delay=0)
    gated(collect, "body", "body", 1)
    gated(yielding, "yields", "one", 1)
    gated(yielding, "yields_two", "two", 2)
    gated(parent, "parent", "one", 1)
    gated(parent, "parent_two", "two", 2)
    gated(yielding_parent, "yielding_parent", "one", 1)
    for number in range(many):
        gated(work, f"many.{number:03}", f"many.{number:03}", 1)

    # Only the configuration gates these, where it does (``CONFIGURED``).
    add(work, name="legacy.render", log_id="legacy_two")
    add(retrying, name="legacy.retrying", log_id="legacy_two")
    add(work, name="reports.daily", log_id="reports.daily")
    add(work, name="reports.quick", log_id=None)

    # Ids made from arguments: a template and a callable; two tasks share the template.
    gated(for_tenant, "tenant", "tenant-{tenant}", log_id=None)
    gated(for_tenant, "late_tenant", "tenant-{tenant}", log_id=None, acks_late=True)
    gated(retrying_for_tenant, "retrying_tenant", "tenant-{tenant}", log_id=None)
    gated(work, "account", account_of, limit_of_account, log_id=None)

    # Several slots at once: of one limit, and of two, which two tasks name the other way round.
    def several(function: Any, name: str, log: str | None, **options: Any) -> None:
        add(function, name=name, log_id=log, **({"base": base, **options} if base is not None else {}))

    gated(work, "narrow4", "wide4", 4)
    several(work, "wide4", "wide4:4", concurrency_id="wide4", concurrency_slots=4)
    several(yielding, "yields_wide", "wide4:4", concurrency_id="wide4", concurrency_slots=4)
    gated(work, "left", "left", 2)
    gated(work, "right", "right", 3)
    several(work, "left_right", "left+right:2", concurrency={"left": 1, "right": 2})
    several(work, "right_left", "left:2+right", concurrency={"right": 1, "left": 2})
    # A total, and a limit for each user.
    several(
        for_user,
        "api",
        None,
        concurrency_id="api",
        concurrency_limit=5,
        concurrency_key="{user}",
        concurrency_key_limit=2,
    )
    # No user's own limit is ever reached.
    several(
        for_user,
        "crowd",
        None,
        concurrency_id="crowd",
        concurrency_limit=2,
        concurrency_key="{user}",
        concurrency_key_limit=3,
    )

    add(work, name="ordinary", log_id=None)
    add(collect, name="gather", log_id=None)
