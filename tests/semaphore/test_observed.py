"""A limit that only watches: what it would have done is what a line for so many slots does, worked out afterwards."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_concurrency_id.control.observe import observed_of
from celery_concurrency_id.semaphore.operator import OperatorVerbs
from celery_concurrency_id.semaphore.semaphore import Report, Semaphore
from celery_concurrency_id.semaphore.tasks import HELD, Holder, TaskVerbs
from semaphore.lua import scripts
from semaphore.peer import TroubledClient
from semaphore.server import PREFIX, Server
from semaphore.test_mutants import everything

DAY_US = 86_400_000_000


@dataclass
class Run:
    start: int
    end: float = math.inf


def worked_out(runs: list[Run], limit: int, now: int) -> dict[str, int]:
    """Work out what a line for so many slots has done by now, from when everything started and ended."""
    free, waits, ends = [0.0] * limit, [], Counter[int]()
    for run in runs:
        began = max(float(run.start), heapq.heappop(free))
        waits.append((run.start, began))
        end = began + run.end - run.start
        heapq.heappush(free, end if end <= now else math.inf)
    there = [(start, began) for start, began in waits if start < began <= now]
    lines = [sum(start <= at < began for start, began in waits) for at, _ in waits]
    ends = Counter(max(0, math.ceil(math.log2((began - start) / 1000))) for start, began in there)
    return {
        "tasks": len(runs),
        "waited": sum(began > start for start, began in waits),
        "begun": len(there),
        "wait": int(sum(began - start for start, began in there)),
        "longest": int(max((began - start for start, began in there), default=0)),
        "line": max(lines, default=0),
        "peak": max((sum(other.start <= run.start < other.end for other in runs) for run in runs), default=0),
        **{f"over:{power}": count for power, count in ends.items()},
    }


class Watched:
    """A worker whose tasks a limit watches."""

    def __init__(self, url: str, limit: int) -> None:
        self.server = Server(url)
        client = TroubledClient(self.server)
        self.semaphore, self.tasks, self.operator = Semaphore(client, "w"), TaskVerbs(client), OperatorVerbs(client)
        self.semaphore.join("host", "fleet", 15.0, [])
        self.semaphore.serve("fleet", {"id": -limit})
        self.runs: list[Run] = []
        self.held: dict[str, Run | None] = {}
        self.number = 0

    def step(self, kind: str, pick: int) -> None:
        tokens = [token for token, run in self.held.items() if (run is None) == (kind == "back")]
        token = tokens[pick % len(tokens)] if tokens else ""
        if kind == "start":
            (grant,) = self._turn([], 1).grants
            self._begin(grant.token)
        elif not token:
            return
        elif kind == "next":  # the slot is kept for it
            self._end(token)
            self._begin(token)
        elif kind == "end":
            self._end(token)
            del self.held[token]
            self._turn([Report("release", "id", token)], 0)
        elif kind == "yield":
            self._end(token)
            self.held[token] = None
            assert self.tasks.give_back(Holder("w", "id", token))
        elif kind == "back":
            assert self.tasks.take_again(Holder("w", "id", token), True)[0] == HELD, "it never waits in fact"
            self._add(token)

    def _turn(self, reports: list[Report], want: int) -> Any:
        if want:
            self.number += 1
            self.semaphore.announce("id", f"t{self.number}", 0)
        return self.semaphore.turn(want, False, reports)

    def _begin(self, token: str) -> None:
        self._turn([Report("start", "id", token, f"t{self.number}", 0)], 0)
        self._add(token)

    def _add(self, token: str) -> None:
        self.held[token] = Run(self.server.now)
        self.runs.append(self.held[token])  # type: ignore[arg-type]  # it is one

    def _end(self, token: str) -> None:
        run = self.held[token]
        assert run is not None
        run.end = self.server.now

    def close(self) -> None:
        self.semaphore.close()
        self.server.admin.close()


#: What is wrong: the shipped text, and what is put in its place.
MUTANTS = {
    "nobody leaves the trial": ("redis.call('HINCRBY', observed, 'busy', -1)", ""),
    "who waited there takes no slot": ("redis.call('HINCRBY', observed, 'busy', 1)\n      redis", "redis"),
    "a wait lasts until somebody looks": (
        "local waited, took = over[2] - first[2]",
        "local waited, took = now - first[2]",
    ),
    "who waited began when somebody looked": (
        "redis.call('HSET', trial, first[1], over[2])",
        "redis.call('HSET', trial, first[1], now)",
    ),
    "who waited takes no time": ("int(over[2] + took)", "int(over[2])"),
    "the last in the line goes first": ("redis.call('ZPOPMIN', line)", "redis.call('ZPOPMAX', line)"),
    "it goes on only when something ends": (
        "  go_on(id)\n  redis.call('HINCRBY', observed, 'tasks', 1)",
        "  redis.call('HINCRBY', observed, 'tasks', 1)",
    ),
    "an end there is the real one": ("int(began + took)", "int(now)"),
    "one more fits": ("if field(observed, 'busy') < limit then", "if field(observed, 'busy') <= limit then"),
    "what fetches counts": (
        "redis.call('HLEN', P .. 'slots:' .. id) - field(P .. 'id:' .. id, 'fetching'))\n  if",
        "1 + redis.call('HLEN', P .. 'slots:' .. id))\n  if",
    ),
    "a kept slot never ends": ("    trial_end(id, run_of(record, token))\n    if new", "    if new"),
    "a freed slot never ends": ("  trial_end(id, run_of(record, token))\n  if slot_state", "  if slot_state"),
    "a slot given back never ends": (
        "redis.call('HDEL', key, token)\ntrial_end(id, run_of(record, token))",
        "redis.call('HDEL', key, token)",
    ),
    "a slot taken again never begins": ("if slot_state(record) == 'r' then trial_start(id, first[1], record) end", ""),
}

kinds = st.sampled_from(["start", "start", "start", "next", "end", "end", "yield", "back"])
steps = st.lists(st.tuples(kinds, st.integers(0, 50), st.sampled_from([1, 40, 700, 5000])), max_size=60)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(limit=st.integers(1, 4), history=steps)
def test_the_figures_are_those_that_the_starts_and_ends_themselves_make(
    limit: int, history: list[tuple[str, int, int]], redis_url: str
) -> None:
    with scripts():
        play(redis_url, limit, history)


def play(redis_url: str, limit: int, history: list[tuple[str, int, int]]) -> None:
    """Let it happen, and compare what Redis says, then and once all that has ended is over there."""
    watched = Watched(redis_url, limit)
    try:
        for kind, pick, milliseconds in history:
            watched.server.advance(milliseconds * 1000)
            watched.step(kind, pick)
        for _ in range(2):
            _, figures, running, _ = watched.operator.observed("id", False)
            wanted = worked_out(watched.runs, limit, watched.server.now)
            assert {name: figures.get(name, 0) for name in wanted} == wanted
            assert running == sum(run.end == math.inf for run in watched.runs)
            assert {name for name in figures if name.startswith("over:")} == {
                name for name in wanted if name.startswith("over:")
            }
            watched.server.advance(DAY_US)
    finally:
        watched.close()


@pytest.mark.parametrize("bug", MUTANTS)
def test_a_planted_bug_is_noticed(bug: str, redis_url: str) -> None:
    before, after = MUTANTS[bug]
    assert before in everything(), f"the scripts changed; plant {bug!r} anew"
    chance = random.Random(4)  # the same history each time
    kinds = ["start", "start", "next", "end", "end", "yield", "back"]
    # The fifth begins there while nothing really happens, and is over there before the next two start.
    history = [*[("start", 0, 1)] * 5, ("end", 0, 1000), *[("end", 0, 1)] * 3, ("end", 0, 3000)]
    history += [("start", 0, 2500), ("start", 0, 1)]
    history += [(chance.choice(kinds), chance.randrange(50), chance.choice([1, 40, 700])) for _ in range(100)]
    with scripts():
        play(redis_url, 2, history)
    with scripts({before: after}), pytest.raises(AssertionError):
        play(redis_url, 2, history)


def test_the_line_that_is_followed_has_an_end_and_the_figures_say_so(redis_url: str, admin: redis.Redis) -> None:
    with scripts():
        watched = Watched(redis_url, 1)
        for _ in range(1010):
            watched.server.advance(1000)
            watched.step("start", 0)

        now, figures, running, waiting = watched.operator.observed("id", False)

        observed = observed_of("id", now, figures, running, waiting, 1)
        assert (observed.tasks, observed.waited, observed.waiting, observed.beyond) == (1010, 1000, 1000, 9)
        assert (observed.peak, observed.line, observed.wait_mean) == (1010, 1000, None)
        keys = {key[len(PREFIX) :] for key in admin.keys(f"{PREFIX}*")}
        assert {admin.hlen(f"{PREFIX}trial:id"), admin.zcard(f"{PREFIX}queued:id")} == {1001, 1000}

        # Everything ends at once, and the limit bites from now on: nothing of it is left.
        watched.server.advance(1000)
        watched.semaphore.leave()
        watched.semaphore.join("host", "fleet", 15.0, [])
        watched.semaphore.serve("fleet", {"id": 1})
        left = {key[len(PREFIX) :] for key in admin.keys(f"{PREFIX}*")}
        assert {"observed:id", "trial:id", "queued:id"} <= keys
        assert not left & {"observed:id", "trial:id", "queued:id", "ends:id"}
        watched.close()


def test_a_slot_that_somebody_deleted_counts_no_longer_and_figures_may_begin_anew(
    redis_url: str, admin: redis.Redis
) -> None:
    with scripts():
        watched = Watched(redis_url, 1)
        watched.step("start", 0)
        watched.server.advance(1000)
        watched.step("start", 0)
        admin.delete(f"{PREFIX}slots:id")

        now, figures, running, waiting = watched.operator.observed("id", True)
        assert (figures["tasks"], figures["waited"], running, waiting) == (2, 1, 0, 0)
        _, figures, _, _ = watched.operator.observed("id", False)
        assert figures == {"limit": 1, "since": int(now * 1e6)}
        watched.close()


@pytest.mark.parametrize(
    ("figures", "median", "most"),
    [
        ({"begun": 4, "wait": 4_000_000, "longest": 3_000_000, "over:3": 3, "over:12": 1}, 0.008, 3.0),
        ({"begun": 1, "wait": 500, "longest": 500, "over:0": 1}, 0.0005, 0.0005),
        ({}, None, None),
    ],
)
def test_shares_are_rounded_up_but_never_over_the_longest(
    figures: dict[str, int], median: float | None, most: float | None
) -> None:
    observed = observed_of("id", 10.0, figures, 0, 0, 3)
    assert (observed.wait_median, observed.wait_95, observed.limit) == (median, most, 3)
