"""The application under test, made from a plain dict so that workers can get it through their environment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from celery import Celery
from kombu import Queue

from harness import tasks


def make_app(conf: dict[str, Any], extension: bool = True, code: bool = True) -> Celery:
    """Make the application.

    Args:
        conf: Celery's settings. ``task_queues`` may be ``{name: queue_arguments}``; with ``django``, they are written
            as in a Django project. ``many`` is no setting: so many gated tasks stand beside the usual ones,
            ``many.000`` and so on, each with an id of its own.
        extension: Whether gated tasks are gated; a producer without the extension knows nothing of it.
        code: Whether it has the tasks, or knows only their names.
    """
    conf = dict(conf)
    many = conf.pop("many", 0)
    if "task_queues" in conf:
        # The first as a list of one queue, as users write it: the ordinary queue beside it stays.
        declared = conf["task_queues"].items()
        conf["task_queues"] = [Queue(name, queue_arguments=arguments or None) for name, arguments in declared]
    app = Celery("harness", set_as_current=False)
    if conf.pop("django", False):
        settings = SimpleNamespace(**{f"CELERY_{name.upper()}": value for name, value in conf.items()})
        app.config_from_object(settings, namespace="CELERY")
    else:
        app.conf.update(conf)
    base = None
    if extension:
        from celery_concurrency_id import QueuedTask as base
        from celery_concurrency_id import install

        install(app)
    if code:
        tasks.define(app, base, many)
    app.finalize()
    return app
