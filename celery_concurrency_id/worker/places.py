"""Places: a gated task takes its turn for a pool process, thread or greenlet like any other task."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Callable

from celery.concurrency.base import apply_target

from . import compat

__all__ = ("Places", "places_of")


class Places:
    """Turns at the pool. This one is for a pool that runs one task at a time, in the worker's own thread.

    A place is requested, comes by the callback, and is then used by a task or released.

    Args:
        loop: Where the callback runs.

    Attributes:
        blocks: Whether a task runs in the worker's own thread, so that nothing can be sent before it ends.
        lag: Seconds that the pool may take to hand over a place which is free: a place that takes longer stands behind
            other tasks.
    """

    blocks = True
    lag = 0.0

    def __init__(self, controller: Any, loop: Any) -> None:
        self._controller = controller
        self._pool = controller.pool
        self._loop = loop
        self._free = 1

    @property
    def size(self) -> int:
        """How many tasks the pool runs at once."""
        return int(self._pool.num_processes or 1)

    def soon(self) -> bool:
        """Say whether a place would come at once, without waiting behind other tasks."""
        return self._free > 0

    def request(self, on_place: Callable[[], Any]) -> None:
        """Ask for a place; the callback says that it has come."""
        self._free -= 1
        self._loop.next_tick(on_place)

    def use(self, start: Callable[[], Any]) -> Any:
        """Start a task in a place that came."""
        return start()

    def release(self) -> None:
        """Give back a place that no task used."""
        self._free += 1

    def ended(self) -> None:
        """A task that used a place has ended."""
        self._free += 1

    def short(self) -> None:
        """A place that was requested has to wait."""

    def forget(self) -> None:
        """The worker lost its broker, or closes: no place that was requested is wanted any more."""


class ProcessPlaces(Places):
    """The prefork pool: Celery's own semaphore, first come first served; Celery releases it when a task ends."""

    blocks = False

    def soon(self) -> bool:
        return bool(self._controller.semaphore.value > 0)

    def request(self, on_place: Callable[[], Any]) -> None:
        self._controller.semaphore.acquire(on_place)

    def release(self) -> None:
        self._controller.semaphore.release()

    def ended(self) -> None:
        pass

    def short(self) -> None:
        # Celery's autoscaler counts what was fetched; what waits in the broker it cannot see.
        autoscaler = getattr(self._controller, "autoscaler", None)
        if autoscaler is not None and self._pool.num_processes < autoscaler.max_concurrency:
            autoscaler.scale_up(1)


class ThreadPlaces(Places):
    """The thread pool: a ticket stands in the executor's queue among the ordinary tasks.

    When its turn comes, the ticket keeps the thread until a task is handed to it, and then runs that task itself:
    a task that went through the executor's queue would stand behind everything that came meanwhile.
    """

    blocks = False
    lag = 0.01

    def __init__(self, controller: Any, loop: Any) -> None:
        super().__init__(controller, loop)
        self._tickets: set[_Ticket] = set()
        self._came: deque[_Ticket] = deque()
        self._using: _Ticket | None = None
        self._on_apply = self._pool.on_apply
        self._pool.on_apply = self._apply

    def soon(self) -> bool:
        return compat.thread_backlog(self._pool) == 0

    def request(self, on_place: Callable[[], Any]) -> None:
        ticket = _Ticket(lambda: self._loop.call_soon(self._arrive, ticket, on_place))
        self._tickets.add(ticket)
        try:
            self._pool.executor.submit(ticket.run)
        except RuntimeError:
            # A cold shutdown ends the pool before anything else of the worker: no place comes any more.
            self._tickets.discard(ticket)
            if not compat.thread_pool_ended(self._pool):
                raise

    def _arrive(self, ticket: _Ticket, on_place: Callable[[], Any]) -> None:
        if ticket in self._tickets:
            self._came.append(ticket)
            on_place()

    def use(self, start: Callable[[], Any]) -> Any:
        self._using = self._came.popleft()
        try:
            return start()
        finally:
            if self._using is not None:
                self._came.appendleft(self._using)
                self._using = None

    def _apply(self, target: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        ticket = self._using if self._loop.inside() else None
        if ticket is None:
            return self._on_apply(target, args, kwargs, **options)
        self._using = None
        self._tickets.discard(ticket)
        callback, accept_callback = options.get("callback"), options.get("accept_callback")
        return ticket.hand(lambda: apply_target(target, args, kwargs, callback, accept_callback))

    def release(self) -> None:
        if self._came:
            self._dismiss(self._came.popleft())

    def forget(self) -> None:
        # A thread that went on waiting would keep the pool from closing.
        self._came.clear()
        for ticket in list(self._tickets):
            self._dismiss(ticket)

    def _dismiss(self, ticket: _Ticket) -> None:
        self._tickets.discard(ticket)
        ticket.hand(None)

    def ended(self) -> None:
        pass


class _Ticket:
    """A thread that waits to be told what to run."""

    def __init__(self, on_arrival: Callable[[], Any]) -> None:
        self._on_arrival = on_arrival
        self._told = threading.Event()
        self._job: Callable[[], Any] | None = None

    def run(self) -> None:
        if not self._told.is_set():
            self._on_arrival()
        self._told.wait()
        if self._job is not None:
            self._job()

    def hand(self, job: Callable[[], Any] | None) -> _Ticket:
        self._job = job
        self._told.set()
        return self


class GreenPlaces(Places):
    """The gevent and eventlet pools: a greenlet waits at the pool's own semaphore, among the ordinary tasks."""

    blocks = False
    lag = 0.01

    def __init__(self, controller: Any, loop: Any) -> None:
        super().__init__(controller, loop)
        self._room = compat.green_semaphore(self._pool)

    def soon(self) -> bool:
        return self._room.counter > 0 and not compat.has_waiters(self._room)

    def request(self, on_place: Callable[[], Any]) -> None:
        if self.soon():
            self._room.acquire()
            self._loop.next_tick(on_place)
        else:
            threading.Thread(target=self._wait, args=(on_place,), daemon=True).start()

    def _wait(self, on_place: Callable[[], Any]) -> None:
        # Greenlets that waited before us may be about to be told that there is room, and acquire() would not wait for
        # them: let them run first.
        time.sleep(0)  # the turn of the others
        self._room.acquire()
        self._loop.call_soon(on_place)

    def use(self, start: Callable[[], Any]) -> Any:
        # The pool takes it again at once, before any other greenlet runs.
        self._room.release()
        started = start()
        if not started:
            self._room.acquire()
        return started

    def release(self) -> None:
        self._room.release()

    def ended(self) -> None:
        pass


def places_of(controller: Any, loop: Any) -> Places:
    """Return the places of a worker's pool."""
    pool = controller.pool
    if getattr(controller, "semaphore", None) is not None and compat.is_prefork(pool):
        return ProcessPlaces(controller, loop)
    if hasattr(pool, "executor"):
        return ThreadPlaces(controller, loop)
    if getattr(pool, "is_green", False):
        return GreenPlaces(controller, loop)
    return Places(controller, loop)
