"""Where tasks are in line, and how long they have taken: call by call, with a clock of the tests'."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import mean, pvariance
from typing import Any

import pytest

from celery_concurrency_id.semaphore.operator import OperatorVerbs
from celery_concurrency_id.semaphore.positions import InLine, InSlot, LineState, PositionVerbs
from celery_concurrency_id.semaphore.scripts import VERBS
from celery_concurrency_id.semaphore.scripts import load as shipped
from celery_concurrency_id.semaphore.semaphore import Report, Semaphore
from celery_concurrency_id.semaphore.tasks import Holder, TaskVerbs
from semaphore.lua import scripts
from semaphore.peer import TroubledClient
from semaphore.server import PREFIX, Server

SECOND = 1_000_000


class Line:
    """One worker that serves ``gpu``, a producer, and somebody who asks."""

    def __init__(self, server: Server, limit: int = 2) -> None:
        self.server = server
        self.worker, self.asker = Semaphore(TroubledClient(server), "worker"), PositionVerbs(TroubledClient(server))
        self.operator = OperatorVerbs(TroubledClient(server))
        self.worker.join("host", "fleet", 15.0, [])
        self.worker.serve("fleet", {"gpu": limit}, ["t-{tenant}"])
        self.tokens: dict[str, str] = {}

    def publish(self, task: str, kind: str = " render", id: str = "gpu", retries: int = 0) -> None:
        self.server.advance(10)
        family = () if id == "gpu" else ("t-{tenant}", 1)
        self.worker.announce(id, task, retries, *family, kind=kind)

    def start(self, task: str, name: str = "render", id: str = "gpu", retries: int = 0) -> None:
        """Start a task in a new slot."""
        (grant,) = self.worker.turn(1, True, []).grants
        assert grant.id == id
        self.tokens[task] = grant.token
        self.report(Report("start", id, grant.token, task, retries, name))

    def follow(self, before: str, task: str, name: str = "render") -> None:
        """Start a task in the slot of another one, which has ended."""
        token = self.tokens[task] = self.tokens.pop(before)
        self.report(Report("start", "gpu", token, task, 0, name))

    def end(self, task: str, kind: str = "release", id: str = "gpu", seq: int = 0) -> None:
        self.report(Report(kind, id, self.tokens.pop(task), "", seq))

    def report(self, report: Report) -> None:
        assert self.worker.turn(0, False, [report]).status == "ok"

    def pass_time(self, seconds: float) -> None:
        while seconds > 0:
            step = min(seconds, 1.0)
            self.server.advance(round(step * SECOND))
            assert self.worker.beat(False, self.tokens.values(), {}).status == "ok"
            seconds -= step

    def ask(self, *tasks: str, id: str = "gpu") -> tuple[LineState, dict[str, Any]]:
        return self.asker.position(id, 3, tasks)

    def ranks(self, *tasks: str) -> list[int | None]:
        places = self.ask(*tasks)[1]
        return [place.rank if isinstance(place := places.get(task), InLine) else None for task in tasks]

    def named(self, prefix: str) -> set[str]:
        return {key[len(PREFIX) :] for key in self.server.admin.scan_iter(f"{PREFIX}{prefix}*")}


@pytest.fixture
def server(redis_url: str) -> Iterator[Server]:
    with scripts():
        server = Server(redis_url)
        server.admin.script_flush()
        yield server


@pytest.fixture
def line(server: Server) -> Line:
    return Line(server)


def ranks_and_kinds(line: Line) -> None:
    for number in range(6):
        line.publish(f"t{number}", " train" if number % 3 == 2 else " render")
    state, places = line.ask("t0", "t2", "t5", "nobody")
    assert [(kind.name, kind.waiting) for kind in state.kinds] == [("render", 4), ("train", 2)]
    assert places == {
        "t0": InLine(0, 0, 0, (0, 0)),
        "t2": InLine(0, 1, 2, (2, 0)),
        "t5": InLine(0, 1, 5, (4, 1)),
    }
    assert (state.announced, state.limit, state.running, state.alive, state.paused) == (6, 2, 0, True, False)
    line.start("t0")
    state, places = line.ask("t0", "t2")
    assert places == {"t0": InSlot(state.slots[0].since, "render"), "t2": InLine(0, 1, 1, (1, 0))}
    # Those that leave in any way leave their kind.
    line.start("t2", "train")
    line.report(Report("skip", "gpu", "", "t5", 0))
    assert line.named("kind") == set()
    line.report(Report("back", "gpu", "", "t5", 0, "train"))
    assert line.ranks("t5", "t1", "t3", "t4") == [0, 1, 2, 3]
    assert line.ask()[0].kinds[1][:] == ("train", None, 1)


def a_purge(line: Line) -> None:
    for number in range(4):
        line.publish(f"t{number}", " train" if number % 2 else " render")
    before = line.operator.overview(["gpu"]).time
    line.publish("later", " train")
    assert line.operator.forget("gpu", before) == 4
    assert line.ranks("t0", "t1", "later") == [None, None, 0]
    assert line.ask("later")[0].kinds[1][:] == ("train", None, 1)
    # Found empty: what was announced is gone, of whatever kind.
    (grant,) = line.worker.turn(1, True, []).grants
    line.report(Report("drop", "gpu", grant.token, "", grant.seq))
    assert line.ask("later")[1] == {}
    assert line.named("kind") == set()
    # The next one finds no trace of it.
    line.publish("anew", " train")
    assert line.ask("anew")[0].kinds == (("train", None, 1),)


def a_retry(line: Line) -> None:
    line.publish("t0")
    line.publish("t1")
    line.start("t0")
    line.publish("t0", retries=1)
    assert isinstance(line.ask("t0")[1]["t0"], InSlot), "it runs, until it has ended"
    line.end("t0")
    assert line.ask("t0")[1]["t0"] == InLine(1, 0, 1, (1,))


def run_times(line: Line) -> None:
    """Also of one that follows another in its slot, that ends together with it, or whose queue is then empty."""
    for number in range(5):
        line.publish(f"t{number}")
    line.start("t0")
    line.pass_time(3)
    assert line.ask()[0].times == {}, "nothing has ended"
    line.follow("t0", "t1")
    line.pass_time(1)
    line.follow("t1", "t2", "train")
    line.pass_time(5)
    line.follow("t2", "t3")
    line.pass_time(2)
    line.end("t3")
    line.start("t4")
    line.pass_time(4)
    line.end("t4", "drop")
    line.publish("more")
    took = line.ask("more")[0].times["render"]
    assert took.number == 4
    assert took.mean == pytest.approx(mean([3, 1, 2, 4]), abs=0.01)
    assert took.variance == pytest.approx(pvariance([3, 1, 2, 4]), abs=0.01)
    line.start("more")
    line.publish("last", " train")
    assert line.ask("last")[0].times["train"].mean == pytest.approx(5, abs=0.01)


def recent_times(line: Line) -> None:
    """Newer ones count more."""
    line.publish("t0")
    line.start("t0")
    for number, seconds in enumerate([1] * 30 + [5] * 30):
        line.publish(f"t{number + 1}")
        line.pass_time(seconds)
        line.follow(f"t{number}", f"t{number + 1}")
    line.publish("asked")
    took = line.ask("asked")[0].times["render"]
    assert took.number == 60
    assert took.mean == pytest.approx(5 - 4 * 0.9**30, abs=0.02)


def a_lost_worker(line: Line) -> None:
    """How long a task was in the slot of a worker that died tells nothing of such tasks."""
    line.publish("t0")
    line.start("t0")
    line.publish("t1")
    line.pass_time(2)
    line.worker.leave()
    assert line.ask("t1")[0].times == {}
    assert not line.ask("t1")[0].alive


def made_for_calls(line: Line) -> None:
    line.publish("a0", id="t-1")
    line.publish("a1", id="t-1")
    find = partial(line.asker.find, retries=3, ids=[])
    assert [find(task) for task in ("a0", "a1", "b")] == ["t-1", "t-1", ""]
    line.start("a0", id="t-1")
    assert find("a0") == "t-1"
    line.publish("a0", id="t-1", retries=1)
    line.end("a0", id="t-1")
    assert find("a0") == "t-1", "its retry waits"
    for task, retries in (("a1", 0), ("a0", 1)):
        line.start(task, id="t-1", retries=retries)
        line.end(task, id="t-1")
    assert line.named("where") == set()
    # Not for those that always have the same id: they are looked for.
    line.publish("c")
    assert line.named("where") == set()
    assert line.asker.find("c", 3, ["other", "gpu"]) == "gpu"
    line.start("c")
    assert line.asker.find("c", 3, ["other", "gpu"]) == "gpu"


def told_twice(line: Line) -> None:
    """After an outage, a start may be told once by joining, and once more."""
    line.publish("a0", id="t-1")
    line.start("a0", id="t-1")
    line.pass_time(1)
    line.report(Report("start", "t-1", line.tokens["a0"], "a0", 0, "render"))
    line.publish("a1", id="t-1")
    assert line.ask("a1", id="t-1")[0].times == {}
    assert line.asker.find("a0", 3, []) == "t-1"


def bounds(line: Line) -> None:
    """However many kinds and names there are, what is kept of them has an end."""
    for number in range(40):
        line.publish(f"t{number}", f" name{number}")
    state, places = line.ask("t39", "t3")
    assert len(state.kinds) == 17
    assert sum(kind.waiting for kind in state.kinds) == 40
    assert [places[task].rank for task in ("t39", "t3")] == [39, 3]
    assert sum(places["t39"].ahead) == 39
    line.server.admin.hset(f"{PREFIX}times", mapping={f"old{number}": "1 1.0 0.0" for number in range(1000)})
    line.start("t0", "name0")
    line.end("t0")
    assert line.server.admin.hlen(f"{PREFIX}times") == 1000
    assert line.server.admin.hexists(f"{PREFIX}times", "name0")


def names_of_holders(line: Line) -> None:
    odd = "a|b\0c"
    line.publish(odd, "5 train")
    line.publish("t1", " render")
    line.start(odd, "train")
    _, (slot,), (first,), _ = line.operator.holders("gpu", 5)
    assert (slot.task, slot.name) == (odd, "train")
    assert (first.task, first.name) == ("t1", "render")
    assert line.operator.locate(odd, 0, ["gpu"])[0] == [("gpu", slot.token)]
    assert line.ask(odd)[1][odd].name == "train"
    line.publish("d\0e", "")
    line.start("d\0e", "")
    assert line.ask("d\0e")[1]["d\0e"].name == "", "nobody said it"


def slots_given_back(line: Line) -> None:
    """Since when they are away, by whatever Redis hears of it, and what is told of their tasks."""
    tasks = TaskVerbs(TroubledClient(line.server))
    for task in ("t0", "t1"):
        line.publish(task)
        line.start(task)
    line.pass_time(5)
    for _ in range(2):  # the answer to the first was lost
        tasks.give_back(Holder("worker", "gpu", line.tokens["t0"]))
        line.pass_time(1)
    held = [("gpu", token, task, "") for task, token in line.tokens.items()]
    line.worker.join("host", "fleet", 15.0, held, set(line.tokens.values()))  # of the other one, nobody told Redis
    line.pass_time(1)
    now, slots, _, away = line.operator.holders("gpu", 0)
    assert not slots
    assert {(row.slot.task, row.slot.name, row.slot.host): round(now - row.slot.since) for row in away} == {
        ("t0", "render", "host"): 3,
        ("t1", "render", "host"): 1,
    }
    _, places = line.ask("t0")
    assert places["t0"][1:] == ("render", True) and round(now - places["t0"].since) == 3
    line.end("t0")
    assert not line.server.admin.hexists(f"{PREFIX}times", "render"), "it was not in its slot"


HISTORIES = (
    ranks_and_kinds,
    a_purge,
    a_retry,
    run_times,
    recent_times,
    a_lost_worker,
    made_for_calls,
    told_twice,
    bounds,
    names_of_holders,
    slots_given_back,
)


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.__name__)
def test_the_line_is_told_as_it_is(line: Line, history: Any) -> None:
    history(line)


def test_who_is_paused_has_no_workers_or_is_unknown_says_so(line: Line) -> None:
    assert line.ask(id="nowhere")[0].limit is None
    line.operator.pause("gpu", True, "me", "")
    line.operator.limit("gpu", 7, 0, "me", "")
    state = line.ask()[0]
    assert (state.paused, state.limit) == (True, 7)


#: What is wrong: the shipped text, and what is put in its place.
BUGS = {
    "a kind keeps those that left": ("redis.call('ZREM', kind_key(id, kind), member) == 1", "false"),
    "a purge forgets no kind": ("redis.call('ZREMRANGEBYSCORE', kind_key(id, kind), '-inf', before)", ""),
    "an empty queue forgets no kind": ("forget_kinds(id)\n    redis.call('DEL', P .. 'waiting:' .. id)", ""),
    "the usual kind counts all": ("kinds[1][2] = math.max(kinds[1][2] - count, 0)", ""),
    "all of a kind are ahead": ("'(' .. score", "'+inf'"),
    "times of the one before are lost": ("ended(id, record, task)  -- the one before, if there was one", ""),
    "a start that is told twice is an end": (" or task == following", ""),
    "times of the last one are lost": ("if record then ended(id, record, nil, away) end", ""),
    "old times count as much as new ones": ("math.max(1 / (count + 1), 0.1)", "1 / (count + 1)"),
    "only the last time counts": ("math.max(1 / (count + 1), 0.1)", "1"),
    "the spread is left out": ("variance + weight * off * off", "variance"),
    "a task that ended is found for ever": ("redis.call('DEL', P .. 'where:' .. task)", ""),
    "a retry is not found": ("if retries and not redis.call('ZSCORE'", "if not redis.call('EXISTS'"),
    "kinds have no bound": ("redis.call('SCARD', kinds) < MOST_KINDS", "true"),
    "names have no bound": (">= MOST_NAMES", "< 0"),
    "a NUL in an id is taken for the end of it": ("string.find(task, '\\0', 1, true) and '\\0'", "false and '\\0'"),
    "what is given back is away since its task started": ("key == away and record or from_now(record)", "record"),
    "what is given back twice is away since then": ("key == away and record or from_now(record)", "from_now(record)"),
    "what is given back by a join is away since its task started": (
        "      record = from_now(record)\n    end",
        "    end",
    ),
    "times without a slot count": ("if name ~= '' and not away then took", "if name ~= '' then took"),
    "who is away is in its slot": ("running[task] = {'a',", "running[task] = {'r',"),
    "a retry is not looked for": ("for retries = 0, found[1] and -1 or highest do", "for retries = 0, 0 do"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(redis_url: str, bug: str) -> None:
    before, after = BUGS[bug]
    assert any(before in shipped(verb).source for verb in VERBS), "the scripts no longer say that"
    noticed = False
    with scripts({before: after}):
        for history in HISTORIES:
            server = Server(redis_url)
            server.admin.script_flush()
            try:
                history(Line(server))
            except Exception:
                noticed = True
                break
    assert noticed
