"""A worker that is told of a lower limit or a pause keeps nothing that it had leave to keep."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from celery_concurrency_id.semaphore.semaphore import Grant, Turn, Verdict
from celery_concurrency_id.worker.ahead import Ahead
from celery_concurrency_id.worker.directory import Directory
from celery_concurrency_id.worker.link import Link
from celery_concurrency_id.worker.slot import Slot


class Request:
    """A task that was fetched ahead."""

    def __init__(self, id: str, concurrency_id: str) -> None:
        self.id = self.message = id
        self.concurrency_slot = Slot(concurrency_id)


class Gate:
    """Stands for the gate, and for the fetcher, the hand-over and the loop that it has."""

    def __init__(self) -> None:
        self.fetcher = self
        self.messages: list[str] = []
        self.told: list[tuple[str, str]] = []

    def call_later(self, *args: Any) -> None: ...

    def put_back(self, id: str, message: str) -> None:
        self.messages.append(message)

    def tell(self, kind: str, id: str, request: Request) -> None:
        self.told.append((kind, request.id))


def test_what_was_fetched_ahead_goes_back_in_its_order_and_other_ids_stay() -> None:
    gate = Gate()
    ahead = Ahead(gate, gate, gate, True)
    for request in (Request("first", "gpu"), Request("second", "gpu"), Request("mail", "mail")):
        ahead.keep(request)

    ahead.recall("gpu")

    assert gate.messages == ["second", "first"], "each goes to the head of the queue"
    assert gate.told == [("back", "second"), ("back", "first")]
    assert (ahead.has("gpu"), ahead.has("mail")) == (False, True)
    ahead.recall("")
    assert not ahead.has("mail")


def test_leave_to_keep_a_slot_that_was_on_its_way_when_the_recall_came_does_not_count() -> None:
    answers: list[Turn] = []
    turn = Turn("ok", (Verdict("1", True, True, 5, True),), (Grant("gpu", "2", 3, 5, True, True),))
    owner = SimpleNamespace(turned=lambda turn, want: answers.append(turn), recalled=lambda id: None)
    recalls = [True, False]

    class Semaphore:
        def turn(self, *args: Any) -> Turn:
            if recalls.pop(0):
                link.recall("gpu")
            return turn

    link = Link(
        Semaphore(), "host", "fleet", {}, 15.0, lambda patience: True, owner, Directory((), 60.0, lambda id, family: 1)
    )  # type: ignore[arg-type]
    link._turn([], 1)
    link._turn([], 1)

    recalled, usual = answers
    assert recalled.verdicts == (Verdict("1", False, True, 5, False),)
    assert recalled.grants == (Grant("gpu", "2", 3, 5, False, False),)
    assert usual == turn
