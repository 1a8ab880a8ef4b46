"""How every limit is, read from Redis when somebody scrapes."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ..control.views import IdStatus
from ..policy import policy_of
from .look import Look, Looker
from .names import LABEL, OTHERS, split

__all__ = ("ConcurrencyCollector",)

logger = logging.getLogger(__name__)

_PREFIX = "celery_concurrency_"

#: Of each id: name, meaning, value, and how those of the ids without series of their own are put together; None where
#: that would mean nothing.
_OF_AN_ID: tuple[tuple[str, str, Callable[[IdStatus], float], Callable[[Iterable[float]], float] | None], ...] = (
    ("limit", "The limit that holds now; +Inf where there is none.", lambda id: _limit(id), None),
    ("running", "Slots that are taken.", lambda id: id.running, sum),
    ("waiting", "Tasks that wait: runnable and blocked ones.", lambda id: id.waiting, sum),
    ("runnable", "Waiting tasks for which a slot is free: all they need is a worker.", lambda id: id.runnable, sum),
    (
        "blocked",
        "Waiting tasks that the limit or a pause holds back, however many workers.",
        lambda id: id.blocked,
        sum,
    ),
    (
        "demand",
        "Running and runnable tasks: how many pool processes are of use. For autoscalers.",
        lambda id: id.running + id.runnable,
        sum,
    ),
    (
        "waiting_age_seconds",
        "Since when the first waiting task was announced; 0 where none waits.",
        lambda id: id.oldest_wait or 0.0,
        max,
    ),
    ("paused", "1 while an operator keeps the id paused.", lambda id: float(id.pause is not None), sum),
    ("overridden", "1 while a limit that an operator set holds.", lambda id: float(id.override is not None), sum),
    ("workers", "Live workers that serve the id.", lambda id: id.workers, None),
)


class ConcurrencyCollector:
    """A collector for a registry of prometheus-client.

    Redis is asked when somebody scrapes, at most once a second. While it cannot be reached, ``celery_concurrency_up``
    is 0, and nothing is said of ids.

    Args:
        app: A Celery app, with its tasks imported: they name the ids.
        most: How many ids have series of their own; the others share those named ``all others``. Unset: the setting
            ``concurrency_metrics_ids``.
        always: Ids that have series of their own whatever waits for them.

    Raises:
        InvalidSetting: A setting is wrong, or no Redis is named.
    """

    def __init__(self, app: Any, most: int | None = None, always: Iterable[str] = ()) -> None:
        self._always = frozenset(always)
        self._most = policy_of(app).settings.metrics_ids if most is None else most
        self._looker = Looker(app, self._always)
        self._away = False

    def describe(self) -> Iterable[Metric]:
        """Say nothing: a registry that is told of this collector must not ask Redis."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield everything."""
        look = self._looker.look()
        self._note(look)
        yield GaugeMetricFamily(_PREFIX + "up", "1 if Redis, which holds the slots, answered.", value=look.up)
        yield GaugeMetricFamily(_PREFIX + "look_seconds", "How long it took to ask Redis.", value=look.seconds)
        if not look.up:
            return
        own, others = split(look.statuses, self._most, self._always, look.gated)
        yield GaugeMetricFamily(_PREFIX + "ids", "Concurrency ids that are known.", value=look.known)
        yield GaugeMetricFamily(
            _PREFIX + "ids_summed", "Ids without series of their own: they are in all others.", value=len(others)
        )
        yield GaugeMetricFamily(
            _PREFIX + "ids_unread", "Ids beyond those that are looked at.", value=look.known - len(look.statuses)
        )
        yield GaugeMetricFamily(
            _PREFIX + "recovering",
            "1 while nothing is granted, since workers tell a Redis without its data what they hold.",
            value=look.recovering,
        )
        for name, meaning, value, together in _OF_AN_ID:
            gauge = GaugeMetricFamily(_PREFIX + name, meaning, labels=[LABEL])
            for status in own:
                gauge.add_metric([status.id], value(status))
            if others and together is not None:
                gauge.add_metric([OTHERS], together([value(status) for status in others]))
            yield gauge
        taken = CounterMetricFamily(_PREFIX + "taken", "Announced tasks that have left the queue.", labels=[LABEL])
        for status in own:
            taken.add_metric([status.id], max(0, status.taken))
        yield taken

    def _note(self, look: Look) -> None:
        if self._away == look.up:
            self._away = not look.up
            if look.up:
                logger.warning("metrics: the semaphore is back")
            else:
                logger.error("metrics: the semaphore cannot be reached (%s): celery_concurrency_up is 0", look.problem)


def _limit(status: IdStatus) -> float:
    return math.inf if status.limit is None else status.limit
