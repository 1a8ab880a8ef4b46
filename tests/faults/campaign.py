"""One fault, several times at random moments, under load; then the figures, and what they must be."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Callable

from faults import judge
from faults.app import ID
from faults.judge import Injury
from faults.load import Load
from faults.scene import Scene, now
from harness.setup import Gate
from harness.waiting import PATIENCE, wait


@dataclass(frozen=True)
class Fault:
    """What is done, and what Celery's own guarantees allow to follow from it.

    Attributes:
        inject: Does it to a scene, heals it, and says what it did.
        recovers: Seconds within which full capacity must be back.
        repeats: Whose tasks may run twice: "none"; "harmed": those of workers it killed, froze or cut off;
            "interrupted": all that ran when it struck, because acknowledgements were lost with the broker connection.
        needs_processes: Whether it needs a pool of processes.
        longest: Seconds that the longest tasks take; where that is much, it strikes while such a task has just begun,
            so that somebody still holds a slot when the fault is over.
        often: Whether it strikes twice in the short form.
        apps: Makes the applications that publish.
    """

    name: str
    inject: Callable[[Scene, random.Random, Load], Injury]
    recovers: float = 15.0
    repeats: str = "none"
    needs_processes: bool = False
    longest: float = 1.0
    often: bool = False
    apps: Callable[[Scene], list[Any]] = lambda scene: [scene.app]


@dataclass
class Figures:
    """What was seen."""

    fault: str
    scene: str
    seed: int
    times: int
    tasks: int = 0
    limit: int = 0
    peak: int = 0
    unleased: int = 0
    on_waking: int = 0
    lost: int = 0
    lost_excused: int = 0
    twice: int = 0
    twice_excused: int = 0
    recovered: list[float] = field(default_factory=list)
    leaked: int = 0
    probe: float | None = None
    ended_by_themselves: int = 0
    notes: dict[str, list[float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run(scene: Scene, fault: Fault, seed: int, times: int, figures: Figures) -> None:
    """Run one fault and judge it; the figures are filled in as they become known, so that a failure has them too."""
    rng = random.Random(f"{seed}-{fault.name}-{scene.config}")
    limit = figures.limit = scene.config.limit
    scene.revive()
    scene.restore()
    scene.ended_by_themselves.clear()
    sweep = scene.sweep = scene.sweep.mark()
    load = Load(fault.apps(scene), rng, sweep, limit, fault.longest).start()
    injuries: list[Injury] = []
    try:
        _full_capacity(scene, [], now(), 20, "before the fault")
        for _ in range(times):
            time.sleep(rng.uniform(0.05, 0.6))  # a random moment, not a wait for anything
            if fault.longest > 2:
                _long_one_runs(scene, fault.longest)
            injury = fault.inject(scene, rng, load)
            injuries.append(injury)
            load.dead = _excused_losses(scene, injuries)
            at = _full_capacity(scene, injuries, injury.over, 3 * fault.recovers + fault.longest, f"after {fault.name}")
            spans = judge.counted(scene.sweep.runs(), injuries, scene.observer)
            figures.recovered.append(round(judge.idle(spans, limit, injury.over, at), 3))
            scene.revive()
    finally:
        load.stop()
        for injury in injuries:
            for name, value in injury.notes.items():
                figures.notes.setdefault(name, []).append(round(value, 3))
        _observe(scene, load, injuries, figures)
    _drain(scene, load, injuries)
    _observe(scene, load, injuries, figures)
    left = _left_over(scene)
    figures.leaked = len(left.get("slots", {})) + left.get("fetching", 0)
    figures.probe = _probe(scene, limit)
    _judge(scene, fault, load, injuries, figures, left)


def _full_capacity(scene: Scene, injuries: list[Injury], since: int, timeout: float, when: str) -> int:
    def at() -> int | None:
        scene.revive()
        spans = judge.counted(scene.sweep.runs(), injuries, scene.observer)
        return judge.full_since(spans, scene.config.limit, since)

    return int(wait(at, timeout, lambda: f"{scene.config.limit} tasks at once {when}; {scene.slots()}\n{scene.logs()}"))


def _long_one_runs(scene: Scene, seconds: float) -> None:
    """Wait, but not for ever, for a long task that has most of its time before it."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        young = now() - 500_000_000
        if any(run.tag["seconds"] > 0.7 * seconds and run.start > young for run in scene.sweep.running()):
            return
        time.sleep(0.01)  # between two looks, with a deadline


def _excused_losses(scene: Scene, injuries: list[Injury]) -> set[str]:
    """Early ack: what ran in a process when it was killed."""
    if scene.config.late:
        return set()
    return {run.task for run in scene.sweep.runs() for injury in injuries if injury.killed(run)}


def _drain(scene: Scene, load: Load, injuries: list[Injury]) -> None:
    """Wait until everything is done that may be; what is not then is lost."""
    deadline = time.monotonic() + PATIENCE * (15 + scene.redelivery)
    while load.unfinished() - _excused_losses(scene, injuries) and time.monotonic() < deadline:
        scene.revive()
        time.sleep(0.02)  # between two looks, with a deadline


def _observe(scene: Scene, load: Load, injuries: list[Injury], figures: Figures) -> None:
    runs = scene.sweep.runs()
    figures.tasks, figures.times = len(load.published), len(injuries)
    figures.peak = judge.peak(judge.counted(runs, injuries, scene.observer))
    waking, others = judge.unleased(runs, injuries, scene.observer)
    figures.on_waking, figures.unleased = len(waking), len(others)
    excused = _excused_losses(scene, injuries)
    unfinished = load.unfinished()
    figures.lost, figures.lost_excused = len(unfinished - excused), len(unfinished & excused)
    figures.ended_by_themselves = len(scene.ended_by_themselves)


def _repeated(scene: Scene, fault: Fault, injuries: list[Injury]) -> tuple[set[str], set[str]]:
    """Tasks that ran twice: those that at-least-once delivery explains, and the others."""
    runs = scene.sweep.runs()
    often = {task for task, count in Counter(run.task for run in runs).items() if count > 1}
    test = {"none": lambda *_: False, "harmed": Injury.harmed, "interrupted": Injury.overlaps}[fault.repeats]
    explained = {run.task for run in runs if run.task in often and any(test(injury, run) for injury in injuries)}
    return explained, often - explained


def _left_over(scene: Scene) -> dict[str, Any]:
    """What Redis still holds when nothing runs or waits; it gets a few heartbeats to see that for itself."""
    deadline = time.monotonic() + 8 * PATIENCE
    while (left := scene.slots()) and time.monotonic() < deadline:
        time.sleep(0.05)  # between two looks, with a deadline
    return left


def _probe(scene: Scene, limit: int) -> float:
    """The whole limit can be used at once, and no more; returns the seconds until it was."""
    sweep, gate = scene.sweep.mark(), Gate(scene.directory / f"gate-{now()}")
    begun = time.monotonic()
    results = [scene.app.tasks[ID].apply_async((), {"tag": "probe", "gate": str(gate)}) for _ in range(limit + 1)]
    try:
        wait(
            lambda: len(sweep.running()) >= limit,
            15,
            lambda: f"{limit} probes at once; {scene.slots()}\n{scene.logs()}",
        )
        taken = time.monotonic() - begun
    finally:
        gate.open()
    wait(lambda: not sweep.lost({result.id for result in results}), 15, lambda: f"probes end; {scene.logs()}")
    assert sweep.peak() == limit
    return round(taken, 3)


def _judge(
    scene: Scene, fault: Fault, load: Load, injuries: list[Injury], figures: Figures, left: dict[str, Any]
) -> None:
    explained, unexplained = _repeated(scene, fault, injuries)
    figures.twice, figures.twice_excused = len(unexplained), len(explained)
    assert figures.peak <= figures.limit, "the limit was exceeded"
    assert not figures.unleased, "a worker without a lease began a task"
    lost = load.unfinished() - _excused_losses(scene, injuries)
    assert not lost, f"tasks lost: {sorted(lost)}"
    assert not unexplained, f"tasks that ran twice without reason: {sorted(unexplained)}"
    assert not left, f"left over in Redis: {left}"
    slowest = max(figures.recovered, default=0)
    assert slowest <= fault.recovers * PATIENCE, f"full capacity came back after {slowest} s"
    if fault.repeats != "interrupted":  # losing a Redis broker can end a worker of plain Celery too
        assert not scene.ended_by_themselves, f"workers that ended by themselves: {scene.ended_by_themselves}"
    assert not scene.bugs(), scene.bugs()
