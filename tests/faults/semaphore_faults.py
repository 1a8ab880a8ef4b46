"""What can happen to the Redis that holds the slots, and to the network before it."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import Callable

import redis

from faults.campaign import Fault
from faults.judge import Injury
from faults.load import Load
from faults.scene import LEASE, Scene, now
from faults.worker_faults import busy_worker
from harness.waiting import wait


def restart(forget: bool) -> Callable[..., Injury]:
    """SIGKILL for Redis; it comes back a moment later, with or without its data."""

    def inject(scene: Scene, rng: random.Random, load: Load) -> Injury:
        at = now()
        scene.semaphore.kill()
        if forget:
            scene.semaphore.forget()
        time.sleep(rng.uniform(0, 1.5))  # how long the fault lasts
        scene.semaphore.start()
        return Injury(at, now())

    return inject


def command(*words: str) -> Callable[..., Injury]:
    """One command, and it is over."""

    def inject(scene: Scene, rng: random.Random, load: Load) -> Injury:
        at = now()
        scene.semaphore.client().execute_command(*words)
        return Injury(at, at)

    return inject


def kill_clients(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """Redis ends every connection: calls, mailboxes, producers."""
    at = now()
    for kind in ("normal", "pubsub"):
        scene.semaphore.client().execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    return Injury(at, now())


def pause(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """Redis answers nobody for a while."""
    at, seconds = now(), rng.uniform(0.5, LEASE - 1)
    scene.semaphore.client().execute_command("CLIENT", "PAUSE", int(seconds * 1000), "ALL")
    time.sleep(seconds)  # how long the fault lasts
    return Injury(at, now())


def freeze(seconds: Callable[[random.Random], float]) -> Callable[..., Injury]:
    """Redis hangs, as with DEBUG SLEEP or on a stalled disk."""

    def inject(scene: Scene, rng: random.Random, load: Load) -> Injury:
        at = now()
        scene.semaphore.freeze()
        time.sleep(seconds(rng))  # how long the fault lasts
        scene.semaphore.thaw()
        return Injury(at, now())

    return inject


def busy(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """Somebody's script runs for long, and Redis answers BUSY."""
    at, client = now(), scene.semaphore.client()
    client.config_set("lua-time-limit", 100)

    def hog() -> None:
        with contextlib.suppress(redis.RedisError):
            scene.semaphore.client().eval("while true do end", 0)

    thread = threading.Thread(target=hog)
    thread.start()
    time.sleep(rng.uniform(0.5, 1.5))  # how long the fault lasts

    def killed() -> bool:
        try:
            return bool(client.execute_command("SCRIPT", "KILL"))
        except redis.ResponseError as exc:
            return "NOTBUSY" in str(exc)

    wait(killed, 10, "the script is killed")
    thread.join()
    client.config_set("lua-time-limit", 5000)
    return Injury(at, now())


def out_of_memory(seconds: Callable[[random.Random], float]) -> Callable[..., Injury]:
    """maxmemory is reached, and noeviction lets Redis refuse writes."""

    def inject(scene: Scene, rng: random.Random, load: Load) -> Injury:
        at, client = now(), scene.semaphore.client()
        client.config_set("maxmemory", 1)
        time.sleep(seconds(rng))  # how long the fault lasts
        client.config_set("maxmemory", 0)
        return Injury(at, now())

    return inject


def failover(how: str) -> Callable[..., Injury]:
    """Sentinel makes the replica the master; the old master dies, or is read-only from then on."""

    def inject(scene: Scene, rng: random.Random, load: Load) -> Injury:
        at = now()
        getattr(scene.semaphore, how)()
        return Injury(at, now())

    return inject


def cut(how: str, whom: str, seconds: Callable[[random.Random], float]) -> Callable[..., Injury]:
    """The network between Redis and one worker, or all workers, fails and heals."""

    def inject(scene: Scene, rng: random.Random, load: Load) -> Injury:
        workers = [busy_worker(scene, rng)] if whom == "one" else scene.alive
        at = now()
        for worker in workers:
            assert worker.proxy is not None
            getattr(worker.proxy, how)()
        time.sleep(seconds(rng))  # how long the fault lasts
        for worker in workers:
            assert worker.proxy is not None
            worker.proxy.heal()
        # Where all are cut off, every worker lives and none may take what another holds: nobody is excused.
        excused = frozenset(worker.host for worker in workers) if whom == "one" else frozenset()
        return Injury(at, now(), lapsing=excused)

    return inject


def short(rng: random.Random) -> float:
    return rng.uniform(0.3, 1.2)


def long(rng: random.Random) -> float:
    return rng.uniform(LEASE + 0.3, LEASE + 1)


# So long that a task goes on through a whole outage.
OUTLASTS = LEASE + 2.5

EMPTIED = 5.0  # the goal is 3 s; on a loaded machine some more

OWN = (
    Fault("Redis restarted, data kept", restart(forget=False), recovers=EMPTIED, longest=OUTLASTS),
    Fault("Redis restarted empty", restart(forget=True), recovers=EMPTIED, longest=OUTLASTS),
    Fault("Redis paused", pause, recovers=EMPTIED, longest=OUTLASTS),
    Fault("SCRIPT FLUSH", command("SCRIPT", "FLUSH"), recovers=EMPTIED, longest=OUTLASTS),
    Fault("every Redis connection killed", kill_clients, recovers=EMPTIED, longest=OUTLASTS),
    Fault("FLUSHALL", command("FLUSHALL"), recovers=EMPTIED, longest=OUTLASTS),
    Fault("Redis hangs, shorter than the lease", freeze(short), recovers=EMPTIED, longest=OUTLASTS),
    Fault("Redis hangs, longer than the lease", freeze(long), longest=OUTLASTS),
    Fault("Redis busy with a script", busy, recovers=EMPTIED, longest=OUTLASTS),
    Fault("Redis out of memory", out_of_memory(short), recovers=EMPTIED, longest=OUTLASTS),
    Fault("Redis out of memory, longer than the lease", out_of_memory(long), longest=OUTLASTS),
)

FAILOVER = (
    Fault("failover by Sentinel, old master read-only", failover("switch"), longest=OUTLASTS),
    Fault("failover by Sentinel, old master dead", failover("lose_master"), longest=OUTLASTS),
)

NETWORK = tuple(
    Fault(
        f"{whom} cut off from Redis, {name}, {length} than the lease",
        cut(how, whom.split()[0], seconds),
        longest=OUTLASTS,
    )
    for whom, how, name, length, seconds in (
        ("one worker", "hold", "silently", "shorter", short),
        ("one worker", "hold", "silently", "longer", long),
        ("one worker", "reset", "by resets", "shorter", short),
        ("one worker", "reset", "by resets", "longer", long),
        ("one worker", "half_open", "half open", "shorter", short),
        ("one worker", "half_open", "half open", "longer", long),
        ("all workers", "hold", "silently", "longer", long),
        ("all workers", "reset", "by resets", "longer", long),
    )
)
