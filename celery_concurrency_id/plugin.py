"""What is hooked into an app, and where."""

from __future__ import annotations

import re
from typing import Any

from celery.app import utils
from celery.utils.imports import symbol_by_name
from kombu.utils.objects import cached_property

from .bounded import bounded
from .deadlocks import watch
from .policy import policy_of
from .producer import announcing
from .queues import DedicatedQueues
from .routing import ConcurrencyRouter

__all__ = ("install",)

#: The consumer bootstep; named, not imported: producers need nothing of the worker.
_STEP = "celery_concurrency_id.worker.bootstep:Concurrency"


class ConcurrencyAMQP:
    """Goes before an app's AMQP class: the routing rule, the dedicated queues, the announcement after a publish."""

    app: Any

    def Router(self, *args: Any, **kwargs: Any) -> ConcurrencyRouter:
        return ConcurrencyRouter(super().Router(*args, **kwargs), policy_of(self.app))  # type: ignore[misc]

    @cached_property
    def send_task_message(self) -> Any:
        send = bounded(self._create_task_sender(), self.app)  # type: ignore[attr-defined]
        return announcing(send, policy_of(self.app))

    @property
    def queues_cls(self) -> Any:
        app, policy = self.app, policy_of(self.app)

        def gated() -> frozenset[str]:
            policy.look_up(app.tasks)  # which also binds the tasks that nobody has used yet
            return policy.gated

        def families() -> frozenset[str]:
            policy.look_up(app.tasks)
            return policy.family_names

        return type("Queues", (DedicatedQueues,), {"gated": staticmethod(gated), "families": staticmethod(families)})


def install(app: Any) -> None:
    """Prepare a Celery app for tasks with a concurrency id.

    ``QueuedTask`` does this when a task is bound; call it where tasks are gated by ``concurrency_tasks`` only, in
    workers and producers alike. Once is enough, more does no harm.
    """
    steps = app.steps["consumer"]
    if _STEP in steps:
        return
    steps.add(_STEP)
    _hide_url()
    watch(app)
    if "amqp" in vars(app):
        amqp = app.amqp
        amqp.__class__ = _with_concurrency(type(amqp))
        for made in ("router", "send_task_message", "queues"):
            vars(amqp).pop(made, None)
    else:
        app.amqp_cls = _with_concurrency(symbol_by_name(app.amqp_cls))


def _hide_url() -> None:
    """Have ``celery report`` and ``celery inspect conf`` hide our URL, as they hide the broker's password."""
    hidden: Any = getattr(utils, "HIDDEN_SETTINGS", None)
    if hidden is not None and not hidden.search("concurrency_url"):
        vars(utils)["HIDDEN_SETTINGS"] = re.compile(f"{hidden.pattern}|CONCURRENCY_URL", hidden.flags)


def _with_concurrency(amqp_cls: type) -> type:
    return type(amqp_cls.__name__, (ConcurrencyAMQP, amqp_cls), {"__module__": amqp_cls.__module__})
