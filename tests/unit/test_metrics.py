"""Figures without servers: what is runnable, bounded labels, times that headers claim, ports, the extra."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from celery_concurrency_id import InvalidSetting
from celery_concurrency_id.control import IdStatus, Pause
from celery_concurrency_id.metrics.names import OTHERS, Names, split
from celery_concurrency_id.metrics.server import MetricsServer
from celery_concurrency_id.published import stamped, waited
from celery_concurrency_id.settings import Settings
from celery_concurrency_id.worker.counted import figures_of


def status(id: str = "id", limit: int | None = 2, running: int = 0, waiting: int = 0, paused: bool = False) -> IdStatus:
    pause = Pause("me", "", 0.0) if paused else None
    return IdStatus(id, limit, "task", limit, None, pause, running, waiting, None, 1, 0)


@pytest.mark.parametrize(
    ("limit", "running", "waiting", "paused", "runnable"),
    [
        (2, 0, 0, False, 0),
        (2, 0, 1, False, 1),
        (2, 0, 9, False, 2),
        (2, 1, 9, False, 1),
        (2, 2, 9, False, 0),
        (2, 5, 9, False, 0),  # the limit was lowered
        (None, 5, 9, False, 9),
        (2, 0, 9, True, 0),
        (None, 0, 9, True, 0),
    ],
)
def test_runnable_is_what_waits_as_far_as_there_are_free_slots_and_the_rest_is_blocked(
    limit: int | None, running: int, waiting: int, paused: bool, runnable: int
) -> None:
    found = status("id", limit, running, waiting, paused)

    assert (found.runnable, found.blocked) == (runnable, waiting - runnable)


def test_ids_with_series_of_their_own_are_those_where_most_goes_on_and_those_that_were_named() -> None:
    statuses = [
        status("idle"),
        status("code"),
        status("busy", running=2),
        status("long", running=1, waiting=9),
        status("named"),
    ]

    own, others = split(statuses, 4, frozenset({"named"}), frozenset({"code"}))
    assert [each.id for each in own] == ["named", "long", "busy", "code"]
    assert [each.id for each in others] == ["idle"]

    own, others = split(statuses, 0, frozenset({"named"}), frozenset())
    assert [each.id for each in own] == ["named"]
    assert len(others) == 4


def test_labels_of_a_process_are_bounded() -> None:
    names = Names(2)

    assert [names.of(id) for id in ("a", "b", "c", "a", "d")] == ["a", "b", OTHERS, "a", OTHERS]


def test_how_long_a_task_waited_is_told_by_its_header() -> None:
    headers = stamped({"headers": {"concurrency_published": 1.0, "mine": 7}, "queue": "q"})["headers"]
    assert headers["mine"] == 7
    assert abs(headers["concurrency_published"] - time.time()) < 60, "over that of the run before"

    headers["concurrency_published"] -= 100.0
    assert 100 <= (waited(headers) or 0) < 160
    assert waited(headers, overdue=3.0) == 3.0, "it did not wait before it was due"
    assert waited(headers, overdue=-3.0) == 0.0


def test_a_clock_that_is_ahead_makes_no_negative_time() -> None:
    assert waited({"concurrency_published": time.time() + 50}) == 0.0


@pytest.mark.parametrize("claimed", [None, "now", True, [], {}, -1, 0, math.nan, math.inf, 10**400])
def test_what_is_no_time_is_nothing(claimed: Any) -> None:
    assert waited({"concurrency_published": claimed}) is None
    assert waited(claimed) is None


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else has."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_server_takes_the_next_port_that_is_free(taken: int) -> None:
    with pytest.raises(OSError):
        MetricsServer(CollectorRegistry(), "127.0.0.1", taken)
    server = MetricsServer(CollectorRegistry(), "127.0.0.1", taken, ports=200)
    try:
        assert taken < server.port < taken + 200
    finally:
        server.close()
    with pytest.raises(OSError):
        MetricsServer(CollectorRegistry(), "192.0.2.1", 0)  # no address of this machine


def test_without_the_extra_a_worker_that_shall_serve_metrics_says_what_to_install(monkeypatch: Any) -> None:
    for name in [name for name in sys.modules if name.startswith("celery_concurrency_id.metrics")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "celery_concurrency_id.worker.figures", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    assert figures_of(Settings("redis://host"), "w@host") is None
    with pytest.raises(InvalidSetting, match=r"concurrency_metrics_port=9810 .*celery-concurrency-id\[metrics\]"):
        figures_of(Settings("redis://host", metrics_port=9810), "w@host")


def test_a_worker_that_nobody_asked_imports_neither_prometheus_nor_opentelemetry() -> None:
    look = "import sys, celery_concurrency_id.worker.bootstep, celery_concurrency_id.cli; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.split()

    assert "celery_concurrency_id.worker.tracing" in modules
    assert not [name for name in modules if name.startswith(("prometheus_client", "opentelemetry.instrumentation"))]
