"""What every measure gets: servers, sides, and rounds in which the sides take turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Callable, TypeVar

from benchmarks.analysis import Faults
from benchmarks.config import SideConfig
from benchmarks.servers import RabbitServer, RedisServer
from benchmarks.side import Side
from benchmarks.workers import TWO_WORKERS, WorkerSpec

Result = TypeVar("Result")


class Bench:
    """One run of the benchmarks.

    Args:
        quick: fewer and shorter rounds; good for tuning, too few for a p99 to mean much.
        null: run plain Celery on both sides, to see how far two equal things differ on this machine.
    """

    def __init__(self, directory: Path, broker: str, quick: bool, null: bool, rounds: int | None) -> None:
        self.directory, self.broker, self.quick, self.null = directory, broker, quick, null
        self.rounds = rounds or (3 if quick else 7)
        self.faults = Faults()
        self._numbers = count()
        self._stack = ExitStack()

    def __enter__(self) -> Bench:
        with ExitStack() as stack:
            self.redis = RedisServer(self.directory / "redis")
            stack.callback(self.redis.stop)
            self._rabbit = RabbitServer(self.directory / "rabbitmq") if self.broker == "rabbitmq" else None
            if self._rabbit:
                stack.callback(self._rabbit.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def choose(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    @contextmanager
    def gated(self, specs: list[WorkerSpec] = TWO_WORKERS, ids: int = 0, results: bool = True) -> Iterator[Side]:
        """Workers of an application whose limited tasks are `QueuedTask`s."""
        with self._side("gated", specs, gated=not self.null, ids=ids, results=results) as side:
            yield side

    @contextmanager
    def plain(self, specs: list[WorkerSpec] = TWO_WORKERS, ids: int = 0, results: bool = True) -> Iterator[Side]:
        """The same application on plain Celery, without limits."""
        with self._side("plain", specs, ids=ids, results=results) as side:
            yield side

    @contextmanager
    def dedicated(self, limit: int) -> Iterator[Side]:
        """Plain Celery's own way to a limit: one worker with that many processes on a queue of its own."""
        with self._side(f"dedicated{limit}-", [WorkerSpec(limit, f"limit{limit}")], dedicated=True) as side:
            yield side

    @contextmanager
    def dedicated_beside_others(self) -> Iterator[Side]:
        """A worker for the limit of 2, and one for everything else, with as many places together as the others."""
        specs = [WorkerSpec(2, "limit2"), WorkerSpec(6, "celery")]
        with self._side("dedicated", specs, dedicated=True) as side:
            yield side

    @contextmanager
    def plain_with(self, recipe: str) -> Iterator[Side]:
        """Plain Celery, or dramatiq, with another way to a limit."""
        with self._side(recipe, TWO_WORKERS, recipe=recipe) as side:
            yield side

    @contextmanager
    def _side(
        self,
        name: str,
        specs: list[WorkerSpec],
        gated: bool = False,
        dedicated: bool = False,
        ids: int = 0,
        results: bool = True,
        recipe: str = "",
    ) -> Iterator[Side]:
        number = next(self._numbers)
        directory = self.directory / f"{number}-{name}"
        directory.mkdir()
        backend = self.redis.fresh_url()
        config = SideConfig(
            gated=gated,
            broker=self._rabbit.fresh_url() if self._rabbit else backend,
            backend=backend,
            # The same server, as most users would have it; a database of its own lets MONITOR tell them apart.
            semaphore=self.redis.fresh_url(),
            namespace=f"bench{number}",
            log=str(directory / "tasks.log"),
            ids=ids,
            dedicated=dedicated,
            results=results,
            recipe=recipe,
        )
        side = Side(name, config, specs, directory)
        try:
            with side:
                yield side
        finally:
            self.faults.add(side.faults)

    def interleave(self, measure: Callable[[Side], Result], ours: Side, theirs: Side) -> list[tuple[Result, Result]]:
        """Measure both sides in turn, in changing order, so that a drift of the machine meets both alike."""
        pairs = []
        for index in range(self.rounds):
            if index % 2:
                reference, result = measure(theirs), measure(ours)
            else:
                result, reference = measure(ours), measure(theirs)
            pairs.append((result, reference))
        return pairs
