"""The judge itself: it sees what it must see, and excuses no more than the definition of a lease does."""

from __future__ import annotations

from typing import Any

from faults import judge
from faults.judge import Injury
from harness.sweep import FOREVER, Run


class Leases:
    """An observer that was told what to have seen: a lapse by host, and spans in which a host had a lease."""

    def __init__(self, lapses: dict[str, int] | None = None, spans: dict[str, list[tuple[int, int]]] | None = None):
        self.lapses, self.spans = lapses or {}, spans or {}

    def lapse(self, host: str, after: int) -> int | None:
        return self.lapses.get(host)

    def leased(self, host: str, at: int) -> bool:
        return any(first <= at <= last for first, last in self.spans.get(host, []))


def ran(start: int, end: int | None, host: str = "a", pid: int = 1) -> Run:
    return Run(f"{host}{start}", "load", "load", {"host": host}, pid, 0, start, start, end)


def counted(runs: list[Run], injuries: list[Injury], leases: Any) -> list[tuple[int, int]]:
    return judge.counted(runs, injuries, leases)


def test_tasks_that_overlap_count_together_and_tasks_that_meet_do_not() -> None:
    assert judge.peak(counted([ran(0, 10), ran(5, 15), ran(15, 20)], [], Leases())) == 2


def test_a_task_without_an_end_counts_for_ever_unless_its_process_was_killed() -> None:
    runs = [ran(0, None, pid=7), ran(20, 30)]
    assert judge.peak(counted(runs, [], Leases())) == 2
    assert judge.peak(counted(runs, [Injury(10, 10, dead_pids=frozenset([7]))], Leases())) == 1


def test_what_a_frozen_worker_runs_counts_until_its_lease_ended_and_not_longer() -> None:
    frozen = Injury(10, 100, lapsing=frozenset(["a"]))
    before = [ran(0, 100), ran(40, 50, "b")]
    after = [ran(0, 100), ran(61, 70, "b")]
    assert judge.peak(counted(before, [frozen], Leases({"a": 60}))) == 2
    assert judge.peak(counted(after, [frozen], Leases({"a": 60}))) == 1
    assert judge.peak(counted(after, [frozen], Leases())) == 2, "its lease never ended"


def test_a_lease_that_ends_soon_after_the_fault_is_its_doing_and_one_that_ends_much_later_is_not() -> None:
    cut = Injury(10, 20, lapsing=frozenset(["a"]))
    much_later = judge.AFTERWARDS + 100
    soon = [ran(30, 100), ran(61, 70, "b")]
    late = [ran(30, much_later + 100), ran(much_later + 1, much_later + 9, "b")]
    assert judge.peak(counted(soon, [cut], Leases({"a": 60}))) == 1
    assert judge.peak(counted(late, [cut], Leases({"a": much_later}))) == 2


def test_nobody_is_excused_by_a_fault_that_struck_somebody_else() -> None:
    runs = [ran(0, 100), ran(61, 70, "b")]
    assert judge.peak(counted(runs, [Injury(10, 100, lapsing=frozenset(["c"]))], Leases({"a": 60}))) == 2


def test_a_task_begun_without_a_lease_is_seen_unless_a_frozen_pool_had_it_already() -> None:
    late = judge.HANDED_OVER + 200
    cut = Injury(10, 100, lapsing=frozenset(["a"]))
    leases = Leases({"a": 60}, {"a": [(0, 60), (late + 10, FOREVER)]})
    runs = [ran(50, 55), ran(80, 90), ran(101, 110), ran(late, late + 5), ran(late + 11, late + 20)]
    waking, others = judge.unleased(runs, [cut], leases)  # type: ignore[arg-type]
    assert [run.start for run in waking] == [101]
    assert [run.start for run in others] == [80, late]


def test_a_worker_that_is_frozen_twice_wakes_twice() -> None:
    frozen = [Injury(at, at + 90, lapsing=frozenset(["a"])) for at in (10, 10_000_000_000)]
    woken = ran(10_000_000_095, 10_000_000_099)
    assert judge.unleased([woken], frozen, Leases({"a": 60})) == ([woken], [])  # type: ignore[arg-type]


def test_full_capacity_is_back_with_a_new_task_and_idle_time_is_what_was_missing_until_then() -> None:
    spans = [(0, 100), (0, 20), (50, 60)]
    assert judge.full_since(spans, 2, since=10) == 50
    assert judge.full_since(spans, 2, since=51) is None
    assert judge.idle(spans, 2, since=10, until=50) == 30 / 1e9


def test_only_what_ran_in_the_killed_process_when_it_died_was_killed() -> None:
    shot = Injury(10, 10, dead_pids=frozenset([1]))
    assert shot.killed(ran(5, None))
    assert not shot.killed(ran(5, 9))
    assert not shot.killed(ran(11, None))
    assert not shot.killed(ran(5, None, pid=2))
