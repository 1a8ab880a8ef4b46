"""What can happen to a worker: its processes are killed, frozen, asked to stop."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from typing import Any, Callable

from faults.app import ID
from faults.campaign import Fault
from faults.judge import Injury
from faults.load import Load
from faults.scene import LEASE, Scene, Worker, kill, now
from harness.sweep import Run
from harness.waiting import wait


def busy_worker(scene: Scene, rng: random.Random) -> Worker:
    """A worker that runs something at this moment, if there is one."""
    busy = {run.tag["host"] for run in scene.sweep.running()}
    workers = scene.alive
    return rng.choice([worker for worker in workers if worker.host in busy] or workers)


def kill_child(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """SIGKILL for a pool process while it runs a task."""

    def struck() -> Run | None:
        for run in rng.sample(running := scene.sweep.running(), len(running)):
            kill(run.pid, signal.SIGSTOP)  # it cannot end between our look and our shot
            if any(other.pid == run.pid for other in scene.sweep.running()):
                return run
            kill(run.pid, signal.SIGCONT)
        return None

    run = wait(struck, 10, lambda: f"a task runs; {scene.logs()}")
    at = now()
    kill(run.pid, signal.SIGKILL)
    # The slot is free again when as many others run as the limit allows.
    return Injury(at, at, dead_pids=frozenset([run.pid]))


def kill_main(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """SIGKILL for the main process alone: Celery has asked Linux to kill its pool processes with it."""
    worker = busy_worker(scene, rng)
    worker.expected_to_end = True
    at = now()
    kill(worker.pid, signal.SIGKILL)
    return Injury(at, at, lapsing=frozenset([worker.host]), dead_hosts=frozenset([worker.host]))


def kill_group(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """SIGKILL for all processes of a worker: the machine is gone."""
    worker = busy_worker(scene, rng)
    worker.expected_to_end = True
    at = now()
    worker.kill(signal.SIGKILL)
    return Injury(at, at, lapsing=frozenset([worker.host]), dead_hosts=frozenset([worker.host]))


def freeze(seconds: Callable[[random.Random], float], main_alone: bool = False) -> Callable[..., Injury]:
    """SIGSTOP for all processes of a worker, then SIGCONT; or for its main process, whose pool goes on."""

    def inject(scene: Scene, rng: random.Random, load: Load) -> Injury:
        worker = busy_worker(scene, rng)
        send = (lambda number: kill(worker.pid, number)) if main_alone else worker.kill
        at = now()
        send(signal.SIGSTOP)
        time.sleep(seconds(rng))  # how long it is frozen
        over = now()
        send(signal.SIGCONT)
        return Injury(at, over, lapsing=frozenset([worker.host]))

    return inject


def shutdown(number: int) -> Callable[..., Injury]:
    """Ask a worker that works to stop, and start another in its place."""
    return lambda scene, rng, load: stop(scene, busy_worker(scene, rng), number)


def stop(scene: Scene, worker: Worker, number: int) -> Injury:
    """Ask one worker to stop; a cold shutdown kills what runs, a warm one leaves nothing that has no end."""
    worker.expected_to_end = True
    at = now()
    kill(worker.pid, number)
    worker.wait_exit(30)
    over = now()
    gone = frozenset() if number == signal.SIGTERM else frozenset([worker.host])
    return Injury(at, over, dead_hosts=gone, lapsing=gone, notes={"took": (over - at) / 1e9})


def soft_shutdown(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """A cold shutdown that gives running tasks a second to end (Celery 5.5 and newer; cold before that)."""
    # A slot stays with its worker while tasks wait, so the others have to go before these get any.
    others = scene.alive
    scene.start_workers(2, worker_soft_shutdown_timeout=1.0)
    for worker in others:
        scene.retire_warmly(worker)
    scene.wait_running(1)
    return stop(scene, busy_worker(scene, rng), signal.SIGQUIT)


def rolling_restart(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """Stop each worker warmly once its successor is up."""
    at = now()
    for worker in scene.alive:
        scene.start_workers(1)
        scene.retire_warmly(worker)
    return Injury(at, now())


def autoscale(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """The pools grow with the load and shrink without it."""
    at = now()
    for worker in scene.alive:
        scene.retire_warmly(worker)
    grown = scene.start_workers(2, words=(f"--autoscale={scene.config.limit + 2},1",))
    # Let them shrink, and leave them to grow again.
    load.pause(True)
    wait(lambda: not load.unfinished(), 20, lambda: f"all done; {scene.logs()}")
    wait(lambda: all(len(worker.children()) <= 1 for worker in grown), 30, "the pools shrink")
    load.pause(False)
    return Injury(at, now())


def one_without(scene: Scene) -> list[Any]:
    """Two producers: one with the extension, one without."""
    return [scene.app, scene.make_app(extension=False)]


def one_of_another_release(scene: Scene) -> list[Any]:
    """Two producers that differ over the limit, as while a change of it is rolled out; workers have the final word."""
    return [scene.app, scene.make_app(concurrency_limits={ID: scene.config.limit + 3})]


def busy_machine(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """Every core has more to do than it can: slow is not dead, and no worker may lose its lease."""
    at = now()
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        time.sleep(rng.uniform(2, 3))  # how long the machine is busy
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
    over = now()
    lapsed = [worker.host for worker in scene.alive if scene.observer.lapse(worker.host, at) is not None]
    assert not lapsed, f"taken for dead: {lapsed}"
    return Injury(at, over)


def nothing(scene: Scene, rng: random.Random, load: Load) -> Injury:
    """No fault at all: what is wrong here is not the fault's doing."""
    at = now()
    time.sleep(rng.uniform(0.5, 1))  # as long as a short fault
    return Injury(at, at)


def shorter(rng: random.Random) -> float:
    return rng.uniform(0.8, LEASE - 1.2)


def longer(rng: random.Random) -> float:
    return rng.uniform(LEASE + 0.5, LEASE + 2)


KILLED = 5.0  # the goal is 3 s; on a loaded machine some more

FAULTS = (
    Fault("none", nothing),
    Fault("pool child killed", kill_child, recovers=1.0, repeats="harmed", needs_processes=True, often=True),
    Fault("worker's main process killed", kill_main, recovers=KILLED, repeats="harmed", often=True),
    Fault("worker killed", kill_group, recovers=KILLED, repeats="harmed", often=True),
    Fault("frozen, shorter than the lease", freeze(shorter), often=True),
    Fault("frozen, longer than the lease", freeze(longer), repeats="harmed"),
    Fault("main process frozen, shorter than the lease", freeze(shorter, main_alone=True), needs_processes=True),
    Fault(
        "main process frozen, longer than the lease",
        freeze(longer, main_alone=True),
        repeats="harmed",
        needs_processes=True,
    ),
    Fault("warm shutdown", shutdown(signal.SIGTERM)),
    Fault("cold shutdown", shutdown(signal.SIGQUIT), repeats="harmed", often=True),
    Fault("soft shutdown", soft_shutdown, repeats="harmed"),
    Fault("machine overloaded", busy_machine),
    Fault("rolling restart", rolling_restart),
    Fault("autoscale", autoscale, needs_processes=True),
    Fault("a producer without the extension", nothing, apps=one_without),
    Fault("a producer of another release, with a higher limit", nothing, apps=one_of_another_release),
)
