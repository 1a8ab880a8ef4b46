"""A producer's way to the semaphore: what a fork inherits, and how often one that is away is asked."""

from __future__ import annotations

import os

import pytest

from celery_concurrency_id.semaphore import reach
from celery_concurrency_id.semaphore.reach import Lines, Reach

URL = "redis://:sesame@host/0"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(reach, "monotonic", lambda: now[0])
    return now


def test_lines_are_kept_by_their_process_and_not_used_by_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: Lines[str] = Lines()
    lines.own.append("line")
    assert list(lines.own) == ["line"] and not lines.inherited

    monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a child

    assert lines.inherited
    assert not lines.own
    assert not lines.inherited, "by now it has its own"
    lines.own.append("another")
    assert list(lines.own) == ["another"]


def test_one_that_is_away_is_asked_once_a_second_and_the_log_says_so_once(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    there = Reach(URL, "all is lost", ": all is well")
    assert there.worth_a_try()
    there.is_there()
    assert not caplog.messages, "it never was away"

    for error in (OSError("gone"), OSError("still")):
        there.is_lost(error)
        clock[0] += 0.99
        assert not there.worth_a_try()
        clock[0] += 0.02
        assert there.worth_a_try()
    assert caplog.messages == ["semaphore at redis://:**@host/0 cannot be reached (gone): all is lost"]
    there.is_lost(OSError("again"))
    there.is_there()
    there.is_there()

    assert there.worth_a_try(), "at once"
    assert caplog.messages[1:] == ["semaphore at redis://:**@host/0 is back: all is well"]
    there.is_lost(OSError())
    assert caplog.messages[2:] == ["semaphore at redis://:**@host/0 cannot be reached (OSError): all is lost"]
