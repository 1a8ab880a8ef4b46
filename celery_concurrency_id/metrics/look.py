"""One look at every id for each scrape, and not more than one a second."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..control.look import gated, statuses_of
from ..control.views import IdStatus
from ..exceptions import SemaphoreUnavailable
from ..policy import policy_of
from ..semaphore import keys
from ..semaphore.client import Client
from ..semaphore.operator import OperatorVerbs

__all__ = ("Look", "Looker")

#: Ids that are looked at. Each script reads 200 of them, so that none keeps the server busy for long.
MOST_READ = 20_000
#: Seconds for which an answer is good enough for whoever asks: many scrapers cost Redis no more than one.
_GOOD_FOR = 1.0


@dataclass(frozen=True)
class Look:
    """How everything was.

    Attributes:
        up: Whether Redis answered; if not, there is nothing else.
        seconds: How long that took.
        known: How many ids there are.
        recovering: Whether grants wait for workers to say what they hold.
        statuses: How the ids are.
        gated: Those that tasks of the app name.
        problem: Why Redis did not answer.
    """

    up: bool
    seconds: float
    known: int = 0
    recovering: bool = False
    statuses: tuple[IdStatus, ...] = ()
    gated: frozenset[str] = frozenset()
    problem: str = ""


class Looker:
    """Asks Redis; may be used by any thread, and after a fork.

    Args:
        app: A Celery app.
        first: Ids that are looked at whatever the number of others.
    """

    def __init__(self, app: Any, first: Iterable[str] = ()) -> None:
        self._app = app
        self._first = frozenset(first)
        settings = policy_of(app).settings
        self._client_of = (settings.url, keys.prefix(settings.namespace), dict(settings.options))
        self._line: OperatorVerbs | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._last: Look | None = None
        self._looked = 0.0

    def look(self) -> Look:
        """Return how everything is, or was less than a second ago."""
        if self._pid != os.getpid():
            self._lock, self._line, self._pid = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._last is None or time.monotonic() - self._looked > _GOOD_FOR:
                self._last = self._ask()
                self._looked = time.monotonic()
            return self._last

    def _ask(self) -> Look:
        began = time.monotonic()
        try:
            if self._line is None:
                self._line = OperatorVerbs(Client(*self._client_of))
            names = gated(self._app)
            first = self._first | names
            others = self._line.ids() - first
            ids = [*sorted(first), *sorted(others)]
            overview = self._line.overview(ids[:MOST_READ])
        except SemaphoreUnavailable as exc:
            return Look(False, time.monotonic() - began, problem=str(exc))
        seconds = time.monotonic() - began
        return Look(True, seconds, len(ids), overview.recovery > 0, statuses_of(self._app, overview), names)
