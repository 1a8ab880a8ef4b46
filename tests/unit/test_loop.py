"""The gate's loop on kombu's hub: what is delayed outlives the loss of the broker, on every Celery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest
from kombu.asynchronous import Hub

from celery_concurrency_id.worker.loop import HubLoop
from harness.waiting import wait


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


def turned_until(hub: Hub, condition: Callable[[], Any]) -> None:
    def turn() -> Any:
        hub.run_once()
        return condition()

    wait(turn)


def lose_the_broker(hub: Hub, loop: HubLoop) -> None:
    """What Celery 5.6 and older does on the way to the next connection."""
    hub.reset()
    hub.timer.clear()
    loop.register()


def test_a_delayed_call_outlives_the_loss_of_the_broker(hub: Hub, loop: HubLoop) -> None:
    ran: list[str] = []
    loop.call_later(0.02, ran.append, "late")

    lose_the_broker(hub, loop)

    turned_until(hub, lambda: ran)
    assert ran == ["late"]


def test_a_delayed_call_runs_once_where_the_timer_outlives_the_loss_as_well(hub: Hub, loop: HubLoop) -> None:
    ran: list[str] = []
    loop.call_later(0.02, ran.append, "first")
    loop.call_later(0.02, ran.append, "second")
    turned_until(hub, lambda: len(ran) == 2)
    loop.call_later(0.02, ran.append, "third")

    loop.register()
    loop.register()

    loop.call_later(0.1, ran.append, "last")
    turned_until(hub, lambda: "last" in ran)
    assert ran == ["first", "second", "third", "last"]


def test_a_delayed_call_that_was_due_meanwhile_runs_after_the_loss(hub: Hub, loop: HubLoop) -> None:
    ran: list[str] = []
    loop.call_later(0.0, ran.append, "due")

    lose_the_broker(hub, loop)

    turned_until(hub, lambda: ran)


def test_delayed_calls_ask_for_more_of_their_kind(hub: Hub, loop: HubLoop) -> None:
    ran: list[int] = []

    def again() -> None:
        ran.append(len(ran))
        loop.call_later(0.01, again)

    loop.call_later(0.01, again)
    turned_until(hub, lambda: len(ran) >= 2)

    lose_the_broker(hub, loop)

    before = len(ran)
    turned_until(hub, lambda: len(ran) >= before + 2)


def test_a_tick_whose_turn_somebody_elses_error_took_comes_after_the_loss(hub: Hub, loop: HubLoop) -> None:
    ran: list[str] = []
    loop.next_tick(ran.append, "tick")
    hub._pop_ready()  # the hub took its list of callbacks, and one of another's raised

    hub.reset()
    loop.register()

    turned_until(hub, lambda: ran)
