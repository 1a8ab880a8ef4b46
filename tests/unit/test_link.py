"""The worker's line to the semaphore, with a semaphore that keeps its accounts in a set."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Callable

import pytest

from celery_concurrency_id.semaphore.semaphore import Beat, Grant, Joined, Report, Turn, Verdict
from celery_concurrency_id.worker.directory import Directory
from celery_concurrency_id.worker.link import Link
from harness.waiting import wait


class Accounts:
    """A semaphore that grants what is asked for; a test may put something between two calls."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.beats: list[Beat] = []
        self.served: list[dict[str, int]] = []
        self.joins: list[set[str]] = []
        self.next_beat = Beat("ok")
        self.after_turn: Callable[[Turn], Any] = lambda turn: None
        self.after_join: Callable[[], Any] = lambda: None
        self.taken: set[str] = set()
        self.deleted: set[str] = set()
        self._tokens = 0

    def join(
        self, host: str, fleet: str, lease: float, held: list[tuple[str, str, str, str]], away: Collection[str] = ()
    ) -> Joined:
        said = {token for _, token, _, _ in held}
        self.joins.append(said)
        self.held = said - self.taken
        self.after_join()
        return Joined(False, 0.0, tuple(said & self.taken), False)

    def serve(self, fleet: str, limits: dict[str, int], families: Iterable[str], needs: dict[str, str]) -> None:
        self.served.append(limits)

    def learn(self, known: Iterable[Any]) -> None: ...

    def turn(self, want: int, may_idle: bool, reports: list[Report]) -> Turn:
        self.held -= {report.token for report in reports if report.kind in ("release", "drop")}
        grants = []
        for _ in range(want):
            self._tokens += 1
            self.held.add(str(self._tokens))
            grants.append(Grant("gpu", str(self._tokens), 0, 0, True, False))
        started = [report.token for report in reports if report.kind == "start"]
        verdicts = [Verdict(token, True, token not in self.deleted, 0, False) for token in started]
        turn = Turn("ok", tuple(verdicts), tuple(grants))
        self.after_turn(turn)
        return turn

    def beat(self, idle: bool, tokens: list[str], lengths: dict[str, int], *dynamic: float) -> Beat:
        beat, self.next_beat = self.next_beat, Beat("ok")
        if set(tokens) != self.held or len(tokens) != len(self.held):
            beat = Beat("ok", resync=True)
        self.beats.append(beat)
        return beat

    def leave(self) -> int:
        return len(self.held)

    def close(self) -> None: ...


class Owner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.lost: set[str] = set()
        self.not_held: set[str] = set()

    def turned(self, turn: Turn, want: int) -> None:
        self.tokens += [grant.token for grant in turn.grants]
        self.not_held |= {verdict.token for verdict in turn.verdicts if not verdict.held}

    def joined(self, lost: frozenset[str], blind: bool) -> None:
        self.lost |= lost

    def invited(self) -> None: ...

    def look_up(self, cursor: int, dynamic: list[str]) -> None: ...

    def at_rest(self) -> bool:
        return False


@pytest.fixture
def accounts() -> Accounts:
    return Accounts()


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def link(accounts: Accounts, owner: Owner) -> Iterator[Link]:
    link = Link(
        accounts,
        "host",
        "fleet",
        {"gpu": 2},
        15.0,
        lambda timeout: True,
        owner,
        Directory((), 60.0, lambda id, family: 1),
    )  # type: ignore[arg-type]
    link.start()
    yield link
    link.stop()


def granted(link: Link, owner: Owner) -> str:
    before = len(owner.tokens)
    link.ask(1)
    wait(lambda: len(owner.tokens) > before, what="a slot")
    return owner.tokens[-1]


def beat(link: Link, accounts: Accounts) -> Beat:
    """Have the next heartbeat now, and wait for it."""
    before = len(accounts.beats)
    link.tell_lengths({"gpu": 1})
    wait(lambda: len(accounts.beats) > before, what="a heartbeat")
    return accounts.beats[-1]


def test_a_slot_whose_release_was_not_sent_yet_is_no_disagreement(link: Link, accounts: Accounts, owner: Owner) -> None:
    token = granted(link, owner)

    def released_between_report_and_beat(turn: Turn) -> None:
        accounts.after_turn = lambda turn: None
        link.report(Report("release", "gpu", token))
        link.tell_lengths({"gpu": 1})  # the beat comes before the report can be sent

    accounts.after_turn = released_between_report_and_beat
    before = len(accounts.beats)
    link.flush()
    wait(lambda: len(accounts.beats) > before, what="a heartbeat")
    wait(lambda: not accounts.held, what="the release is sent")

    assert not beat(link, accounts).resync
    assert (link.counts["resyncs"], link.joins) == (0, 1)


def test_a_worker_that_cannot_come_soon_lets_the_next_one_be_invited(
    link: Link, accounts: Accounts, owner: Owner
) -> None:
    """The script of a turn invites; it has to be called even where there is nothing to report."""
    wait(lambda: accounts.served, what="it has joined")
    turns: list[Turn] = []
    accounts.after_turn = turns.append

    link.flush()

    wait(lambda: turns, what="a turn")


def test_a_slot_granted_to_a_worker_that_refuses_is_no_disagreement(
    link: Link, accounts: Accounts, owner: Owner
) -> None:
    def refused(turn: Turn) -> None:
        accounts.after_turn = lambda turn: None
        link.refuse(True)
        link.tell_lengths({"gpu": 1})

    accounts.after_turn = refused
    before = len(accounts.beats)
    link.ask(1)
    wait(lambda: len(accounts.beats) > before, what="a heartbeat")
    wait(lambda: not accounts.held, what="it is given back")

    assert not beat(link, accounts).resync
    assert (link.counts["resyncs"], link.joins) == (0, 1)


@pytest.mark.parametrize("taken", [False, True], ids=["stands", "is-lost"])
def test_a_slot_released_while_the_worker_joins_is_no_disagreement(
    link: Link, accounts: Accounts, owner: Owner, taken: bool
) -> None:
    token = granted(link, owner)
    accounts.taken = {token} if taken else set()

    def released() -> None:
        accounts.after_join = lambda: None
        link.report(Report("release", "gpu", token))
        link.tell_lengths({"gpu": 1})

    accounts.after_join = released
    before = len(accounts.beats)
    link.rejoin()
    wait(lambda: len(accounts.beats) > before, what="a heartbeat")
    wait(lambda: not accounts.held, what="the release is sent")

    assert not beat(link, accounts).resync
    assert (link.counts["resyncs"], link.joins) == (0, 2)
    assert owner.lost == accounts.taken


def test_a_true_disagreement_is_counted_logged_and_ended_by_joining_again(
    link: Link, accounts: Accounts, owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    token = granted(link, owner)
    accounts.held.add("planted")

    assert beat(link, accounts).resync
    wait(lambda: link.joins == 2, what="it joins again")

    assert accounts.joins[-1] == {token} == accounts.held
    assert link.counts["resyncs"] == 1
    assert "disagreed" in caplog.text
    assert not beat(link, accounts).resync


@pytest.mark.parametrize("taken", [False, True], ids=["free", "taken"])
def test_a_slot_that_was_deleted_is_lost_only_if_another_worker_took_it(
    link: Link, accounts: Accounts, owner: Owner, taken: bool
) -> None:
    """Worker and semaphore must not end up with different views of it: it would be free for nobody."""
    token = granted(link, owner)
    accounts.deleted = {token}
    accounts.taken = {token} if taken else set()

    link.report(Report("start", "gpu", token, "task"), urgent=True)
    wait(lambda: link.joins == 2, what="it joins again")

    assert accounts.joins[-1] == {token}
    wait(lambda: owner.lost == accounts.taken, what="it is told of what is lost")
    assert owner.not_held == set(), "that is for the join to say"
    assert not beat(link, accounts).resync
    assert link.counts["resyncs"] == 1


def test_repairs_are_counted_and_logged_and_missing_limits_said_again(
    link: Link, accounts: Accounts, owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    wait(lambda: accounts.served, what="the limits are told")
    accounts.next_beat = Beat("ok", serve=True, repaired=3, mended=(("gpu", 5),))

    beat(link, accounts)

    wait(lambda: len(accounts.served) == 2, what="the limits are told again")
    assert accounts.served[0] == accounts.served[1] == {"gpu": 2}
    assert (link.counts["repairs"], link.counts["unannounced"]) == (4, 5)
    assert "3 entries of the semaphore were wrong" in caplog.text
    assert "no limit for some ids" in caplog.text
