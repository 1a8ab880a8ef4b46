"""What one worker has seen, for Prometheus: counted here, told over HTTP.

Only where ``concurrency_metrics_port`` is set. Nothing of it asks Redis; a task costs two observations of a histogram.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from ..metrics.names import LABEL, Names
from ..metrics.server import MetricsServer
from ..semaphore.client import Client
from .events import SlotEvents
from .slot import Slot

__all__ = ("CountedEvents", "Figures", "TimedClient")

logger = logging.getLogger(__name__)

#: Workers on one machine share a setting: each takes the next port that is free, of so many.
PORTS = 20

_HANDOFF = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_WAITED = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
_SCRIPT = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0)

#: What each count of the link means.
_COUNTS = {
    "leases_lost": "Leases of this worker that ended while it lived.",
    "outages": "Times that Redis could not be reached.",
    "recoveries": "Times that this worker was the first to meet a Redis without its data.",
    "repairs": "Entries in Redis that were wrong, and were set right.",
    "resyncs": "Heartbeats at which this worker and Redis disagreed on the slots it holds.",
    "unannounced": "Waiting tasks that only the safety poll found.",
    "workers_expired": "Leases of other workers that this one ended.",
}


class Figures:
    """The figures of one worker, in a registry of its own: a user's is left alone.

    Args:
        worker: Its node name.
        most: How many ids have series of their own.
    """

    def __init__(self, worker: str, most: int) -> None:
        self._worker = worker
        self._names = Names(most)
        self._link: Any = None
        self._lost: Any = None
        self._server: MetricsServer | None = None
        self.registry = CollectorRegistry(auto_describe=False)
        self._handoff = Histogram(
            "celery_concurrency_handoff_seconds",
            "From the end of a task to the pool's getting the next one in the same slot.",
            [LABEL],
            buckets=_HANDOFF,
            registry=self.registry,
        )
        self._waited = Histogram(
            "celery_concurrency_waited_seconds",
            "From a task's publishing, or its ETA, to the pool's getting it.",
            [LABEL],
            buckets=_WAITED,
            registry=self.registry,
        )
        self._script = Histogram(
            "celery_concurrency_script_seconds",
            "From a script's being sent to Redis to its answer.",
            ["script"],
            buckets=_SCRIPT,
            registry=self.registry,
        )
        self.registry.register(self)

    def serve(self, host: str, port: int, link: Any, lost: Any) -> None:
        """Tell the figures over HTTP; a port that cannot be had is logged, and no reason not to work.

        Args:
            link: The line to the semaphore.
            lost: Counts the slots that were lost.
        """
        self._link, self._lost = link, lost
        try:
            self._server = MetricsServer(self.registry, host, port, PORTS if port else 1)
        except OSError as exc:
            logger.error(
                "concurrency: no port for metrics from %d on %s (%s): this worker goes on without", port, host, exc
            )
        else:
            logger.info("concurrency: metrics on %s, port %d", host, self._server.port)

    def close(self) -> None:
        """Tell no more."""
        if self._server is not None:
            self._server.close()

    def handed_off(self, id: str, seconds: float) -> None:
        """The next task is in the slot of one that has ended."""
        self._handoff.labels(self._names.of(id)).observe(seconds)

    def started(self, id: str, waited: float) -> None:
        """A task that waited so long has started."""
        self._waited.labels(self._names.of(id)).observe(waited)

    def answered(self, script: str, seconds: float) -> None:
        """A script has answered."""
        self._script.labels(script).observe(seconds)

    def client(self, *args: Any) -> TimedClient:
        """Return a connection to the semaphore whose scripts are timed."""
        return TimedClient(self, *args)

    def events(self, consumer: Any) -> CountedEvents:
        """Return what tells of slots, and counts them."""
        return CountedEvents(consumer, self)

    def describe(self) -> Iterable[Metric]:
        """Say nothing in advance."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield what others count."""
        info = InfoMetricFamily("celery_concurrency_worker", "Who tells this.", labels=["worker"])
        info.add_metric([self._worker], {})
        yield info
        yield GaugeMetricFamily(
            "celery_concurrency_semaphore_up", "1 while this worker can reach Redis.", value=not self._link.away
        )
        lost = "Slots of running tasks that were lost with the lease."
        yield CounterMetricFamily("celery_concurrency_slots_lost", lost, value=self._lost.count)
        for name, count in dict(self._link.counts).items():
            yield CounterMetricFamily(f"celery_concurrency_{name}", _COUNTS.get(str(name), str(name)), value=count)


class CountedEvents(SlotEvents):
    """Counts what it tells of."""

    def __init__(self, consumer: Any, figures: Figures) -> None:
        super().__init__(consumer)
        self._figures = figures

    def acquired(self, slot: Slot, request: Any) -> None:
        """A task goes to the pool."""
        if slot.ended is not None:
            self._figures.handed_off(slot.id, slot.since - slot.ended)
            slot.ended = None
        if request.concurrency_waited is not None:
            self._figures.started(slot.id, request.concurrency_waited)
        super().acquired(slot, request)


class TimedClient(Client):
    """Tells how long each script took."""

    def __init__(self, figures: Figures, *args: Any) -> None:
        super().__init__(*args)
        self._figures = figures

    def call(self, verb: str, *args: Any) -> Any:
        """Run a verb's script."""
        self.connect()  # that is no part of the script
        began = time.perf_counter()
        answer = super().call(verb, *args)
        self._figures.answered(verb, time.perf_counter() - began)
        return answer
