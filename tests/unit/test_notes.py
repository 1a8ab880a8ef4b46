"""What tasks note of their slots: known to the worker before it can know of their end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from celery_concurrency_id.notes import Notes, notes_of


@pytest.fixture
def notes() -> Iterator[Notes]:
    notes = Notes("worker")
    yield notes
    notes.close()


def test_a_process_that_is_killed_has_left_its_notes(notes: Notes) -> None:
    child = os.fork()
    if not child:
        try:
            for token in ("1", "2", "3"):
                notes.given(token)
            notes.taken("2")
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    assert notes.was_away("1") and notes.was_away("2") and not notes.was_away("4")
    assert notes.away() == {"1", "3"}
    notes.forget("1")
    notes.forget("2")
    assert not notes.was_away("1") and not notes.was_away("2")
    assert notes.away() == {"3"}


def test_a_worker_is_found_by_its_name(notes: Notes) -> None:
    assert notes_of("worker") is notes
    assert notes_of("nobody") is None


def test_what_redis_was_not_told_is_told_once(notes: Notes) -> None:
    notes.given("1")
    assert not notes.take_untold()
    notes.untold("1")
    assert notes.take_untold() and not notes.take_untold()
    assert notes.away() == {"1"}


def test_however_many_notes_nobody_waits_for_ever(notes: Notes) -> None:
    for number in range(20_000):  # more than a pipe holds
        notes.given(str(10**15 + number))
        notes.taken(str(10**15 + number))
    assert not notes.away()
    assert notes.was_away(str(10**15 + 19_999))


def test_a_child_knows_when_its_worker_is_gone(notes: Notes) -> None:
    assert not notes.orphaned()
    out, end = os.pipe()
    worker = os.fork()
    if not worker:
        theirs = Notes("other")
        if not os.fork():
            os.close(out)
            before = theirs.orphaned()
            while os.getppid() == theirs._worker_pid:
                pass
            os.write(end, f"{before}{theirs.orphaned()}".encode())
        os._exit(0)
    os.close(end)
    os.waitpid(worker, 0)

    assert os.read(out, 100) in (b"FalseTrue", b"TrueTrue")  # it may be gone before the first look
    os.close(out)


def test_after_the_worker_has_ended_a_note_is_nothing(notes: Notes) -> None:
    notes.close()
    notes.given("1")
    notes.close()
    assert notes.away() == frozenset()
