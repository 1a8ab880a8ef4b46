"""What an operator may not say: refused before anything is sent, since nobody listens at this app's Redis."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Callable

import pytest
from celery import Celery

from celery_concurrency_id import Concurrency, InvalidControl, SemaphoreUnavailable
from celery_concurrency_id.cli import rates
from celery_concurrency_id.cli.text import printable, table
from celery_concurrency_id.control import why
from celery_concurrency_id.control.look import gated
from celery_concurrency_id.control.views import Away, IdDetails, IdStatus
from celery_concurrency_id.worker.commands import limit_of


@pytest.fixture
def control(app: Celery, gate: Callable[..., Any]) -> Concurrency:
    gate(app, concurrency_id="gpu")
    return Concurrency(app)


@pytest.mark.parametrize("limit", [0, -1, True, False, 2.0, "2", "", [], float("nan")], ids=repr)
def test_a_limit_that_cannot_be_one_is_refused(control: Concurrency, limit: Any) -> None:
    with pytest.raises(InvalidControl, match="int of 1 or more") as caught:
        control.set("gpu", limit)
    assert (caught.value.command, caught.value.argument) == ("set", "limit")


@pytest.mark.parametrize("expires", [0, -1, True, "60", float("nan"), float("inf"), timedelta(0), 1e12], ids=repr)
def test_a_time_that_cannot_be_one_is_refused(control: Concurrency, expires: Any) -> None:
    with pytest.raises(InvalidControl, match="seconds"):
        control.set("gpu", 1, expires=expires)


@pytest.mark.parametrize("call", [lambda c: c.set("gpu", 1, note=7), lambda c: c.pause("gpu", note="x" * 501)])
def test_a_note_that_is_none_is_refused(control: Concurrency, call: Callable[[Concurrency], Any]) -> None:
    with pytest.raises(InvalidControl, match="note"):
        call(control)


@pytest.mark.parametrize("token", ["", "x", "1 2", None, True, 1.5, "١"], ids=repr)
def test_a_token_that_is_no_number_is_refused(control: Concurrency, token: Any) -> None:
    with pytest.raises(InvalidControl, match="token"):
        control.release("gpu", token)


def test_a_timeout_that_is_none_is_refused(control: Concurrency) -> None:
    with pytest.raises(InvalidControl, match="timeout"):
        control.drain("gpu", timeout=-1)


def test_what_is_right_needs_redis(control: Concurrency) -> None:
    for call in (lambda: control.set("gpu", None, expires=timedelta(hours=1)), lambda: control.pause("gpu")):
        with pytest.raises(SemaphoreUnavailable):
            call()


def test_ids_of_tasks_that_are_gated_by_configuration_are_known(
    make_app: Callable[..., Celery], ordinary: Callable[..., Any]
) -> None:
    app = make_app(concurrency_tasks={"legacy.*": {"concurrency_id": "old"}})
    ordinary(app, "legacy.render")

    assert gated(app) == {"old"}


@pytest.mark.parametrize(
    ("word", "limit"),
    [("3", 3), ("none", None), ("None", None), ("2.5", "2.5"), (4, 4), ("-1", "-1"), ("9" * 5000,) * 2],
)
def test_a_limit_as_a_word(word: Any, limit: Any) -> None:
    assert limit_of(word) == limit


def test_what_others_wrote_does_not_steer_a_terminal() -> None:
    assert printable("a\x1b[31mb\nc") == "a?[31mb?c"
    assert table(["ID", "N"], [["\x1b]0;x\x07", "1"]]).splitlines() == ["ID      N", "?]0;x?  1"]


def test_what_keeps_a_task_from_its_slot_again_beside_a_limit_and_a_pause() -> None:
    about = IdDetails(IdStatus("gpu", 2, "task", 2, None, None, 1, 5, None, 1, 9), (), ())
    away = Away("1", "render-1", "", 10.0, 9.0, None)
    assert why._away(away, about, 0.0) == [
        "it runs on a worker that is gone, and has given its slot of 'gpu' back since 9.0 s",
        "the lease of that worker is over: nothing of the task is left as soon as another worker looks",
    ]
    waits = Away("1", "render-1", "w1@host", 10.0, 9.0, 4.0, 12.0, 7.0, 0)
    since = "it waits on w1@host to have its slot of 'gpu' again, since 7.0 s, after it gave it back 9.0 s ago"
    silent = "that worker was not heard for 4.0 s"
    free = (
        "a slot of 'gpu' is free (limit 2, 1 taken): it has it in a moment, unless that is left free for a task that "
    )
    assert why._away(waits, about, 0.0) == [since, silent, f"{free}needs several"]
    recovery = "Redis has restarted: workers say what they hold, for another 1.5 s"
    assert why._away(waits, about, 1.5) == [since, silent, recovery]


def test_a_rate_is_the_difference_of_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 102.0, 104.0])
    monkeypatch.setattr(rates.time, "monotonic", lambda: next(times))

    def status(id: str, taken: int) -> IdStatus:
        return IdStatus(id, 1, "task", 1, None, None, 0, 0, None, 1, taken)

    looks = rates.Rates()
    assert looks.since_last([status("gpu", 10)]) == {}
    assert looks.since_last([status("gpu", 15), status("new", 3)]) == {"gpu": 2.5}
    assert looks.since_last([status("gpu", 2), status("new", 3)]) == {"gpu": 0.0, "new": 0.0}, "Redis lost its data"
