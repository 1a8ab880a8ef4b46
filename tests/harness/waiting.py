"""Deadlines instead of sleeps."""

from __future__ import annotations

import os
import time
from typing import Any, Callable

# A loaded CI machine gets more time. A test that passes never waits for it.
PATIENCE = float(os.environ.get("CONCURRENCY_TEST_PATIENCE", "1"))


def wait(condition: Callable[[], Any], timeout: float = 15.0, what: str | Callable[[], Any] = "") -> Any:
    """Poll until the condition is true, and return its value.

    Args:
        condition: Called every few milliseconds.
        timeout: Seconds until the test fails.
        what: Said in the failure; a callable is asked at the deadline, for the state of things then.

    Raises:
        AssertionError: The deadline passed.
    """
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            said = what() if callable(what) else what
            raise AssertionError(f"not within {timeout:g} s: {said or 'the condition'} (last value: {value!r})")
        time.sleep(0.01)  # between two looks, with a deadline


def stays(condition: Callable[[], Any], seconds: float, what: str = "") -> None:
    """Fail if the condition becomes false within so many seconds: for what must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"did not stay true for {seconds:g} s: {what or 'the condition'}"
        time.sleep(0.01)  # between two looks, with a deadline
