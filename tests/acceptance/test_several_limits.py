"""Tasks that need several slots at once, and a limit for each key within a total one."""

from __future__ import annotations

from collections import Counter
from typing import Callable

import pytest

from celery_concurrency_id import CannotYield
from harness.fixtures import for_each_broker, on_both_brokers
from harness.setup import Setup, alive
from harness.waiting import stays, wait

LEFT = {"left": 1, "left+right:2": 1, "left:2+right": 2}
RIGHT = {"right": 1, "left+right:2": 2, "left:2+right": 1}


@on_both_brokers
def test_tasks_with_crossed_limits_take_all_or_nothing_and_never_wait_for_each_other_for_ever(
    celery_setup: Setup,
) -> None:
    names = ("left_right", "right_left", "left", "right")

    results = [celery_setup.send(name, tag=tag, seconds=0.02) for tag in range(15) for name in names]
    celery_setup.wait_ended(results, timeout=60)

    assert celery_setup.sweep.peak_slots(LEFT) == 2
    assert 2 <= celery_setup.sweep.peak_slots(RIGHT) <= 3
    assert not celery_setup.sweep.twice()
    # Of each of the two that need both, one at a time fits.
    for id in ("left+right:2", "left:2+right"):
        assert celery_setup.sweep.tags(id) == list(range(15))


@on_both_brokers
def test_a_wide_task_has_its_turn_though_narrow_ones_keep_coming(celery_setup: Setup) -> None:
    narrow = [celery_setup.send("narrow4", tag=tag, seconds=0.03) for tag in range(200)]
    wait(lambda: len(celery_setup.sweep.runs("wide4")) > 8, what="narrow ones are under way")
    before = len(celery_setup.sweep.runs("wide4"))

    wide = celery_setup.send("wide4")
    celery_setup.wait_ended([wide])

    (run,) = celery_setup.sweep.runs("wide4:4")
    after = [each for each in celery_setup.sweep.runs("wide4") if each.start < run.start]
    assert len(after) - before < 100, "it did not wait for all of them"
    celery_setup.wait_ended(narrow, timeout=60)
    assert celery_setup.sweep.peak_slots({"wide4": 1, "wide4:4": 4}) == 4

    # It cannot give its slots back for a while.
    with pytest.raises(CannotYield, match=r"'yields_wide': .*\{'wide4': 4\}") as raised:
        celery_setup.send("yields_wide").get(timeout=30)
    assert raised.value.slots == {"wide4": 4}
    assert not celery_setup.sweep.runs("wide4:4-away")
    celery_setup.wait_ended([celery_setup.send("narrow4"), celery_setup.send("wide4")])


@on_both_brokers
def test_keys_take_turns_within_a_total_limit_and_no_slot_idles(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    big = [celery_setup.send("api", "big", tag=tag, gate=gate) for tag in range(12)]
    celery_setup.wait_running(2, "api/big")
    small = [celery_setup.send("api", user, tag=tag, gate=gate) for tag in range(3) for user in ("a", "b", "c")]
    wait(lambda: len(celery_setup.sweep.running()) == 5, what="the total limit is used up, by several keys")
    stays(lambda: len(celery_setup.sweep.running()) == 5, 0.5, what="no more start")
    assert len(celery_setup.sweep.running("api/big")) == 2

    gate.open()
    celery_setup.wait_ended([*big, *small], timeout=60)

    assert celery_setup.sweep.peak_slots({"api/": 1}) == 5
    assert max(celery_setup.sweep.peak(f"api/{user}") for user in ("big", "a", "b", "c")) == 2
    order = [run.id for run in celery_setup.sweep.runs()]
    assert set(order[5:8]) >= {"api/a", "api/b", "api/c"} - set(order[2:5]), f"each key had its turn: {order}"


@on_both_brokers
def test_keys_that_never_reach_their_own_limit_take_turns(celery_setup: Setup) -> None:
    gate = celery_setup.gate()
    first = [celery_setup.send("crowd", "first", gate=gate) for _ in range(2)]
    celery_setup.wait_running(2)
    # Published key by key: in the order of publishing, or with a preference, the last begin when the first have ended.
    users = "abcdef"
    rest = [celery_setup.send("crowd", user, tag=tag, seconds=0.03) for user in users for tag in range(5)]

    gate.open()
    celery_setup.wait_ended([*first, *rest], timeout=60)

    assert celery_setup.sweep.peak_slots({"crowd/": 1}) == 2
    order = [run.id[-1] for run in celery_setup.sweep.runs() if run.id[-1] in users]
    for number in range(len(order) + 1):
        begun = Counter(order[:number])
        assert max(begun.values(), default=0) - min(begun[user] for user in users) <= 2, f"{number} of {order}"


@pytest.mark.faults
@for_each_broker
def test_every_slot_comes_back_from_a_killed_worker_and_none_is_forgotten_with_redis_data(
    make_setup: Callable[..., Setup], broker: str
) -> None:
    setup = make_setup(broker=broker, workers=2)
    never, gate = setup.gate(), setup.gate()
    victims = [setup.send("left_right", gate=never), *(setup.send("api", "victim", gate=never) for _ in range(2))]
    (run,) = setup.wait_running(1, "left+right:2")
    setup.wait_running(2, "api/victim")
    others = [setup.send(name, tag=tag) for tag in range(4) for name in ("right_left", "left_right")]

    killed = next(node for node in setup.workers if run.pid in node.children())
    killed.kill("SIGKILL")
    setup.workers.remove(killed)

    setup.wait_ended(others)
    gone = {each.task for each in setup.running() if not alive(each.pid)}
    assert victims[0].id in gone

    wide = setup.send("wide4", gate=gate)
    setup.wait_running(1, "wide4:4")
    setup.backend.container.client.flushall()
    users = [setup.send("api", user, seconds=0.02) for user in ("a", "b", "a", "b", "a", "b", "a", "b")]
    narrow = setup.send_many("narrow4", 6, seconds=0.02)

    setup.wait_ended(users)
    stays(lambda: not setup.sweep.runs("wide4"), 1, "the wide task still has all four slots")
    gate.open()
    setup.wait_ended([wide, *narrow])
    never.open()
    setup.wait_ended([each for each in victims if each.id not in gone])
    for slots, most in ((LEFT, 2), (RIGHT, 3), ({"wide4": 1, "wide4:4": 4}, 4), ({"api/": 1}, 5)):
        assert setup.sweep.peak_slots(slots, killed=gone) <= most
    assert max(setup.sweep.peak(f"api/{user}", killed=gone) for user in ("victim", "a", "b")) == 2
    assert not setup.sweep.twice()
