"""The tests of the scripts are tested: each of these bugs, planted in the scripts, must be noticed."""

from __future__ import annotations

import os
from typing import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from celery_concurrency_id.semaphore.scripts import VERBS
from celery_concurrency_id.semaphore.scripts import load as shipped
from semaphore.histories import SELDOM
from semaphore.lua import scripts
from semaphore.machine import SemaphoreMachine
from semaphore.world import World

#: With CONCURRENCY_LONG=1, every bug is left to the random histories.
LONG = os.environ.get("CONCURRENCY_LONG", "") not in ("", "0")

#: What is wrong: the shipped text, and what is put in its place. The text must be there, in one script at least.
MUTANTS = {
    # who may act
    "acts for another server run": ("if redis.call('HGET', P .. 'meta', 'run') ~= run then return 'epoch' end", ""),
    "takes a lapsed lease for a new server": (
        "if not seen then return 'lost' end",
        "if not seen then return 'epoch' end",
    ),
    "acts on a lease that lapsed": (
        "if now - seen > tonumber(row[2]) then",
        "if false then",
    ),
    "renews nothing": ("  redis.call('ZADD', workers, int(now), worker)\n  lapse()", "  lapse()"),
    # slots
    "ignores the limit": ("return limit - redis.call('HLEN', P .. 'slots:' .. id)", "return limit"),
    "limit off by one": ("return limit - redis.call('HLEN'", "return 1 + limit - redis.call('HLEN'"),
    "takes no limit for none free": ("if limit <= 0 then return math.huge, paused, row[4], row[5] end", ""),
    "frees a slot twice": (
        "if not record or slot_worker(record) ~= worker then return false end",
        "if not record then redis.call('HINCRBY', P .. 'id:' .. id, 'fetching', -1) return false end",
    ),
    "release forgets who held it": ("  redis.call('HDEL', P .. 'held:' .. worker, token)\n", ""),
    "release keeps the slot": ("  redis.call('HDEL', key, token)\n  if key", "  if key"),
    "release forgets that it was fetching": (
        "if slot_state(record) == 'f' then redis.call('HINCRBY', P .. 'id:' .. id, 'fetching', -1) end\n  if in_lane",
        "if in_lane",
    ),
    "start forgets that it was fetching": (
        "    if new then redis.call('HINCRBY', P .. 'id:' .. id, 'fetching', -1) end\n    redis.call('HSET'",
        "    redis.call('HSET'",
    ),
    "join forgets that it was fetching": (
        "      redis.call('HINCRBY', P .. 'id:' .. id, 'fetching', -1)\n      redis.call('HSET'",
        "      redis.call('HSET'",
    ),
    "grant counts no fetching": ("redis.call('HINCRBY', P .. 'id:' .. id, 'fetching', 1)", ""),
    "grant without an owner": (
        "redis.call('HSET', P .. 'held:' .. worker, token, id)\n  redis.call('HINCRBY'",
        "redis.call('HINCRBY'",
    ),
    "tokens repeat": ("math.max(field(P .. 'meta', 'fence') + 1, now)", "now"),
    "grants more than wanted": ("while #grants < want and", "while #grants <= want and"),
    "join takes back what others have now": (
        "if recovery > 0 or began == 1 or free == nil or free > 0 then",
        "if true then",
    ),
    "join loses what it holds": ("if recovery > 0 or began == 1 or free == nil or free > 0 then", "if false then"),
    "join keeps what the worker no longer holds": ("if not offered[held[i]] then", "if false then"),
    # death
    "expire keeps the slots": ("release(worker, held[i + 1], held[i])\n    refresh", "refresh"),
    "expire forgets to look who can go on": ("    refresh(held[i + 1])\n", ""),
    "expire leaves the dead idle": (
        "redis.call('ZREM', P .. 'idle:' .. fleet, worker)\n    redis.call('SREM'",
        "redis.call('SREM'",
    ),
    "expire leaves a fleet of nobody": ("redis.call('SREM', P .. 'fleets', fleet)", ""),
    "no short tier": ("or redis.call('PUBLISH', P .. 'mail:' .. silent, 'ping') == 0 then", "then"),
    "no long tier": ("if now - seen > (tonumber(row[2] or '0') or 0) or", "if"),
    "a silent server costs the leases": ("  forgive()\n", ""),
    # waking
    "announce wakes nobody": ("refresh(id)\nwake()\nreturn 1", "refresh(id)\nreturn 1"),
    "announce makes nothing ready": ("refresh(id)\nwake()\nreturn 1", "wake()\nreturn 1"),
    "leave wakes nobody": ("local held = expire(worker)\nwake()", "local held = expire(worker)"),
    "turn wakes nobody": ("wake()\nlocal now_idle", "local now_idle"),
    "beat wakes nobody": ("if recovery_ms() == 0 then wake() end\n\n-- One", "-- One"),
    "wake stops at a dead mailbox": (
        "if redis.call('PUBLISH', P .. 'mail:' .. worker, 'invite') > 0 then break end",
        "redis.call('PUBLISH', P .. 'mail:' .. worker, 'invite') if true then break end",
    ),
    "wake leaves the invited idle": (
        "redis.call('ZREM', idle, worker)\n        if redis.call('PUBLISH', P .. 'mail:' .. worker, 'invite') > 0 then break end",
        "if redis.call('PUBLISH', P .. 'mail:' .. worker, 'invite') > 0 then break end redis.call('ZREM', idle, worker)",
    ),
    "beat forgets a lost invitation": ("    invited = 1\n", "    invited = 0\n"),
    "never idle": ("redis.call('ZADD', idle, 'NX', int(now), worker)", ""),
    "reports change nothing": ("  if changed then refresh(id) end\n", ""),
    "a start never changes what is left": (
        "return report.resume(id, token, task, number, name) and was_known",
        "return true",
    ),
    "a start of whom nobody knew changes nothing": (
        "return report.resume(id, token, task, number, name) and was_known",
        "return report.resume(id, token, task, number, name)",
    ),
    "a start in a kept slot changes nothing": (
        "return new and not in_lane(record)",
        "return record and not in_lane(record)",
    ),
    # order
    "the newest ready id first": (
        "local id = redis.call('ZRANGE', ready, 0, 0)[1]",
        "local id = redis.call('ZRANGE', ready, -1, -1)[1]",
    ),
    "a grant keeps its place in the line": (
        "do redis.call('ZREM', P .. 'ready:' .. each, id) end\n  refresh(id)",
        "do end\n  refresh(id)",
    ),
    "ready since the last look": (
        "redis.call('ZADD', P .. 'ready:' .. fleet, 'NX', int(now), id)",
        "redis.call('ZADD', P .. 'ready:' .. fleet, int(now), id)",
    ),
    "keeps a slot that others wait for": (
        "if #first > 1 then return 0 end",
        "",
    ),
    "keeps a slot that one other waits for": (
        "if #first == 1 and first[1] ~= (weights and id .. ' 1' or id) then return 0 end",
        "",
    ),
    "fetches ahead what others could start": ("return free == 0 and 2 or 1", "return 2"),
    # what waits
    "drop without a look at the sequence": (
        "if field(P .. 'id:' .. id, 'seq') == tonumber(number) then",
        "if true then",
    ),
    "drop forgets the unannounced": ("redis.call('HSET', P .. 'id:' .. id, 'unseen', 0)", ""),
    "drop keeps the slot": ("  report.release(id, token)\nend\n\nfor", "end\n\nfor"),
    "a retry is its own first run": ("local member = task .. ':' .. retries", "local member = task .. ':0'"),
    "an early start leaves a ghost": ("if redis.call('ZREM', P .. 'early', member) == 0 then", "if true then"),
    "back goes to the tail": (
        "int((tonumber(first) or now) - 1)",
        "int(now)",
    ),
    "back is no news": ("  redis.call('HINCRBY', P .. 'id:' .. id, 'seq', 1)\nend", "end"),
    "the poll finds nothing": ("if unseen ~= before then", "if false then"),
    # recovery
    "no recovery": ("return left > 0 and math.ceil(left / 1000) or 0", "return 0"),
    "waits for nobody": ("      redis.call('SADD', awaited, string.sub(mailbox, #P + 6))\n", ""),
    "a new server waits for nobody": ("(uptime_us < 2000000 and 1000000 or 0)", "0"),
    "nobody told to join again": ("redis.call('PUBLISH', P .. 'all', 'rejoin')", ""),
    "nobody told that it goes on": ("if recovery_ms() == 0 then redis.call('PUBLISH', P .. 'all', 'invite') end", ""),
    "a fleet inherits what the dead were told": (
        "  redis.call('DEL', P .. 'serves:' .. fleet, P .. 'ready:' .. fleet)\n  lanes()",
        "  lanes()",
    ),
    "a limit is never lowered": (
        "redis.call('HSET', P .. 'id:' .. ARGV[i], 'limit', ARGV[i + 1])",
        "redis.call('HSETNX', P .. 'id:' .. ARGV[i], 'limit', ARGV[i + 1])",
    ),
}


def everything() -> str:
    return "\n".join(shipped(verb).source for verb in VERBS)


def play(history: Callable[[World], None], url: str) -> None:
    world = World(url)
    try:
        history(world)
        world.settle()
    finally:
        world.close()


@pytest.mark.parametrize("history", {history.__name__: history for history in SELDOM.values()}.values())
def test_what_chance_seldom_makes_goes_as_the_model_says(history: Callable[[World], None], redis_url: str) -> None:
    with scripts():
        play(history, redis_url)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", MUTANTS)
def test_a_planted_bug_is_noticed(bug: str, redis_url: str) -> None:
    """By random histories; where those take long to come upon it, by one that was made for it."""
    before, after = MUTANTS[bug]
    assert before in everything(), f"the scripts changed; plant {bug!r} anew"
    machine = type("Machine", (SemaphoreMachine,), {"redis_url": redis_url})
    with scripts({before: after}), pytest.raises(AssertionError):
        if bug in SELDOM and not LONG:
            play(SELDOM[bug], redis_url)
            return
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=1500,  # most need a few dozen; the order of sets, and so the walk, differs from run to run
                stateful_step_count=50,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],  # that it fails is all there is to know
                suppress_health_check=list(HealthCheck),
            ),
        )
