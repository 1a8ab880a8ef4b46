"""What all tests share: the harness's fixtures, for tests that ask for them, and an orderly end on SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from harness.browser import browser, chromium  # noqa: F401 - as below
from harness.fixtures import (  # noqa: F401 - pytest finds fixtures by their names here
    FAILED,
    celery_backend,
    celery_backend_cluster,
    celery_broker,
    celery_broker_cluster,
    celery_setup,
    celery_worker,
    celery_worker_cluster,
    make_setup,
    servers,
    shared_setup,
)


def pytest_configure(config: pytest.Config) -> None:
    def interrupted(number: int, frame: Any) -> None:
        pytest.exit("SIGTERM", returncode=128 + number)  # so that fixtures stop what they started

    signal.signal(signal.SIGTERM, interrupted)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """Let fixtures know how the test went: what a failed one leaves behind must not fail the next."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report
