"""Where the gate runs: on the worker's event loop, or in a thread of its own where there is none."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections import deque
from typing import Any, Callable

__all__ = ("BrokerLost", "HubLoop", "ThreadLoop")

logger = logging.getLogger(__name__)


class BrokerLost(Exception):
    """The broker failed us; its cause is what Celery has to see so that it connects anew."""


def guarded(call: Callable[..., Any], *args: Any) -> None:
    """Run a callback; an error of ours must neither reconnect the broker nor end the worker."""
    try:
        call(*args)
    except BrokerLost as lost:
        raise lost.__cause__ or lost from None
    except Exception:
        logger.exception("concurrency: %r failed; this is a bug", call)


class HubLoop:
    """Runs callbacks on kombu's event loop."""

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._calls: deque[tuple[Any, ...]] = deque()
        self._signalled = False
        self._ticks: deque[tuple[Any, ...]] = deque()
        self._draining = self._drain_due = False
        self._late: deque[tuple[Any, ...]] = deque()
        self._turn = 0
        self._in_turn = False
        self._later: set[_Later] = set()
        # kombu's own call_soon() does not wake the poller before 5.7.
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._thread = threading.get_ident()

    def register(self) -> None:
        """Listen; anew after each loss of the broker, which resets the hub.

        What was queued or delayed before that is not forgotten, though Celery 5.6 and older clears the hub's timer and
        an error in a callback of somebody else's can cost ours its turn.
        """
        self._thread = threading.get_ident()
        self._hub.add_reader(self._reader.fileno(), self._run)
        self._hub.on_tick.add(self._next_turn)
        for later in self._later:
            later.timer.cancel()
            self._arm(later)
        if self._ticks:
            self.call_soon(self._drain)
        elif self._calls:
            self._signal()

    def inside(self) -> bool:
        """Say whether the caller is on the loop."""
        return threading.get_ident() == self._thread

    def call_soon(self, call: Callable[..., Any], *args: Any) -> None:
        """Run a callback on the loop; may be called from any thread."""
        self._calls.append((call, *args))
        if not self._signalled:
            self._signal()

    def _signal(self) -> None:
        self._signalled = True
        try:
            self._writer.send(b"\0")
        except OSError:
            self._signalled = False

    def next_tick(self, call: Callable[..., Any], *args: Any) -> None:
        """Run a callback once what runs now is done; only from the loop itself."""
        self._ticks.append((call, *args))
        if not self._draining and not self._drain_due:
            self._drain_due = True
            self._hub.call_soon(self._drain)
            # Where the hub runs callbacks or timers just now, it looks at that list only after its next poll.
            if not self._signalled:
                self._signal()

    def after_writes(self, call: Callable[..., Any], *args: Any, wake: bool = False) -> None:
        """Run a callback once the pool has written what it was given to its processes; only from the loop itself.

        With nothing to write, it may be a second until the hub's next turn: ``wake`` has it come at once.
        The pool writes right after the next poll; each turn of the hub comes to ``_next_turn`` just before its own.
        """
        self._late.append((self._turn + (1 if self._in_turn else 2), call, *args))
        if wake and not self._signalled:
            self._signal()

    def _next_turn(self) -> None:
        self._turn += 1
        if not self._late or self._late[0][0] > self._turn:
            return
        self._in_turn = True
        try:
            while self._late and self._late[0][0] <= self._turn:
                self._enter(*self._late.popleft()[1:])
        finally:
            self._in_turn = False
            # The hub may have asked the pool already what it has to write: it must not sleep before it asks again.
            if not self._signalled:
                self._signal()

    def call_later(self, delay: float, call: Callable[..., Any], *args: Any) -> None:
        """Run a callback after a delay in seconds; only from the loop itself."""
        later = _Later(time.monotonic() + delay, (call, *args))
        self._later.add(later)
        self._arm(later)

    def _arm(self, later: _Later) -> None:
        later.timer = self._hub.call_later(max(later.due - time.monotonic(), 0.0), self._due, later)

    def _due(self, later: _Later) -> None:
        self._later.discard(later)
        self._enter(*later.call)

    def add_reader(self, fd: int, call: Callable[..., Any]) -> None:
        """Run a callback whenever a descriptor is readable."""
        self._hub.add_reader(fd, self._enter, call)

    def _run(self) -> None:
        try:
            self._reader.recv(4096)
        except OSError:
            pass
        self._signalled = False
        try:
            for _ in range(len(self._calls)):
                self._enter(*self._calls.popleft())
        finally:
            if self._calls and not self._signalled:
                self._signal()

    def _enter(self, call: Callable[..., Any], *args: Any) -> None:
        """Run a callback and the ticks it asks for.

        The hub would run those only after its next poll, which may last a second: it takes its list of callbacks once,
        and fires timers after that.
        """
        self._ticks.appendleft((call, *args))
        self._drain()

    def _drain(self) -> None:
        self._drain_due = False
        if self._draining:
            return
        self._draining = True
        try:
            while self._ticks:
                guarded(*self._ticks.popleft())
        finally:
            self._draining = False

    def stop(self) -> None:
        """Take no more callbacks; those that come are run by whoever calls."""
        self._hub.on_tick.discard(self._next_turn)
        self._reader.close()
        self._writer.close()

    def start(self) -> None:
        """The hub runs already."""


class _Later:
    """A call that is due at some moment of the monotonic clock, and the hub's timer for it."""

    def __init__(self, due: float, call: tuple[Any, ...]) -> None:
        self.due, self.call = due, call
        self.timer: Any = None


class ThreadLoop:
    """Runs callbacks in a thread, or, in a patched process, in a greenlet."""

    def __init__(self) -> None:
        self._calls: queue.Queue[tuple[Any, ...] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="concurrency-gate", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def register(self) -> None:
        """Nothing has to listen."""

    def inside(self) -> bool:
        """Say whether the caller is in the loop's thread."""
        return threading.get_ident() == self._thread.ident

    def call_soon(self, call: Callable[..., Any], *args: Any) -> None:
        """Run a callback in the loop's thread; may be called from any thread."""
        self._calls.put((call, *args))

    next_tick = call_soon

    def after_writes(self, call: Callable[..., Any], *args: Any, wake: bool = True) -> None:
        """Run a callback after what is queued."""
        self.call_soon(call, *args)

    def call_later(self, delay: float, call: Callable[..., Any], *args: Any) -> None:
        """Run a callback after a delay in seconds."""
        timer = threading.Timer(delay, self._calls.put, ((call, *args),))
        timer.daemon = True
        timer.start()

    def add_reader(self, fd: int, call: Callable[..., Any]) -> None:
        """Pools without an event loop have no child processes to watch."""

    def _run(self) -> None:
        while True:
            item = self._calls.get()
            if item is None:
                return
            try:
                guarded(*item)
            except Exception:
                logger.exception("concurrency: the broker failed")

    def stop(self) -> None:
        """End the thread once it has run what is queued."""
        self._calls.put(None)
