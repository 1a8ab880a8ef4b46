"""The places that the gate has asked the pool for, and what they are for."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable

__all__ = ("Hand",)


class Hand:
    """Counts places: requested, in hand, and of those, promised to grants that were asked for.

    Args:
        places: The pool's.
        on_place: Called when one has come, unless that was at once.
    """

    def __init__(self, places: Any, on_place: Callable[[], Any]) -> None:
        self.places = places
        self._on_place = on_place
        self._generation = 0  # grows when the broker is lost, and with it every place that was requested
        self._held = 0
        self._on_the_spot = False
        #: Places that have not come yet.
        self.requested = 0
        #: Places kept for the grants that the semaphore was asked for.
        self.asked = 0

    @property
    def free(self) -> int:
        """Places in hand that are promised to nothing."""
        return self._held - self.asked

    def request(self) -> None:
        """Ask the pool for a place; nobody is called for one that comes at once."""
        self.requested += 1
        before = self._held
        self._on_the_spot = True
        try:
            self.places.request(partial(self._came, self._generation))
        finally:
            self._on_the_spot = False
        if self._held == before:
            self.places.short()

    def request_if_soon(self) -> None:
        """Ask for a place if that would come at once."""
        if self.places.soon():
            self.request()

    def ready(self) -> bool:
        """Say whether a task can start this moment."""
        if not self.free and not self.requested:
            self.request_if_soon()
        return self.free > 0

    def _came(self, generation: int) -> None:
        if generation != self._generation:
            self.places.release()
            return
        self.requested -= 1
        self._held += 1
        # Nothing is done in here: the pool releases a place before it tells that the task ended.
        if not self._on_the_spot:
            self._on_place()

    def use(self, start: Callable[[], bool]) -> bool:
        """Start a task in a place; if it does not start, the place stays in hand."""
        self._held -= 1
        started = False
        try:
            started = bool(self.places.use(start))
        finally:
            if not started:
                self._held += 1
        return started

    def release(self, count: int) -> None:
        """Give places back that nothing needs."""
        for _ in range(count):
            self._held -= 1
            self.places.release()

    def forget(self) -> None:
        """The worker lost its broker, or closes."""
        self.asked = 0
        self.release(self._held)
        self.requested = 0
        self._generation += 1
        self.places.forget()
