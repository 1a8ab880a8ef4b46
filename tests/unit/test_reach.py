"""A producer's way to the semaphore: what a fork inherits, and how often one that is away is asked."""

from __future__ import annotations

import os

import pytest

from celery_concurrency_id.semaphore import reach
from celery_concurrency_id.semaphore.reach import Lines, Reach


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


def test_one_that_is_away_is_asked_once_a_second_and_that_is_news_once(clock: list[float]) -> None:
    reach = Reach()
    assert reach.worth_a_try()
    assert not reach.found(), "it never was away"

    for news in (True, False):
        assert reach.lost() is news
        clock[0] += 0.99
        assert not reach.worth_a_try()
        clock[0] += 0.02
        assert reach.worth_a_try()
    reach.lost()
    assert reach.found()
    assert not reach.found()

    assert reach.worth_a_try(), "at once"
    assert reach.lost()
