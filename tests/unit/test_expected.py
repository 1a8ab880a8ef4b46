"""When a task is expected to start, against queues that are played through."""

from __future__ import annotations

import heapq
import math
import random

import pytest

from celery_concurrency_id.control.expected import Expected, end_of, left_of, start_of
from celery_concurrency_id.semaphore.positions import LineState, Taken, Times

NOW = 1000.0
#: Seen often, and always the same: no range.
TEN = Times(100, 10.0, 0.0)
ONE = Times(100, 1.0, 0.0)


def line(limit: int, ages: list[float], name: str = "ten", first: float | None = NOW, **changes: object) -> LineState:
    """A line in which tasks of a name have run for these seconds."""
    slots = tuple(Taken(True, NOW - age, name) for age in ages)
    state = LineState(
        time=NOW,
        limit=limit,
        paused=False,
        unseen=0,
        announced=9,
        first=first,
        running=len(slots),
        alive=True,
        recovery=0.0,
        kinds=(),
        slots=slots,
        times={"ten": TEN, "one": ONE},
    )
    return state._replace(**changes)  # type: ignore[arg-type]


def played(left: list[float], takes: list[float]) -> float:
    """Return when a task starts that has these ahead of it, in slots that are free after so many seconds."""
    free = sorted(left)
    for each in takes:
        heapq.heapreplace(free, free[0] + each)
    return free[0]


def likely(expected: Expected | None) -> float:
    assert expected is not None
    assert expected.low <= expected.likely <= expected.high
    return expected.likely


@pytest.mark.parametrize("slots", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 20, 64])
def test_tasks_of_one_length_start_when_the_slots_before_them_are_free(slots: int, count: int) -> None:
    random.seed(slots * 100 + count)
    ages = [random.uniform(0, 10) for _ in range(slots)]

    expected = start_of(line(slots, ages), [("ten", count)])

    assert likely(expected) == pytest.approx(played([10 - age for age in ages], [10.0] * count))
    assert expected == Expected(expected.likely, expected.likely, expected.likely), "they never differ"


@pytest.mark.parametrize("slots", [1, 2, 5, 50])
def test_a_long_line_is_expected_to_take_what_it_takes(slots: int) -> None:
    random.seed(slots)
    ages = [random.uniform(0, 10) for _ in range(slots)]
    counts = {"ten": 300, "one": 700}
    takes = [10.0] * 300 + [1.0] * 700
    random.shuffle(takes)

    expected = start_of(line(slots, ages), list(counts.items()))

    assert likely(expected) == pytest.approx(played([10 - age for age in ages], takes), abs=10)


def test_one_long_task_holds_up_its_own_slot_only() -> None:
    state = line(2, [0, 9])
    state = state._replace(
        slots=(Taken(True, NOW, "hour"), state.slots[1]), times={**state.times, "hour": Times(50, 3600, 0)}
    )

    assert likely(start_of(state, [("one", 100)])) == pytest.approx(101, abs=1)
    assert likely(start_of(state, [("one", 5)])) == pytest.approx(6)


def test_the_range_holds_nearly_all_that_may_happen() -> None:
    """Two standard deviations, played with times that are drawn as those were that were observed."""
    random.seed(5)
    times = Times(1000, 10.0, 9.0)
    state = line(3, [1.0, 4.0, 6.0])._replace(times={"ten": times})
    expected = start_of(state, [("ten", 12)])
    assert expected is not None

    within = 0
    for _ in range(500):
        left = []
        for age in (1.0, 4.0, 6.0):
            length = random.gauss(10, 3)
            while length <= age:
                length = random.gauss(10, 3)
            left.append(length - age)
        start = played(left, [max(random.gauss(10, 3), 0) for _ in range(12)])
        within += expected.low <= start <= expected.high

    assert within > 450
    assert expected.high - expected.low < 40, "and says something"


def test_little_knowledge_makes_a_wide_range() -> None:
    widths = []
    for number in (1, 3, 30):
        times = Times(number, 10.0, 1.0)
        expected = start_of(line(1, [5.0])._replace(times={"ten": times}), [("ten", 4)])
        assert expected is not None
        widths.append(expected.high - expected.low)

    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 3 * widths[-1]


def test_a_task_beside_a_free_slot_starts_now() -> None:
    assert likely(start_of(line(3, [1.0]), [("unknown", 1)])) == 0
    assert likely(start_of(line(0, [1.0]), [("unknown", 50)])) == 0
    assert start_of(line(3, [1.0]), [("unknown", 2)]) is None


def test_where_workers_have_no_more_places_the_slots_in_use_are_what_counts() -> None:
    state = line(8, [5.0, 0.0], first=NOW - 60)

    assert likely(start_of(state, [("ten", 2)])) == pytest.approx(15)
    assert start_of(line(8, [], first=NOW - 60), []) is None


def test_a_lowered_limit_waits_for_all_that_are_too_many() -> None:
    assert likely(start_of(line(1, [1.0, 2.0, 3.0]), [])) == pytest.approx(9)
    assert likely(start_of(line(2, [1.0, 2.0, 3.0]), [])) == pytest.approx(8)


@pytest.mark.parametrize(
    "state",
    [
        line(1, [0.0], paused=True),
        line(1, [0.0], alive=False),
        line(1, [0.0])._replace(limit=None),
        line(1, [0.0], name="new"),
    ],
    ids=["paused", "no worker", "no limit known", "what runs is new"],
)
def test_nobody_can_tell(state: LineState) -> None:
    assert start_of(state, [("ten", 1)]) is None


def test_what_is_ahead_and_new_makes_the_start_unknown() -> None:
    assert start_of(line(1, [0.0]), [("ten", 1), ("new", 1)]) is None
    assert likely(start_of(line(1, [0.0]), [("ten", 1), ("new", 0)])) == pytest.approx(20)


def test_a_task_over_its_time_may_end_now_or_take_as_long_again() -> None:
    assert left_of(TEN, 4.0) == Expected(6.0, 6.0, 6.0)
    assert left_of(TEN, 25.0) == Expected(0.0, 0.0, 15.0)
    assert left_of(None, 25.0) is None
    times = Times(1000, 10.0, 4.0)
    assert left_of(times, 5.0) == Expected(1.0, 5.0, 9.0)


def test_too_many_slots_to_look_at_are_taken_to_be_spread_evenly() -> None:
    state = line(1000, [])._replace(running=1000)

    assert likely(start_of(state, [("ten", 5000)])) == pytest.approx(50, abs=6)


def test_the_end_is_the_start_and_the_time_of_its_own() -> None:
    start = Expected(5.0, 6.0, 7.0)
    assert end_of(start, TEN) == Expected(15.0, 16.0, 17.0)
    assert end_of(start, None) is None
    assert end_of(None, TEN) is None
    ended = end_of(start, Times(1000, 10.0, 4.0))
    assert ended is not None
    assert math.isclose(ended.high - ended.likely, 1 + 4 * math.sqrt(1 + 1 / 19))
