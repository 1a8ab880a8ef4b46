"""Celery apps that no test publishes with: nothing here uses the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest
from celery import Celery, _state

from celery_concurrency_id import QueuedTask
from celery_concurrency_id.worker.loop import HubLoop


def nothing() -> None:
    """The body of every task here."""


@pytest.fixture(autouse=True)
def no_shared_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery gives the tasks of every app to every app that is finalized later: not from test to test."""
    monkeypatch.setattr(_state, "_on_app_finalizers", set(_state._on_app_finalizers))


@pytest.fixture
def make_app() -> Iterator[Callable[..., Celery]]:
    """Make an app with these settings, on a broker that nobody listens at."""
    apps = []

    def make(**conf: Any) -> Celery:
        app = Celery("unit", set_as_current=False, broker="redis://127.0.0.1:1/0")
        app.conf.update(conf)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


@pytest.fixture
def app(make_app: Callable[..., Celery]) -> Celery:
    return make_app()


@pytest.fixture
def gate() -> Callable[..., Any]:
    """Bind a gated task with these options; tasks are bound when they are first used."""

    def gate(app: Celery, name: str = "resize", **options: Any) -> Any:
        app.task(base=QueuedTask, name=name, **options)(nothing)
        return app.tasks[name]

    return gate


@pytest.fixture
def ordinary() -> Callable[..., Any]:
    """Bind a task without a limit."""

    def ordinary(app: Celery, name: str) -> Any:
        app.task(name=name)(nothing)
        return app.tasks[name]

    return ordinary


@pytest.fixture
def loop(hub: Any) -> Iterator[HubLoop]:
    """The gate's loop on the hub of the test's file."""
    loop = HubLoop(hub)
    loop.register()
    yield loop
    loop.stop()
    assert not hub.on_tick
