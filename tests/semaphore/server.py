"""The real Redis under the simulation: its clock, its restarts, and everything it knows of the namespace."""

from __future__ import annotations

from typing import Any

import redis

from celery_concurrency_id.semaphore import keys
from semaphore.lua import CLOCK
from semaphore.model import Id, Model, Slot

NAMESPACE = "simulated"
PREFIX = keys.prefix(NAMESPACE)
START = 1_700_000_000_000_000

#: Every key of the namespace with its contents, in one step.
_DUMP = """
local read = {hash = 'HGETALL', set = 'SMEMBERS'}
local all = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local kind = redis.call('TYPE', key).ok
  -- A list wakes a task that waits, and what a task is blocked by is a hint: they go by themselves. Where a task is, no
  -- script but find looks at.
  if kind ~= 'string' and kind ~= 'list' and not string.find(key, ':blocked:', 1, true) then
    local value = read[kind] and redis.call(read[kind], key) or redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    all[#all + 1] = {string.sub(key, #ARGV[1] + 1), kind, value}
  end
end
return all
"""


class Server:
    """A Redis that belongs to the test, with a clock that only moves when it is told to."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.admin = redis.Redis.from_url(url, decode_responses=True, socket_timeout=5)
        self.now = START
        self._restarts = 0
        self._started = START - 3_600_000_000
        self.flush()

    @property
    def run(self) -> str:
        """What INFO would call this run of the server."""
        return f"run{self._restarts}"

    @property
    def uptime_ms(self) -> int:
        return (self.now - self._started) // 1_000_000 * 1000  # INFO tells whole seconds

    def advance(self, microseconds: int) -> None:
        self.now += microseconds
        self._set_clock()

    def flush(self) -> None:
        self.admin.flushall()
        self._set_clock()

    def restart(self, keeps_data: bool) -> None:
        """Become another run; a real restart would take longer, and show the scripts nothing else."""
        self._restarts += 1
        self._started = self.now
        self.admin.script_flush()
        if not keeps_data:
            self.flush()

    def _set_clock(self) -> None:
        with self.admin.pipeline() as pipe:
            pipe.delete(CLOCK).rpush(CLOCK, self.now // 1_000_000, self.now % 1_000_000).execute()

    def state(self) -> dict[str, Any]:
        """Return all keys of the namespace, without what is empty or 0."""
        state: dict[str, Any] = {}
        for key, kind, value in self.admin.eval(_DUMP, 0, PREFIX):
            pairs = dict(zip(value[::2], value[1::2])) if kind != "set" else {}
            name = key.partition(":")[0]
            if name == "lines":
                pass  # it only helps to find the lines of a fleet whose last worker is gone
            elif kind == "set":
                state[key] = set(value)
            elif name in ("waiting", "kind"):
                state[key] = value[::2]
            elif name in ("slots", "away"):
                state[key] = {token: _slot(record) for token, record in pairs.items()}
            elif kind == "zset" or name in ("id", "meta", "worker"):
                state[key] = {field: _number(text) for field, text in pairs.items() if field != "host"}
            else:
                state[key] = pairs
        _check_kinds(state)
        return _without_nothing(state)


def expected(model: Model) -> dict[str, Any]:
    """Return what Redis should hold according to the model."""
    state: dict[str, Any] = {
        "meta": {
            "run": model.run,
            "recover_floor": model.recover_floor,
            "recover_until": model.recover_until,
            "fence": model.fence,
            **{f"polled:{fleet}": at for fleet, at in model.polled.items()},
            **{f"audited:{fleet}": at for fleet, at in model.audited.items()},
            **{f"cursor:{fleet}": cursor for fleet, cursor in model.cursors.items()},
            **{f"family:{family}": 1 for family in model.families},
        },
        "awaited": set(model.awaited),
        "workers": {name: lease.heard for name, lease in model.leases.items()},
        "fleets": model.fleets,
        "early": dict(model.early),
        "dynamic": dict(model.directory.used),
        "lookups": dict(model.directory.looked_up),
        "fresh": dict(model.directory.fresh),
    }
    for name, lease in model.leases.items():
        state[f"worker:{name}"] = {"fleet": lease.fleet, "lease_us": lease.lasts}
        state.setdefault(f"members:{lease.fleet}", set()).add(name)
    for fleet in (*model.serves, *model.ready, *model.idle):
        state[f"serves:{fleet}"] = set(model.serves[fleet])
        state[f"ready:{fleet}"] = dict(model.ready[fleet])
        state[f"idle:{fleet}"] = dict(model.idle[fleet])
    for id, each in model.ids.items():
        numbers = {"seq": each.seq, "unseen": each.unseen, "fetching": each.fetching}
        made = {"family": each.family or None, "retiring": each.retiring, **_lane_fields(each)}
        state[f"id:{id}"] = {**numbers, **made, "limit": each.limit, **each.override, **each.pause}
        if each.override or each.pause:
            state.setdefault("controlled", {})[id] = each.override.get("override_until", "inf")
        state[f"waiting:{id}"] = sorted(each.waiting, key=each.waiting.__getitem__)
        state[f"reserved:{id}"] = dict(each.reserved)
        state[f"slots:{id}"] = {
            **{token: (s.worker, _state(s), s.task) for token, s in each.slots.items()},
            **{unit: (worker, "u", lane) for unit, (worker, lane) in each.units.items()},
        }
        state[f"took:{id}"] = {token: slot.needs for token, slot in each.slots.items() if slot.needs}
        state[f"away:{id}"] = {token: (s.worker, _state(s), s.task) for token, s in each.away.items()}
        state[f"back:{id}"] = dict(each.back)
        for token, slot in each.all.items():
            state.setdefault(f"held:{slot.worker}", {})[token] = id
        state[f"hungry:{id}"] = {lane: since for since, lane, _ in model.hungry_for(id)}
        for fleet in model.fleets:
            for weight in each.weights:
                state[f"line:{fleet}:{weight}:{id}"] = {lane: since for since, lane in model.line(fleet, id, weight)}
    state["hungry"] = {lane: model.ids[lane].since for lane in model.hungry}
    return _without_nothing(state)


def _lane_fields(each: Id) -> dict[str, Any]:
    words = {"needs": each.needs, "weights": " ".join(map(str, each.weights)), "stands": each.stands}
    numbers = {"since": each.since, "passed": each.passed, "fits": each.fits}
    return {**numbers, **{name: _number(word) for name, word in words.items() if word}}


def _state(slot: Slot) -> str:
    state = "r" if slot.running else "f"
    return state.upper() if slot.needs else state


def _check_kinds(state: dict[str, Any]) -> None:
    """Take out what is kept of the kinds of waiting tasks, which the model does not know, and check that it agrees."""
    members: dict[str, dict[str, list[str]]] = {}
    for key in [key for key in state if key.partition(":")[0] == "kind"]:
        id, kind = key.partition(":")[2].split(" ", 1)
        members.setdefault(id, {})[kind] = state.pop(key)
    for key in [key for key in state if key.partition(":")[0] == "kinds"]:
        assert set(members.get(key.partition(":")[2], {})) == state.pop(key)
    for id, kinds in members.items():
        all_of_them = [member for each in kinds.values() for member in each]
        waiting = state.get(f"waiting:{id}", [])
        assert len(set(all_of_them)) == len(all_of_them), "one is of two kinds"
        assert set(all_of_them) <= set(waiting), "one of a kind does not wait"
        for each in kinds.values():
            assert each == [member for member in waiting if member in set(each)], "their order is another one"
    for key, value in state.items():
        if key.partition(":")[0] == "id":
            value.pop("kind", None)


def _slot(record: str) -> tuple[str, str, str]:
    worker, state, _, task = record.split("|", 3)
    return worker, state, task


def _number(text: str) -> Any:
    try:
        return int(float(text)) if "e" in text else int(text)
    except ValueError:
        return text


def _without_nothing(state: dict[str, Any]) -> dict[str, Any]:
    """Nobody needs to tell a missing key or field from one that is empty or 0."""
    for key, value in state.items():
        if isinstance(value, dict):
            state[key] = {field: each for field, each in value.items() if each not in (0, None)}
    return {key: value for key, value in state.items() if value}
